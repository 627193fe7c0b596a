/*
 * decode_options.h
 *	  The options that say how columns are filled: paths, column_options.
 *
 * Floor 2: part of the decoder.
 */
#ifndef WEIR_DECODE_OPTIONS_H
#define WEIR_DECODE_OPTIONS_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* Hands out the members of an options object; NULL at the end. */
typedef struct WeirOptions
{
	JsonbIterator *iterator;
	const char *option;			/* paths or column_options */
	const char *stream_name;
} WeirOptions;

extern void weir_options_begin(WeirOptions *options, Jsonb *jsonb,
							   const char *option, const char *stream_name);
extern const char *weir_options_next(WeirOptions *options, JsonbValue *value);
extern List *weir_options_path(const WeirOptions *options, const char *column,
							   const JsonbValue *value);
extern int	weir_options_time_unit(const WeirOptions *options, const char *column,
								   const JsonbValue *value);

#endif							/* WEIR_DECODE_OPTIONS_H */
