/*
 * aggregate_plan.h
 *	  The grouping of a batch for a continuous aggregate: planned, and run.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_PLAN_H
#define WEIR_AGGREGATE_PLAN_H

#include "aggregate_query.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/tuplestore.h"
#include "window.h"

/* The columns of a stream that say where and when an event was. */
typedef struct WeirEventColumns
{
	AttrNumber	event_time;
	AttrNumber	kafka_time;
	AttrNumber	watermark;
	AttrNumber	partition;
	AttrNumber	offset;
} WeirEventColumns;

/* How many columns of windows stand before the keys. */
extern int	weir_aggregate_plan_bins(WeirWindowKind kind);

/*
 * Returns the query that groups a batch: bins, keys, aggregates.  Its stream
 * is the staging table still.
 */
extern Query *weir_aggregate_plan_query(const WeirAggregateQuery *aggregate, WeirWindowKind kind,
										const WeirEventColumns *columns);

/*
 * Plans it for batches of about so many rows, its aggregates left as states:
 * those of type internal serialised.
 */
extern PlannedStmt *weir_aggregate_plan_make(const WeirAggregateQuery *aggregate, WeirWindowKind kind,
											 const WeirEventColumns *columns, double rows);

/* Plans a query with a batch of rows in the place of one of its relations. */
extern PlannedStmt *weir_aggregate_plan_over_batch(Query *query, Index relation, double rows);

/* Locks the tables that a plan reads, but for the stream. */
extern void weir_aggregate_plan_lock(PlannedStmt *plan);

/* Runs it over a batch of rows of the stream. */
extern void weir_aggregate_plan_run(PlannedStmt *plan, Oid stream, Tuplestorestate *batch, DestReceiver *receiver);

/* Shows it as EXPLAIN does. */
extern char *weir_aggregate_plan_explain(PlannedStmt *plan, Oid stream);

#endif							/* WEIR_AGGREGATE_PLAN_H */
