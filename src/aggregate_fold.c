/*
 * aggregate_fold.c
 *	  Runs of a lane merged, so that readers have few to look into.
 *
 * Every batch writes a run; FAN of one level become one of the next, so that
 * a state is written again once a level.  What belongs to closed windows is
 * left behind: of sessions only where everything is merged, as an entry by
 * itself does not tell how long its session is.  That is why they have one
 * lane.
 */
#include "postgres.h"

#include "aggregate.h"
#include "aggregate_group.h"
#include "utils/snapmgr.h"

/* How many runs of a level are merged into one of the next. */
#define FAN 16

/* How many groups are put together at a time. */
#define GROUPS 500

/* Returns the positions of the runs to merge, lowest level first, or NULL; *level is set to that of the result. */
static Bitmapset *
choose_runs(const WeirStoreLane *lane, int *level)
{
	Bitmapset  *chosen = NULL;

	for (*level = 0;; (*level)++)
	{
		int			n = 0;
		bool		higher = false;

		for (int i = 0; i < lane->nruns; i++)
		{
			n += lane->runs[i].level <= *level ? 1 : 0;
			higher = higher || lane->runs[i].level > *level;
		}
		if (n >= FAN * (*level + 1))
			break;
		if (!higher)
			return NULL;
	}
	for (int i = 0; i < lane->nruns; i++)
	{
		if (lane->runs[i].level <= *level)
			chosen = bms_add_member(chosen, i);
	}
	(*level)++;
	return chosen;
}

/* Opens the chosen runs. */
static WeirStoreMerge *
open_runs(WeirStore *store, Snapshot snapshot, const WeirStoreLane *lane, const Bitmapset *chosen)
{
	WeirStoreMerge *merge = weir_store_merge_begin(bms_num_members(chosen), false);
	int			i = -1;

	while ((i = bms_next_member(chosen, i)) >= 0)
		weir_store_merge_add(merge, weir_store_cursor_open(store, snapshot, lane->number, lane->runs[i].id,
														   PG_INT64_MIN, 0));
	return merge;
}

/* Writes what the grouper puts together, less what is in closed windows. */
static void
write_merged(WeirAggregate *aggregate, WeirGrouper *grouper, WeirStoreWriter *writer, TimestampTz closed, bool whole)
{
	List	   *groups;
	ListCell   *cell;

	while ((groups = weir_grouper_next(grouper, GROUPS)) != NIL)
	{
		foreach(cell, groups)
		{
			const WeirGroup *group = lfirst(cell);
			WeirStoreEntry entry = {group->bucket, group->hash, {group->sub[0], group->sub[1]}, group->key, group->value};

			if (!weir_aggregate_is_over(aggregate, &entry, closed, whole))
				weir_store_write(writer, &entry);
		}
	}
}

/* Merges the chosen runs into one. */
static void
merge_runs(WeirAggregate *aggregate, WeirStore *store, WeirStoreLane *lane, const Bitmapset *chosen, int level)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TimestampTz closed = weir_catalog_aggregate_closed(aggregate->row->view, snapshot);
	bool		whole = bms_num_members(chosen) == lane->nruns;
	WeirGrouper grouper;
	WeirStoreWriter *writer;

	weir_grouper_init(&grouper, open_runs(store, snapshot, lane, chosen), aggregate->keys, aggregate->partials,
					  weir_aggregate_subs(aggregate), false);
	grouper.sessions = aggregate->row->window.kind == WEIR_WINDOW_SESSION;
	writer = weir_store_write_begin(store, lane, level);
	write_merged(aggregate, &grouper, writer, closed, whole);
	weir_grouper_end(&grouper);
	weir_store_write_end(writer, chosen);
	UnregisterSnapshot(snapshot);
}

/* Merges runs of a lane where there are many. */
void
weir_aggregate_fold(WeirAggregate *aggregate, WeirStore *store, WeirStoreLane *lane)
{
	int			level;
	Bitmapset  *chosen = choose_runs(lane, &level);

	if (chosen != NULL)
		merge_runs(aggregate, store, lane, chosen, level);
}

/* Merges everything in a lane. */
void
weir_aggregate_fold_all(WeirAggregate *aggregate, WeirStore *store, WeirStoreLane *lane)
{
	int			level = 0;

	for (int i = 0; i < lane->nruns; i++)
		level = Max(level, lane->runs[i].level);
	if (lane->nruns > 0)
		merge_runs(aggregate, store, lane, bms_add_range(NULL, 0, lane->nruns - 1), level);
}
