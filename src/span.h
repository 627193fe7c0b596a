/*
 * span.h
 *	  Within what span of event time the rows of an insert are.
 *
 * Floor 1.
 */
#ifndef WEIR_SPAN_H
#define WEIR_SPAN_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Bounds of some rows; none of them is outside. */
typedef struct WeirSpan
{
	bool		any;			/* else the rest says nothing */
	TimestampTz least;			/* event time */
	TimestampTz greatest;
	TimestampTz watermark;		/* the greatest of the events' own */
} WeirSpan;

/* Widens a span by an event. */
static inline void
weir_span_add(WeirSpan *span, TimestampTz event_time, TimestampTz watermark)
{
	span->least = span->any ? Min(span->least, event_time) : event_time;
	span->greatest = span->any ? Max(span->greatest, event_time) : event_time;
	span->watermark = span->any ? Max(span->watermark, watermark) : watermark;
	span->any = true;
}

/* Notes the span of the rows whose triggers fire next, and tells it to these triggers; of any other table nothing is known. */
extern void weir_span_note(Oid staging, const WeirSpan *span);
extern WeirSpan weir_span_of(Oid staging);

#endif							/* WEIR_SPAN_H */
