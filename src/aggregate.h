/*
 * aggregate.h
 *	  Continuous aggregates made ready to run, and what is done with them.
 *
 * Floor 2.
 */
#ifndef WEIR_AGGREGATE_H
#define WEIR_AGGREGATE_H

#include "aggregate_bin.h"
#include "aggregate_key.h"
#include "aggregate_plan.h"
#include "aggregate_query.h"
#include "aggregate_state.h"
#include "batch_plan.h"
#include "catalog_aggregate.h"
#include "derived_cache.h"
#include "derived_source.h"
#include "partial.h"
#include "store.h"

/* The columns of a states table before the keys. */
#define WEIR_STATES_WINDOW_START 1
#define WEIR_STATES_WINDOW_END 2
#define WEIR_STATES_IS_FINAL 3
#define WEIR_STATES_KEY 4
#define WEIR_STATES_ERROR 5
#define WEIR_STATES_FIRST 6

/* A continuous aggregate, compiled; kept from batch to batch. */
typedef struct WeirAggregate
{
	WeirCompiled base;
	WeirAggregateRow *row;
	WeirSource *source;
	WeirAggregateQuery *query;
	WeirKeySet *keys;
	WeirPartialSet *partials;
	WeirBatchPlans plans;
	WeirBatchPlans key_plans;	/* for batches of one window: by the keys alone */
	TimestampTz next_close;		/* not before that are sessions closed again */
} WeirAggregate;

/*
 * Returns the aggregate with this relation in that role, or the one of a
 * trigger; NULL if there is none.  It stays as it is until it is released,
 * or the transaction fails.
 */
extern WeirAggregate *weir_aggregate_get(WeirAggregateLink link, Oid relid);
extern WeirAggregate *weir_aggregate_of_trigger(Oid source, const char *trigger_name);
extern void weir_aggregate_release(WeirAggregate *aggregate);

/* How many numbers of their own the entries of its store have. */
extern int	weir_aggregate_subs(const WeirAggregate *aggregate);

/* Is all that an entry says about windows that are closed?  whole: nothing else says anything about its group. */
extern bool weir_aggregate_is_over(const WeirAggregate *aggregate, const WeirStoreEntry *entry, TimestampTz closed,
								   bool whole);

/*
 * Returns the plan for a batch of so many rows, whose events are all of one
 * window or not; made when first needed; its tables are locked.
 */
extern PlannedStmt *weir_aggregate_plan_for(WeirAggregate *aggregate, int64 rows, bool one_window);

/* Takes a batch in: the rows of a transition table, and what is known of their span. */
extern void weir_aggregate_take_batch(WeirAggregate *aggregate, Tuplestorestate *batch, WeirSpan span);

/* Begins running totals of everything, which have a row before there is any event. */
extern void weir_aggregate_begin_totals(WeirAggregate *aggregate);

/* Takes in the rows that its source has.  The caller keeps batches out. */
extern void weir_aggregate_backfill(WeirAggregate *aggregate);

/* Merges runs of a lane where there are many. */
extern void weir_aggregate_fold(WeirAggregate *aggregate, WeirStore *store, WeirStoreLane *lane);

/* Merges everything in a lane. */
extern void weir_aggregate_fold_all(WeirAggregate *aggregate, WeirStore *store, WeirStoreLane *lane);

/* Moves windows that are over to the results; false if there may be some that it could not look at or move now. */
extern bool weir_aggregate_close_windows(WeirAggregate *aggregate);

/* Empties the aggregates of a stream, as its owner. */
extern void weir_aggregate_reset(Oid stream);

#endif							/* WEIR_AGGREGATE_H */
