/*
 * transform.h
 *	  Transforms made ready to run, and what is done with them.
 *
 * Floor 2.
 */
#ifndef WEIR_TRANSFORM_H
#define WEIR_TRANSFORM_H

#include "batch_plan.h"
#include "catalog_transform.h"
#include "derived_cache.h"
#include "derived_source.h"

/* A transform, compiled; kept from batch to batch. */
typedef struct WeirTransform
{
	WeirCompiled base;
	WeirTransformRow *row;
	const char *name;
	WeirSource *source;
	Query	   *query;			/* the user's, and the columns that say where a row is from */
	Index		position;		/* where its source stands in its range table */
	Query	   *insert;			/* of what it gives into the target; its second relation is the query */
	bool		direct;			/* rows are written past the executor: nothing changes them on the way */
	List	   *columns;		/* int: columns of the target that the plan gives, if direct */
	WeirBatchPlans plans;
	AttrNumber	event_time;		/* column of the target; 0: nothing goes by it */
	TimestampTz expired;		/* no row is older, */
	int64		as_of;			/* unless something was rolled back since: see weir_compiled_aborts() */
} WeirTransform;

/*
 * Returns the transform with this target, or that of a trigger; NULL if there
 * is none.  It stays as it is until it is released, or the transaction ends.
 */
extern WeirTransform *weir_transform_get(Oid target);
extern WeirTransform *weir_transform_of_trigger(Oid source, const char *trigger_name);
extern void weir_transform_release(WeirTransform *transform);

/* Returns the plan for a batch of so many rows; its tables are locked. */
extern PlannedStmt *weir_transform_plan_for(WeirTransform *transform, int64 rows);

/* Appends what the query gives of a batch: the rows of a transition table. */
extern void weir_transform_take_batch(WeirTransform *transform, Tuplestorestate *batch);

/* Appends what it gives of the rows that its source has.  The caller keeps batches out. */
extern void weir_transform_backfill(WeirTransform *transform);

/* Empties the transforms of a stream, as its owner. */
extern void weir_transform_reset(Oid stream);

#endif							/* WEIR_TRANSFORM_H */
