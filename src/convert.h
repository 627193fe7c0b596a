/*
 * convert.h
 *	  From a JSON value, or a text, to the Datum of a column.
 *
 * Floor 1.
 */
#ifndef WEIR_CONVERT_H
#define WEIR_CONVERT_H

#include "access/tupdesc.h"
#include "batch.h"
#include "fmgr.h"
#include "json_scan.h"

typedef struct WeirConverter WeirConverter;

/* Reads the text of a scalar, which is not terminated. */
typedef bool (*WeirConvertText) (const WeirConverter *converter,
								 const char *text, Size len,
								 Datum *result, WeirFault *fault);

/* Reads a whole JSON value. */
typedef bool (*WeirConvertJson) (const WeirConverter *converter,
								 const WeirJsonValue *value,
								 Datum *result, WeirFault *fault);

/* How one column takes values. */
struct WeirConverter
{
	const char *column;			/* for faults */
	const char *type;			/* the same */
	Oid			typid;
	int32		typmod;
	WeirConvertText from_text;	/* scalars, and containers as written */
	WeirConvertText from_number;	/* JSON numbers, or NULL: as text */
	WeirConvertJson from_container; /* JSON objects and arrays, or NULL: as text */
	WeirConvertJson from_json;	/* any JSON value but null, or NULL: the above */
	int			unit;			/* a number counts 10^unit microseconds; -1: none is taken */
	Datum		bound;			/* numeric(p, s): values must be nearer to zero */
	bool		is_domain;		/* NULL must be checked too */
	bool		may_throw;		/* goes through the type's own functions */
	struct WeirInput *input;	/* then: what they need */
};

extern void weir_converter_init(WeirConverter *converter, TupleDesc tupdesc,
								AttrNumber attno);
extern bool weir_converter_takes_time(const WeirConverter *converter);
extern bool weir_convert_json(const WeirConverter *converter, const WeirJsonValue *value,
							  Datum *result, WeirFault *fault);

/* A text does not follow the type's syntax. */
extern bool weir_convert_bad_syntax(const WeirConverter *converter, WeirFault *fault);

/* A value is beyond what the type holds. */
extern bool weir_convert_out_of_range(const WeirConverter *converter, int sqlstate,
									  WeirFault *fault);

/* Is this byte white space to PostgreSQL's input functions? */
static inline bool
weir_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Narrows a text to what is between white space. */
static inline void
weir_trim(const char **text, Size *len)
{
	while (*len > 0 && weir_is_space(**text))
	{
		(*text)++;
		(*len)--;
	}
	while (*len > 0 && weir_is_space((*text)[*len - 1]))
		(*len)--;
}

#endif							/* WEIR_CONVERT_H */
