/*
 * window.h
 *	  Windows of event time: which of them an instant is in, and for which of
 *	  them an event comes too late.
 *
 * All windows are half-open, [start, end).  Nothing here knows streams.
 *
 * Floor 1.
 */
#ifndef WEIR_WINDOW_H
#define WEIR_WINDOW_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"

typedef enum WeirWindowKind
{
	WEIR_WINDOW_NONE,			/* running totals */
	WEIR_WINDOW_TUMBLE,			/* of one length, side by side */
	WEIR_WINDOW_HOP,			/* of one length, beginning every slide */
	WEIR_WINDOW_SESSION			/* as long as events follow each other within the gap */
} WeirWindowKind;

/*
 * What weir.tumble(), weir.hop() and weir.session() say, ready for arithmetic.
 * Times are microseconds.  A tumbling window is of the calendar if it counts
 * months, or has a time zone, whose days it then counts; else zone is NULL.
 */
typedef struct WeirWindow
{
	WeirWindowKind kind;
	int64		size;			/* of fixed length */
	int64		slide;			/* hop */
	int64		gap;			/* session */
	int64		shift;			/* fixed length: of every boundary, from the origin */
	pg_tz	   *zone;			/* calendar */
	int32		size_months;	/* calendar: one of these two is set */
	int32		size_days;
	Interval	calendar_shift;
} WeirWindow;

/* A part of event time that no window of a hop begins or ends within. */
typedef struct WeirPane
{
	TimestampTz start;
	TimestampTz end;
} WeirPane;

/*
 * Returns the start of the tumbling window that t is in, and the end in *end
 * unless that is NULL.  Error 22008 if a boundary is no timestamp.
 */
extern TimestampTz weir_window_tumble(const WeirWindow *window, TimestampTz t, TimestampTz *end);

/* Returns the pane of a hop that t is in. */
extern WeirPane weir_window_pane(const WeirWindow *window, TimestampTz t);

/*
 * Sets *first and *last to the starts of the first and the last window of a
 * hop that holds t; false if t falls between windows.
 */
extern bool weir_window_hops(const WeirWindow *window, TimestampTz t, TimestampTz *first, TimestampTz *last);

/* Is an event with this watermark before it too late for a window that ends there? */
extern bool weir_window_late(TimestampTz end, int64 lateness, TimestampTz watermark);

/* Is an event at t too late for any session? */
extern bool weir_window_session_late(TimestampTz t, int64 lateness, TimestampTz watermark);

/* Returns the end of the slice of this length that t is in; the slices begin at the origin of windows. */
extern TimestampTz weir_window_slice_end(int64 length, TimestampTz t);

/* Returns t + delta; error 22008 if that is no timestamp. */
extern TimestampTz weir_window_add(TimestampTz t, int64 delta);

#endif							/* WEIR_WINDOW_H */
