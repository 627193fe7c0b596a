/*
 * batch_plan.h
 *	  A query over a batch: planned, and run.
 *
 * Floor 2, below all kinds of derived objects.
 */
#ifndef WEIR_BATCH_PLAN_H
#define WEIR_BATCH_PLAN_H

#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/tuplestore.h"

/* Plans of one query for small and for large batches; NULL: not made yet. */
typedef struct WeirBatchPlans
{
	MemoryContext context;		/* where they live */
	PlannedStmt *small;
	PlannedStmt *large;
} WeirBatchPlans;

/* Puts a batch of rows in the place of one of the relations of a query, whose tables are locked. */
extern void weir_batch_plan_bind(Query *query, Index relation, double rows);

/* Plans a query, which it changes, with a batch of rows in the place of one of its relations. */
extern PlannedStmt *weir_batch_plan_make(Query *query, Index relation, double rows);

/*
 * Returns the plan for a batch of so many rows, its tables locked.  It is made
 * where there is none, or *valid is false once the locks are there.
 */
typedef PlannedStmt *(*WeirBatchPlanner) (const void *arg, double rows);
extern PlannedStmt *weir_batch_plan_for(WeirBatchPlans *plans, int64 rows, const bool *valid,
										WeirBatchPlanner make, const void *arg);

/* Runs a plan over a batch of rows of a source. */
extern void weir_batch_plan_run(PlannedStmt *plan, Oid source, Tuplestorestate *batch, DestReceiver *receiver);

/* Shows it as EXPLAIN does. */
extern char *weir_batch_plan_explain(PlannedStmt *plan, Oid source);

#endif							/* WEIR_BATCH_PLAN_H */
