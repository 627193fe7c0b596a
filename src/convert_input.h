/*
 * convert_input.h
 *	  The general way into a column: through its type's own functions.
 *
 * Floor 1.  What is here may throw.
 */
#ifndef WEIR_CONVERT_INPUT_H
#define WEIR_CONVERT_INPUT_H

#include "convert.h"

extern void weir_input_prepare(WeirConverter *converter, TupleDesc tupdesc, AttrNumber attno);
extern bool weir_convert_input(const WeirConverter *converter, const char *text, Size len,
							   Datum *result, WeirFault *fault);
extern bool weir_convert_populate(const WeirConverter *converter, const WeirJsonValue *value,
								  Datum *result, WeirFault *fault);
extern void weir_input_check_null(const WeirConverter *converter);

#endif							/* WEIR_CONVERT_INPUT_H */
