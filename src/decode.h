/*
 * decode.h
 *	  From the bytes of a message to the values of a row.
 *
 * Floor 2.  A format is one file decode_<format>.c and one line in decode.c's
 * table.
 */
#ifndef WEIR_DECODE_H
#define WEIR_DECODE_H

#include "access/tupdesc.h"
#include "batch.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum WeirTimeUnit
{
	WEIR_TIME_NONE,				/* a number where a timestamp is wanted is a fault */
	WEIR_TIME_S,
	WEIR_TIME_MS,
	WEIR_TIME_US
} WeirTimeUnit;

/*
 * What the decoder must know of a stream.  Filled by catalog.c from the
 * stream's definition; all pointers outlive the decoder.
 */
typedef struct WeirDecodeSpec
{
	TupleDesc	tupdesc;		/* of the staging table */
	const char *stream_name;	/* for error messages */
	const char *format;			/* json */
	const char *key_format;		/* NULL | text | bytea | json */
	List	   *key_columns;	/* of char *: columns filled from the key */
	Jsonb	   *paths;			/* {"column": "a.b" | ["a", "b"]} or NULL */
	Jsonb	   *column_options; /* {"column": {"time_unit": "ms"}} or NULL */
	WeirTimeUnit time_unit;		/* of the stream */
} WeirDecodeSpec;

typedef struct WeirDecoder WeirDecoder;

/*
 * Compiles the spec.  Allocates in the current context, which the decoder
 * keeps.  Raises errors (22023) that name the column where the options do not fit the row type.
 */
extern WeirDecoder *weir_decoder_create(const WeirDecodeSpec *spec);

/*
 * Decodes one message into values[]/isnull[], which have tupdesc->natts
 * entries.  Columns that the message does not mention get isnull = true and
 * present = false (a DEFAULT may then apply); an explicit JSON null gets
 * present = true.  Columns that are not decoded from the message (dropped,
 * generated, metadata) are left as they are, except "_extra", which gets the fields that no
 * column holds, or NULL.
 *
 * A tombstone (value NULL) is decoded from its key alone: only key columns
 * are present.
 *
 * Returns false with *fault set when the message is bad.  Datums are
 * allocated in the current context.  Never throws, unless
 * weir_decoder_may_throw() said so: then the caller holds a subtransaction.
 */
extern bool weir_decode(WeirDecoder *decoder, const WeirMessage *message,
						Datum *values, bool *isnull, bool *present,
						WeirFault *fault);

/* Does some column go through its type's own input function, which may ereport? */
extern bool weir_decoder_may_throw(const WeirDecoder *decoder);

/*
 * The column the decoder was working on when it threw, for the dead letter; or NULL.
 */
extern const char *weir_decoder_column_at_fault(const WeirDecoder *decoder);

#endif							/* WEIR_DECODE_H */
