/*
 * decode_json.h
 *	  The JSON format.
 */
#ifndef WEIR_DECODE_JSON_H
#define WEIR_DECODE_JSON_H

#include "decode_format.h"

extern const WeirFormat weir_format_json;

/* Fills one column from a value, stating which column is at work. */
extern bool weir_json_fill_column(const WeirColumn *column, const WeirJsonValue *value,
								  WeirRow *row, WeirFault *fault);

/* Reads a text that is no object but one scalar, and fills one column. */
extern bool weir_json_decode_scalar(const WeirColumn *column, const char *text, Size len,
									WeirRow *row, WeirFault *fault);

#endif							/* WEIR_DECODE_JSON_H */
