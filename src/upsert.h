/*
 * upsert.h
 *	  Upserts made ready to run, and what is done with them.
 *
 * Floor 2.
 */
#ifndef WEIR_UPSERT_H
#define WEIR_UPSERT_H

#include "batch_plan.h"
#include "catalog_upsert.h"
#include "derived_cache.h"
#include "derived_source.h"
#include "upsert_collapse.h"
#include "upsert_merge.h"

/* An upsert, compiled; kept from batch to batch. */
typedef struct WeirUpsert
{
	WeirCompiled base;
	WeirUpsertRow *row;
	Query	   *query;			/* of its view */
	Index		position;		/* where the source stands in its range table */
	WeirBatchPlans plans;
	WeirCollapser *collapser;
	WeirMerger *merger;
	TimestampTz pruned;			/* deletes up to that are forgotten */
} WeirUpsert;

/*
 * Returns the upsert of a table, or the one of a trigger; NULL if there is
 * none.  It stays as it is until it is released, or the transaction fails.
 */
extern WeirUpsert *weir_upsert_get(Oid target);
extern WeirUpsert *weir_upsert_of_trigger(Oid source, const char *trigger_name);
extern void weir_upsert_release(WeirUpsert *upsert);

/* Returns the plan for a batch of so many rows, made when first needed; its tables are locked. */
extern PlannedStmt *weir_upsert_plan_for(WeirUpsert *upsert, int64 rows);

/* Takes a batch in: the rows of a transition table. */
extern void weir_upsert_take_batch(WeirUpsert *upsert, Tuplestorestate *batch);

/* Takes in the rows that its source has.  The caller keeps batches out. */
extern void weir_upsert_backfill(WeirUpsert *upsert);

/* Plans all that a batch takes, so that errors of the definition come when it is made. */
extern void weir_upsert_try(WeirUpsert *upsert);

/* Empties the upserts of a stream, as its owner; refuses where one writes into a user's own table. */
extern void weir_upsert_reset(Oid stream);

#endif							/* WEIR_UPSERT_H */
