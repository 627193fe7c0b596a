/*
 * aggregate_plan.h
 *	  The grouping of a batch for a continuous aggregate, planned.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_PLAN_H
#define WEIR_AGGREGATE_PLAN_H

#include "aggregate_query.h"
#include "derived_source.h"
#include "nodes/plannodes.h"
#include "window.h"

/* How many columns of windows stand before the keys. */
extern int	weir_aggregate_plan_bins(WeirWindowKind kind);

/*
 * Returns the query that groups a batch: bins, keys, aggregates.  Its source
 * is the table still.
 */
extern Query *weir_aggregate_plan_query(const WeirAggregateQuery *aggregate, WeirWindowKind kind,
										const WeirEventColumns *columns);

/*
 * Plans it for batches of about so many rows, its aggregates left as states:
 * those of type internal serialised.
 */
extern PlannedStmt *weir_aggregate_plan_make(const WeirAggregateQuery *aggregate, WeirWindowKind kind,
											 const WeirEventColumns *columns, double rows);

#endif							/* WEIR_AGGREGATE_PLAN_H */
