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
#include "window.h"

/* An event that came too late for a window. */
typedef struct WeirLateEvent
{
	TimestampTz window_start;
	TimestampTz window_end;
	int32		partition;
	int64		offset;
} WeirLateEvent;

/* What the functions bin() and bin_first() work for. */
typedef struct WeirBinner
{
	const WeirWindow *window;
	int64		lateness;		/* allowed, in microseconds */
	MemoryContext context;		/* of late */
	List	   *late;			/* WeirLateEvent */
} WeirBinner;

/* Makes the two functions work for binner, or for none; returns for whom they did before. */
extern WeirBinner *weir_bin_enter(WeirBinner *binner);

#endif							/* WEIR_AGGREGATE_BIN_H */
