/*
 * aggregate_scan.c
 *	  The groups of open windows, finished: rows of a states table.
 *
 * All runs of all lanes that the snapshot sees are read as one.  Where one
 * merge gives all rows, it does; otherwise there is one after the other:
 *
 *		tumble, all groups		one merge of everything
 *		tumble, one group		a merge for each window, at that group's hash
 *		hop						a merge for each window, of all its panes
 *		session, no window		one merge, whose entries are all of one bucket
 *
 * A window that is closed has moved to the results; what the store still has
 * of it is passed over.
 */
#include "postgres.h"

#include "aggregate_group.h"
#include "aggregate_scan.h"
#include "catalog.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How many groups are put together at a time. */
#define GROUPS 500

/* Keys longer than this many bytes are told apart by a hash. */
#define MAX_IDENTITY 1000

/* A run of some lane. */
typedef struct ScanRun
{
	int			lane;
	WeirStoreRun run;
} ScanRun;

struct WeirAggregateScan
{
	WeirAggregate *aggregate;
	Snapshot	snapshot;
	WeirScanBounds bounds;
	WeirStore  *store;
	int			nruns;
	ScanRun    *runs;
	TimestampTz closed;
	TimestampTz watermark;
	bool		segmented;		/* a merge for each window */
	TimestampTz next_window;	/* where to look for the next */
	List	   *panes;			/* of a hop: int64 *, in order, those with any entry */
	bool		has_panes;
	bool		at_end;
	bool		open;			/* grouper is */
	TimestampTz window_start;	/* of the segment */
	WeirGrouper grouper;
	List	   *groups;
	int			next_group;
	MemoryContext row;			/* values of the row returned last */
	MemoryContext context;		/* of all else */
};

/* Notes all runs. */
static void
collect_runs(WeirAggregateScan *scan)
{
	List	   *lanes = weir_store_lanes(scan->store, scan->snapshot);
	ListCell   *cell;
	int			n = 0;

	foreach(cell, lanes)
		n += ((WeirStoreLane *) lfirst(cell))->nruns;
	scan->runs = palloc(sizeof(ScanRun) * Max(n, 1));
	foreach(cell, lanes)
	{
		WeirStoreLane *lane = lfirst(cell);

		for (int i = 0; i < lane->nruns; i++)
			scan->runs[scan->nruns++] = (ScanRun) {lane->number, lane->runs[i]};
	}
}

/* Begins to read. */
WeirAggregateScan *
weir_aggregate_scan_begin(WeirAggregate *aggregate, Snapshot snapshot, const WeirScanBounds *bounds)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir aggregate scan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	WeirAggregateScan *scan = palloc0(sizeof(WeirAggregateScan));
	const WeirAggregateRow *row = aggregate->row;

	scan->aggregate = aggregate;
	scan->snapshot = snapshot;
	scan->bounds = *bounds;
	scan->context = context;
	scan->row = AllocSetContextCreate(context, "pg_weir aggregate row", ALLOCSET_DEFAULT_SIZES);
	scan->closed = weir_catalog_aggregate_closed(row->view, snapshot);
	scan->watermark = weir_catalog_stream_watermark_at(row->stream, snapshot);
	scan->store = weir_store_open(row->store, weir_aggregate_subs(aggregate), AccessShareLock);
	collect_runs(scan);
	scan->segmented = row->window.kind == WEIR_WINDOW_HOP ||
		(row->window.kind == WEIR_WINDOW_TUMBLE && bounds->keyed);
	scan->next_window = bounds->from;
	MemoryContextSwitchTo(old);
	return scan;
}

/* Makes room for a merge of so many cursors for each run. */
static WeirStoreMerge *
begin_merge(const WeirAggregateScan *scan, int each, bool one_bucket)
{
	return weir_store_merge_begin(scan->nruns * each, one_bucket);
}

/* Adds the entries from a bucket on of all runs; with alone only those of that bucket. */
static void
add_bucket(WeirAggregateScan *scan, WeirStoreMerge *merge, int64 bucket, bool alone, int64 greatest_sub)
{
	uint32		hash = scan->bounds.keyed ? scan->bounds.hash : 0;

	for (int i = 0; i < scan->nruns; i++)
	{
		const ScanRun *run = &scan->runs[i];
		WeirStoreCursor *cursor;

		if (run->run.entries == 0 || run->run.last_bucket < bucket || (alone && run->run.first_bucket > bucket))
			continue;
		cursor = weir_store_cursor_open(scan->store, scan->snapshot, run->lane, run->run.id, bucket, hash);
		if (alone)
			weir_store_cursor_limit(cursor, bucket, scan->bounds.keyed, hash);
		weir_store_cursor_limit_sub(cursor, greatest_sub);
		weir_store_merge_add(merge, cursor);
	}
}

/* Returns the least bucket from this one on that has any entry; false if there is none. */
bool
weir_aggregate_scan_bucket(WeirAggregateScan *scan, int64 from, int64 *bucket)
{
	bool		found = false;

	for (int i = 0; i < scan->nruns; i++)
	{
		const ScanRun *run = &scan->runs[i];
		WeirStoreCursor *cursor;
		const WeirStoreEntry *entry;

		if (run->run.entries == 0 || run->run.last_bucket < from || (found && run->run.first_bucket >= *bucket))
			continue;
		if (run->run.first_bucket >= from)
		{
			*bucket = run->run.first_bucket;
			found = true;
			continue;
		}
		cursor = weir_store_cursor_open(scan->store, scan->snapshot, run->lane, run->run.id, from, 0);
		entry = weir_store_cursor_next(cursor);
		if (entry != NULL && (!found || entry->bucket < *bucket))
		{
			*bucket = entry->bucket;
			found = true;
		}
		weir_store_cursor_close(cursor);
	}
	return found;
}

static void
open_grouper(WeirAggregateScan *scan, WeirStoreMerge *merge, bool one_bucket)
{
	weir_grouper_init(&scan->grouper, merge, scan->aggregate->keys, scan->aggregate->partials, 0, one_bucket);
	scan->grouper.sessions = scan->aggregate->row->window.kind == WEIR_WINDOW_SESSION;
	scan->open = true;
}

/* Opens the one merge that gives everything. */
static bool
open_everything(WeirAggregateScan *scan)
{
	WeirStoreMerge *merge = begin_merge(scan, 1, false);
	bool		windowed = scan->aggregate->row->window.kind == WEIR_WINDOW_TUMBLE;

	add_bucket(scan, merge, windowed ? scan->bounds.from : 0, !windowed, PG_INT64_MAX);
	open_grouper(scan, merge, false);
	scan->at_end = true;
	return true;
}

/* Opens the next tumbling window, at one group's hash. */
static bool
open_tumbling(WeirAggregateScan *scan)
{
	WeirStoreMerge *merge;
	int64		bucket;

	if (!weir_aggregate_scan_bucket(scan, scan->next_window, &bucket) || bucket > scan->bounds.to)
		return false;
	merge = begin_merge(scan, 1, false);
	add_bucket(scan, merge, bucket, true, PG_INT64_MAX);
	open_grouper(scan, merge, false);
	scan->next_window = bucket + 1;
	return true;
}

/* Notes the panes of a hop that have any entry, however many there could be. */
static void
collect_panes(WeirAggregateScan *scan)
{
	int64		from = scan->next_window;
	int64		pane;

	if (scan->has_panes)
		return;
	scan->has_panes = true;
	while (weir_aggregate_scan_bucket(scan, from, &pane))
	{
		int64	   *copy = palloc(sizeof(int64));

		CHECK_FOR_INTERRUPTS();
		*copy = pane;
		scan->panes = lappend(scan->panes, copy);
		from = pane + 1;
	}
}

/* Returns the position of the first pane from here on. */
static int
find_pane(const WeirAggregateScan *scan, int64 from)
{
	int			low = 0;
	int			high = list_length(scan->panes);

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (*(int64 *) list_nth(scan->panes, middle) < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Opens a window of a hop: all its panes, as far as their events came in time for it. */
static void
open_hop(WeirAggregateScan *scan, TimestampTz start)
{
	const WeirWindow *window = &scan->aggregate->row->window;
	TimestampTz end = weir_window_add(start, window->size);
	int			first = find_pane(scan, start);
	int			after = find_pane(scan, end);
	WeirStoreMerge *merge = begin_merge(scan, after - first, true);

	for (int i = first; i < after; i++)
		add_bucket(scan, merge, *(int64 *) list_nth(scan->panes, i), true, end);
	open_grouper(scan, merge, true);
	scan->window_start = start;
	scan->next_window = weir_window_add(start, window->slide);
}

/* Opens the next window of a hop that has any pane. */
static bool
open_next_hop(WeirAggregateScan *scan)
{
	const WeirWindow *window = &scan->aggregate->row->window;
	TimestampTz first,
				last;
	int			i;

	collect_panes(scan);
	/* no window that begins before next_window is wanted: nor are panes before it */
	i = find_pane(scan, scan->next_window);
	do
	{
		if (i >= list_length(scan->panes) ||
			!weir_window_hops(window, *(int64 *) list_nth(scan->panes, i++), &first, &last))
			return false;
		while (first < scan->next_window)
			first = weir_window_add(first, window->slide);
	} while (first > last);
	if (first > scan->bounds.to)
		return false;
	open_hop(scan, first);
	return true;
}

/* Opens the next merge; false if there is none. */
static bool
open_segment(WeirAggregateScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	bool		opened = false;

	if (scan->open)
		weir_grouper_end(&scan->grouper);
	scan->open = false;
	if (scan->at_end)
		opened = false;
	else if (!scan->segmented)
		opened = open_everything(scan);
	else if (scan->aggregate->row->window.kind == WEIR_WINDOW_HOP)
		opened = open_next_hop(scan);
	else
		opened = open_tumbling(scan);
	MemoryContextSwitchTo(old);
	return opened;
}

/* Returns the next group, or NULL. */
static const WeirGroup *
next_group(WeirAggregateScan *scan)
{
	for (;;)
	{
		if (scan->next_group < list_length(scan->groups))
			return list_nth(scan->groups, scan->next_group++);
		if (!scan->open && !open_segment(scan))
			return NULL;
		scan->groups = weir_grouper_next(&scan->grouper, GROUPS);
		scan->next_group = 0;
		if (scan->groups == NIL && !open_segment(scan))
			return NULL;
	}
}

/* Sets the columns about the window; false if it is closed or out of bounds. */
static bool
fill_window(WeirAggregateScan *scan, const WeirGroup *group, Datum *values, bool *nulls)
{
	const WeirAggregateRow *row = scan->aggregate->row;
	TimestampTz since = row->complete_since;
	TimestampTz start,
				end;

	nulls[WEIR_STATES_WINDOW_START - 1] = nulls[WEIR_STATES_WINDOW_END - 1] = row->window.kind == WEIR_WINDOW_NONE;
	values[WEIR_STATES_IS_FINAL - 1] = BoolGetDatum(false);
	nulls[WEIR_STATES_IS_FINAL - 1] = false;
	if (row->window.kind == WEIR_WINDOW_NONE)
		return true;
	if (row->window.kind == WEIR_WINDOW_HOP)
	{
		start = scan->window_start;
		end = weir_window_add(start, row->window.size);
	}
	else if (row->window.kind == WEIR_WINDOW_SESSION)
	{
		start = group->sub[0];
		end = group->sub[1];
		/* an event before what is known may have belonged to it */
		since = since == DT_NOBEGIN ? since : weir_window_add(since, row->window.gap);
	}
	else
		start = weir_window_tumble(&row->window, group->bucket, &end);
	values[WEIR_STATES_WINDOW_START - 1] = TimestampTzGetDatum(start);
	values[WEIR_STATES_WINDOW_END - 1] = TimestampTzGetDatum(end);
	values[WEIR_STATES_IS_FINAL - 1] = BoolGetDatum(weir_window_late(end, row->lateness, scan->watermark));
	return start > since && start >= scan->bounds.from && start <= scan->bounds.to &&
		!weir_window_late(end, row->lateness, scan->closed);
}

/* Returns what identifies a group within its window, short enough for an index. */
static Datum
identity_of(WeirUnpack key)
{
	Size		len = key.end - key.next;
	Datum		bytes = PointerGetDatum(cstring_to_text_with_len(key.next, len));

	return len <= MAX_IDENTITY ? bytes : DirectFunctionCall1(sha256_bytea, bytes);
}

/* Sets the columns of the group. */
static void
fill_group(WeirAggregateScan *scan, const WeirGroup *group, Datum *values, bool *nulls)
{
	const WeirKeySet *keys = scan->aggregate->keys;
	int			first = WEIR_STATES_FIRST - 1;
	Datum		error = (Datum) 0;

	values[WEIR_STATES_KEY - 1] = identity_of(group->key);
	nulls[WEIR_STATES_KEY - 1] = false;
	weir_keys_unpack(keys, group->key, values + first, nulls + first);
	nulls[WEIR_STATES_ERROR - 1] = weir_states_finish(scan->aggregate->partials, group->value,
													  values + first + keys->n, nulls + first + keys->n, &error);
	values[WEIR_STATES_ERROR - 1] = error;
}

/* Fills in the next row. */
bool
weir_aggregate_scan_next(WeirAggregateScan *scan, Datum *values, bool *nulls)
{
	MemoryContext old;
	const WeirGroup *group;

	MemoryContextReset(scan->row);
	while ((group = next_group(scan)) != NULL)
	{
		if (!fill_window(scan, group, values, nulls))
			continue;
		old = MemoryContextSwitchTo(scan->row);
		fill_group(scan, group, values, nulls);
		MemoryContextSwitchTo(old);
		return true;
	}
	return false;
}

/* Ends reading. */
void
weir_aggregate_scan_end(WeirAggregateScan *scan)
{
	if (scan->open)
		weir_grouper_end(&scan->grouper);
	weir_store_close(scan->store);
	MemoryContextDelete(scan->context);
}

/* About how many entries a snapshot sees. */
int64
weir_aggregate_scan_size(WeirAggregate *aggregate, Snapshot snapshot)
{
	WeirStore  *store = weir_store_open(aggregate->row->store, weir_aggregate_subs(aggregate), AccessShareLock);
	int64		entries = 0;
	ListCell   *cell;

	foreach(cell, weir_store_lanes(store, snapshot))
	{
		WeirStoreLane *lane = lfirst(cell);

		for (int i = 0; i < lane->nruns; i++)
			entries += lane->runs[i].entries;
	}
	weir_store_close(store);
	return entries;
}
