/*
 * span.c
 *	  Within what span of event time the rows of an insert are.
 *
 * A statement trigger gets rows and nothing else.  Where all of them are of
 * one window it need not ask each: that is known before they are written.
 */
#include "postgres.h"

#include "span.h"

static struct
{
	Oid			staging;
	WeirSpan	span;
}			noted;

/* Notes the span of rows. */
void
weir_span_note(Oid staging, const WeirSpan *span)
{
	noted.staging = staging;
	noted.span = *span;
}

/* Returns the span of the rows that a trigger of this table sees. */
WeirSpan
weir_span_of(Oid staging)
{
	/* a trigger before us may have staged rows elsewhere */
	return staging == noted.staging ? noted.span : (WeirSpan) {false};
}
