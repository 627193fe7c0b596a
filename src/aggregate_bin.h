/*
 * aggregate_bin.h
 *	  The window of each event, told to the executor while it groups a batch.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_BIN_H
#define WEIR_AGGREGATE_BIN_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "span.h"
#include "window.h"

/* An event that came too late for a window. */
typedef struct WeirLateEvent
{
	TimestampTz window_start;
	TimestampTz window_end;
	int32		partition;
	int64		offset;
} WeirLateEvent;

/* A span of event time whose events have the same bins unless they come too late. */
typedef struct WeirBinRange
{
	TimestampTz start;			/* of the window or pane: what bin() gives */
	TimestampTz end;
	TimestampTz first;			/* the end of the first window: what bin_first() gives */
	TimestampTz closes;			/* events with this watermark are late for that window */
} WeirBinRange;

/* What the functions bin() and bin_first() work for. */
typedef struct WeirBinner
{
	const WeirWindow *window;
	int64		lateness;		/* allowed, in microseconds */
	MemoryContext context;		/* of late */
	List	   *late;			/* WeirLateEvent */
	WeirBinRange range;			/* of the event before */
} WeirBinner;

/* Makes the two functions work for binner, or for none; returns for whom they did before. */
extern WeirBinner *weir_bin_enter(WeirBinner *binner);

/* Sets *bins to what the two functions give for all events of a span; false if they may differ, or one is late. */
extern bool weir_bin_all(WeirBinner *binner, const WeirSpan *span, Datum *bins);

#endif							/* WEIR_AGGREGATE_BIN_H */
