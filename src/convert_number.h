/*
 * convert_number.h
 *	  Numbers: integers, floats, numeric.
 *
 * Floor 1.
 */
#ifndef WEIR_CONVERT_NUMBER_H
#define WEIR_CONVERT_NUMBER_H

#include "convert.h"

/*
 * A decimal number as written: digits × 10^exponent, where digits are the
 * first 19 that matter.
 */
typedef struct WeirDecimal
{
	uint64		digits;
	int64		exponent;
	int64		scale;			/* digits after the point when written plainly; may be negative */
	bool		negative;
	bool		truncated;		/* there were more than 19 ... */
	bool		half;			/* ... the first of them 5 or more */
	bool		exponent_huge;	/* beyond what numeric takes, whatever the digits */
} WeirDecimal;

extern bool weir_decimal_read(WeirDecimal *decimal, const char *text, Size len);
extern bool weir_numeric_from_decimal(const char *text, Size len, Datum *result);
extern void weir_numeric_prepare(WeirConverter *converter);

extern bool weir_convert_int2(const WeirConverter *converter, const char *text, Size len,
							  Datum *result, WeirFault *fault);
extern bool weir_convert_int4(const WeirConverter *converter, const char *text, Size len,
							  Datum *result, WeirFault *fault);
extern bool weir_convert_int8(const WeirConverter *converter, const char *text, Size len,
							  Datum *result, WeirFault *fault);
extern bool weir_convert_float4(const WeirConverter *converter, const char *text, Size len,
								Datum *result, WeirFault *fault);
extern bool weir_convert_float8(const WeirConverter *converter, const char *text, Size len,
								Datum *result, WeirFault *fault);
extern bool weir_convert_numeric(const WeirConverter *converter, const char *text, Size len,
								 Datum *result, WeirFault *fault);

#endif							/* WEIR_CONVERT_NUMBER_H */
