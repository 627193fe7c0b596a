/*
 * aggregate_bin.c
 *	  The window of each event, told to the executor while it groups a batch.
 *
 * The query over a batch groups by weir_internal.bin(), which is NULL for an
 * event that comes too late for all its windows; late ones are noted on the
 * way, so that a batch is read once.  The two functions work for whoever runs
 * the query, and for nobody else.
 *
 * An event is mostly of the same window as the one before it: what holds for
 * both of them is kept, which saves some divisions an event.
 */
#include "postgres.h"

#include "aggregate_bin.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(weir_bin);
PG_FUNCTION_INFO_V1(weir_bin_first);

static WeirBinner *current = NULL;

/* Makes the two functions work for binner. */
WeirBinner *
weir_bin_enter(WeirBinner *binner)
{
	WeirBinner *before = current;

	current = binner;
	return before;
}

/* An event as the two functions are told of it. */
typedef struct BinEvent
{
	TimestampTz time;
	TimestampTz watermark;
	int32		partition;
	int64		offset;
} BinEvent;

/* Reads the arguments: event time, Kafka's time, watermark, partition, offset. */
static BinEvent
event_of(FunctionCallInfo fcinfo)
{
	BinEvent	event;

	if (current == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this function is for the queries of continuous aggregates alone")));
	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event has no time"),
				 errdetail("Neither its event time nor Kafka's timestamp is there.")));
	/* a tombstone has no columns: Kafka's time is its time */
	event.time = PG_GETARG_TIMESTAMPTZ(PG_ARGISNULL(0) ? 1 : 0);
	event.watermark = PG_ARGISNULL(2) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(2);
	event.partition = PG_GETARG_INT32(3);
	event.offset = PG_GETARG_INT64(4);
	return event;
}

/* Notes that an event is late for a window. */
static void
note_late(const BinEvent *event, TimestampTz start, TimestampTz end)
{
	MemoryContext old = MemoryContextSwitchTo(current->context);
	WeirLateEvent *late = palloc(sizeof(WeirLateEvent));

	*late = (WeirLateEvent) {start, end, event->partition, event->offset};
	current->late = lappend(current->late, late);
	MemoryContextSwitchTo(old);
}

/* Sets *bin to the start of the tumbling window; false if the event is late. */
static bool
bin_tumble(const BinEvent *event, TimestampTz *bin)
{
	TimestampTz end;

	*bin = weir_window_tumble(current->window, event->time, &end);
	if (!weir_window_late(end, current->lateness, event->watermark))
		return true;
	note_late(event, *bin, end);
	return false;
}

/* Sets *end to the end of the first window of a hop that the event is on time for; notes the others if asked to. */
static bool
first_on_time(const BinEvent *event, bool note, TimestampTz *end)
{
	const WeirWindow *window = current->window;
	TimestampTz start,
				last;

	if (!weir_window_hops(window, event->time, &start, &last))
		return false;
	for (; start <= last; start = weir_window_add(start, window->slide))
	{
		*end = weir_window_add(start, window->size);
		if (!weir_window_late(*end, current->lateness, event->watermark))
			return true;
		if (note)
			note_late(event, start, *end);
	}
	return false;
}

/* Sets *bin to the event's own time, as sessions are put together later; false if it is late. */
static bool
bin_session(const BinEvent *event, TimestampTz *bin)
{
	*bin = event->time;
	if (!weir_window_session_late(event->time, current->lateness, event->watermark))
		return true;
	note_late(event, event->time, weir_window_add(event->time, current->window->gap));
	return false;
}

/* Finds the span of event time around an instant whose events have the same bins; false if there is none. */
static bool
find_range(WeirBinner *binner, TimestampTz time)
{
	const WeirWindow *window = binner->window;
	WeirBinRange *range = &binner->range;
	WeirPane	pane;
	TimestampTz first,
				last;

	if (window->kind == WEIR_WINDOW_TUMBLE)
	{
		range->start = weir_window_tumble(window, time, &range->end);
		range->first = range->end;
	}
	else if (window->kind == WEIR_WINDOW_HOP && weir_window_hops(window, time, &first, &last))
	{
		pane = weir_window_pane(window, time);
		range->start = pane.start;
		range->end = pane.end;
		range->first = weir_window_add(first, window->size);
	}
	else
		return false;
	if (pg_add_s64_overflow(range->first, binner->lateness, &range->closes))
		range->closes = PG_INT64_MAX;
	return true;
}

/* Does the range hold for events up to this time and watermark? */
static inline bool
holds(const WeirBinRange *range, TimestampTz time, TimestampTz watermark)
{
	return time < range->end && watermark < range->closes;
}

/* Is an event on time for all its windows, and of the range that is known now? */
static inline bool
in_range(const BinEvent *event)
{
	if (event->time < current->range.start || event->time >= current->range.end)
	{
		if (!find_range(current, event->time))
			return false;
	}
	return holds(&current->range, event->time, event->watermark);
}

/* Sets *bins to what the two functions give for all events of a span; false if they may differ. */
bool
weir_bin_all(WeirBinner *binner, const WeirSpan *span, Datum *bins)
{
	if (!span->any || !find_range(binner, span->least) ||
		!holds(&binner->range, span->greatest, span->watermark))
		return false;
	bins[0] = TimestampTzGetDatum(binner->range.start);
	bins[1] = TimestampTzGetDatum(binner->range.first);
	return true;
}

/* weir_internal.bin(event_time, kafka_time, watermark, partition, offset) */
Datum
weir_bin(PG_FUNCTION_ARGS)
{
	BinEvent	event = event_of(fcinfo);
	TimestampTz bin = 0;
	bool		on_time = false;

	if (in_range(&event))
		PG_RETURN_TIMESTAMPTZ(current->range.start);
	switch (current->window->kind)
	{
		case WEIR_WINDOW_NONE:
			break;
		case WEIR_WINDOW_TUMBLE:
			on_time = bin_tumble(&event, &bin);
			break;
		case WEIR_WINDOW_HOP:
			on_time = first_on_time(&event, true, &bin);
			bin = weir_window_pane(current->window, event.time).start;
			break;
		case WEIR_WINDOW_SESSION:
			on_time = bin_session(&event, &bin);
			break;
	}
	if (!on_time)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(bin);
}

/* weir_internal.bin_first(event_time, kafka_time, watermark, partition, offset) */
Datum
weir_bin_first(PG_FUNCTION_ARGS)
{
	BinEvent	event = event_of(fcinfo);
	TimestampTz end;

	if (in_range(&event))
		PG_RETURN_TIMESTAMPTZ(current->range.first);
	if (!first_on_time(&event, false, &end))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(end);
}
