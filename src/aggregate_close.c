/*
 * aggregate_close.c
 *	  Windows that are over: moved from the store to the results, once.
 *
 * A window is over when the stream's watermark has passed its end by the
 * lateness allowed; whoever reads sees that at once.  Moving it is
 * housekeeping, done with a batch by whoever comes first: no event that is on
 * time for it can come any more, in whichever lane.  Two batches that do not
 * see each other may both leave it; so workers look again a while after their
 * last one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "aggregate.h"
#include "aggregate_move.h"
#include "aggregate_scan.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The lane that whoever closes windows takes. */
#define CLOSING 0

/* How many times longer than closing sessions takes a worker does without. */
#define REST 20

/* By what part of their retention results may stay longer, where no window closes. */
#define RETENTION_PARTS 8

/* Returns the earliest open window that a bucket says something about; false if there is none. */
static bool
open_window(const WeirAggregate *aggregate, int64 bucket, TimestampTz closed, TimestampTz *start, TimestampTz *end)
{
	const WeirWindow *window = &aggregate->row->window;
	TimestampTz last;

	if (window->kind == WEIR_WINDOW_TUMBLE)
	{
		*start = weir_window_tumble(window, bucket, end);
		return !weir_window_late(*end, aggregate->row->lateness, closed);
	}
	if (!weir_window_hops(window, bucket, start, &last))
		return false;
	for (; *start <= last; *start = weir_window_add(*start, window->slide))
	{
		*end = weir_window_add(*start, window->size);
		if (!weir_window_late(*end, aggregate->row->lateness, closed))
			return true;
	}
	return false;
}

/* Is there a window to close? */
static bool
is_due(WeirAggregate *aggregate, Snapshot snapshot, TimestampTz closed, TimestampTz watermark)
{
	WeirScanBounds bounds = {PG_INT64_MIN, PG_INT64_MAX, false, 0};
	WeirAggregateScan *scan = weir_aggregate_scan_begin(aggregate, snapshot, &bounds);
	int64		longest = aggregate->row->window.size + aggregate->row->lateness;
	int64		from = closed > DT_NOBEGIN + longest && aggregate->row->window.size > 0 ? closed - longest : PG_INT64_MIN;
	int64		bucket;
	TimestampTz start,
				end;
	bool		due = aggregate->row->window.kind == WEIR_WINDOW_SESSION;

	while (!due && weir_aggregate_scan_bucket(scan, from, &bucket))
	{
		if (open_window(aggregate, bucket, closed, &start, &end))
		{
			due = weir_window_late(end, aggregate->row->lateness, watermark);
			break;
		}
		from = bucket + 1;
	}
	weir_aggregate_scan_end(scan);
	return due;
}

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Runs a statement with a timestamp for its parameter, as who we are; returns how many rows it was about. */
static uint64
run(const char *sql, TimestampTz parameter)
{
	uint64		rows;
	int			rc;

	SPI_connect();
	rc = SPI_execute_with_args(sql, 1, (Oid[]) {TIMESTAMPTZOID}, (Datum[]) {TimestampTzGetDatum(parameter)},
							   NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

/* Has the watermark gone on for so long that results may be past retention, though no window closed? */
static bool
is_forgetting_due(const WeirAggregateRow *row, TimestampTz closed, TimestampTz watermark)
{
	/* where nothing was ever closed there are no results */
	return row->retention >= 0 && closed != DT_NOBEGIN && watermark > closed &&
		watermark - closed >= Max(row->retention / RETENTION_PARTS, USECS_PER_SEC);
}

/* Forgets results that are past retention. */
static void
forget_old(const WeirAggregateRow *row, TimestampTz watermark)
{
	if (row->retention >= 0 && watermark > MIN_TIMESTAMP + row->retention)
		(void) run(psprintf("DELETE FROM %s WHERE window_end <= $1 AND window_start < $1", qualified_name(row->results)),
			watermark - row->retention);
}

/* Lets go of what the store has of sessions that are closed, unless somebody else is writing. */
static void
drop_closed_sessions(WeirAggregate *aggregate)
{
	WeirStore  *store;

	/* to wait here, after other aggregates, could end in a deadlock */
	if (!weir_fence_lane(aggregate->row->store, 1, false))
		return;
	store = weir_store_open(aggregate->row->store, weir_aggregate_subs(aggregate), RowExclusiveLock);

	weir_aggregate_fold_all(aggregate, store, weir_store_take_lane(store, true));
	weir_store_close(store);
}

/* Moves the windows that are over as of this watermark, and makes that known; with even_none also if there are none. */
static void
close_up_to(WeirAggregate *aggregate, TimestampTz watermark, bool even_none)
{
	const WeirAggregateRow *row = aggregate->row;
	int			settings = weir_settings_enter(row->settings);
	uint64		moved = weir_aggregate_move(aggregate, watermark);

	weir_settings_leave(settings);
	if (moved == 0 && row->window.kind == WEIR_WINDOW_SESSION && !even_none)
		return;
	weir_catalog_aggregate_close(row->view, watermark);
	forget_old(row, watermark);
	CommandCounterIncrement();
	if (row->window.kind == WEIR_WINDOW_SESSION)
		drop_closed_sessions(aggregate);
}

/* Leaves out sessions for a while: to find those that are over takes a look at all. */
static bool
rests(const WeirAggregate *aggregate)
{
	return aggregate->row->window.kind == WEIR_WINDOW_SESSION && weir_is_background_worker() &&
		GetCurrentTimestamp() < aggregate->next_close;
}

/* Moves windows that are over to the results. */
bool
weir_aggregate_close_windows(WeirAggregate *aggregate)
{
	const WeirAggregateRow *row = aggregate->row;
	TimestampTz begun = GetCurrentTimestamp();
	Snapshot	snapshot;
	TimestampTz watermark;
	TimestampTz closed;
	bool		forgetting;
	bool		done = true;

	/* who sees the past only may not move what others have moved since */
	if (IsolationUsesXactSnapshot() || rests(aggregate))
		return false;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	watermark = weir_catalog_stream_watermark_at(row->stream, snapshot);
	closed = weir_catalog_aggregate_closed(row->view, snapshot);
	forgetting = is_forgetting_due(row, closed, watermark);
	if (watermark > closed && (forgetting || is_due(aggregate, snapshot, closed, watermark)))
	{
		done = weir_fence_lane(row->view, CLOSING, false) &&
			weir_catalog_aggregate_closed(row->view, GetLatestSnapshot()) == closed;
		if (done)
			close_up_to(aggregate, watermark, forgetting);
	}
	UnregisterSnapshot(snapshot);
	aggregate->next_close = TimestampTzPlusMilliseconds(begun, REST * TimestampDifferenceMilliseconds(begun, GetCurrentTimestamp()));
	return done;
}
