/*
 * eventtime.h
 *	  When an event happened, and how the watermark of its partition moves.
 *
 * Floor 2.
 */
#ifndef WEIR_EVENTTIME_H
#define WEIR_EVENTTIME_H

#include "access/tupdesc.h"
#include "batch.h"
#include "catalog.h"

/* Where a stream's event time is and what it may be. */
typedef struct WeirEventTime
{
	AttrNumber	attno;			/* of the declared column; 0: the message's timestamp */
	const char *column;			/* its name */
	int64		max_out_of_orderness;	/* microseconds */
	int64		max_future;
} WeirEventTime;

extern void weir_eventtime_find(TupleDesc tupdesc, const WeirStream *stream, WeirEventTime *eventtime);

/*
 * Reads the event time of a row.  False with *fault set if it is NULL,
 * infinite, or further in the future than max_future allows: of the broker's
 * clock where that set the message's timestamp, else of now.
 */
extern bool weir_eventtime_judge(const WeirEventTime *eventtime, const WeirMessage *message,
								 const Datum *values, const bool *isnull, TimestampTz now,
								 TimestampTz *event_time, WeirFault *fault);

/* Returns the watermark after an event: it never goes back. */
extern TimestampTz weir_eventtime_advance(const WeirEventTime *eventtime, TimestampTz watermark, TimestampTz event_time);

#endif							/* WEIR_EVENTTIME_H */
