/*
 * convert_number.c
 *	  Numbers: integers, floats, numeric.
 *
 * Each takes what PostgreSQL's input function of the type takes and gives the
 * same value, without throwing.
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "convert_number.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* Integers up to here are exact in a double, and in a float. */
#define EXACT_DOUBLE	(UINT64CONST(1) << 53)
#define EXACT_FLOAT		(UINT64CONST(1) << 24)

/* 10^22 is the last power of ten that is exact in a double; 10^10 in a float. */
static const double powers_of_ten[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

/*
 * What numeric holds: 131072 digits before the point and 16383 after it; and
 * an exponent it is ready to read at all.
 */
#define MAX_LEADING_DIGIT	131071
#define MAX_SCALE	16383
#define MAX_EXPONENT (PG_INT32_MAX / 2)

static bool read_integer(const WeirConverter *converter, const char *text, Size len,
						 int64 min, int64 *value, WeirFault *fault);
static char *terminate(const char *text, Size len);
static bool read_exponent(WeirDecimal *decimal, const char *p, const char *end);
static bool decimal_fits_numeric(const WeirDecimal *decimal);
static bool special_numeric(const char *text, Size len, const char **name);

/* Reads an int2. */
bool
weir_convert_int2(const WeirConverter *converter, const char *text, Size len,
				  Datum *result, WeirFault *fault)
{
	int64		value;

	if (!read_integer(converter, text, len, PG_INT16_MIN, &value, fault))
		return false;
	*result = Int16GetDatum((int16) value);
	return true;
}

/* Reads an int4. */
bool
weir_convert_int4(const WeirConverter *converter, const char *text, Size len,
				  Datum *result, WeirFault *fault)
{
	int64		value;

	if (!read_integer(converter, text, len, PG_INT32_MIN, &value, fault))
		return false;
	*result = Int32GetDatum((int32) value);
	return true;
}

/* Reads an int8. */
bool
weir_convert_int8(const WeirConverter *converter, const char *text, Size len,
				  Datum *result, WeirFault *fault)
{
	int64		value;

	if (!read_integer(converter, text, len, PG_INT64_MIN, &value, fault))
		return false;
	*result = Int64GetDatum(value);
	return true;
}

/* Reads an integer of the range that min begins.  Counts downwards: there is one more below zero. */
static bool
read_integer(const WeirConverter *converter, const char *text, Size len,
			 int64 min, int64 *value, WeirFault *fault)
{
	const char *end;
	bool		negative = false;
	int64		total = 0;

	weir_trim(&text, &len);
	end = text + len;
	if (len > 0 && (*text == '-' || *text == '+'))
		negative = *text++ == '-';
	if (text == end)
		return weir_convert_bad_syntax(converter, fault);

	for (; text < end; text++)
	{
		unsigned char digit = *text - '0';

		if (digit > 9)
			return weir_convert_bad_syntax(converter, fault);
		if (pg_mul_s64_overflow(total, 10, &total) ||
			pg_sub_s64_overflow(total, digit, &total) || total < min)
			return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
	}

	if (!negative && total == min)
		return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
	*value = negative ? total : -total;
	return true;
}

/*
 * Takes a decimal number apart; false if the text is anything else.
 */
bool
weir_decimal_read(WeirDecimal *decimal, const char *text, Size len)
{
	const char *p = text;
	const char *end = text + len;
	int			significant = 0;
	int64		dropped = 0;
	bool		any = false;
	bool		point = false;

	decimal->digits = 0;
	decimal->scale = 0;
	decimal->half = false;
	decimal->exponent_huge = false;
	decimal->negative = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;

	for (; p < end; p++)
	{
		unsigned char digit = *p - '0';

		if (digit > 9)
		{
			if (*p != '.' || point)
				break;
			point = true;
			continue;
		}
		any = true;
		decimal->scale += point;
		if (significant == 19)
		{
			if (dropped++ == 0)
				decimal->half = digit >= 5;
		}
		else
		{
			decimal->digits = decimal->digits * 10 + digit;
			significant += decimal->digits != 0;
		}
	}
	if (!any)
		return false;
	if (p < end && !read_exponent(decimal, p, end))
		return false;

	decimal->exponent = dropped - decimal->scale;
	decimal->truncated = dropped > 0;
	return true;
}

/* Reads the exponent at the end of a decimal number. */
static bool
read_exponent(WeirDecimal *decimal, const char *p, const char *end)
{
	bool		negative;
	int64		exponent = 0;

	if (*p != 'e' && *p != 'E')
		return false;
	p++;
	negative = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (p == end)
		return false;

	for (; p < end; p++)
	{
		unsigned char digit = *p - '0';

		if (digit > 9)
			return false;
		if (exponent < PG_INT32_MAX)
			exponent = exponent * 10 + digit;
	}
	decimal->exponent_huge = exponent >= MAX_EXPONENT;
	decimal->scale -= negative ? -exponent : exponent;
	return true;
}

/* Returns a terminated copy. */
static char *
terminate(const char *text, Size len)
{
	char	   *copy = palloc(len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

/*
 * Reads a float8.
 *
 * Where digits and power of ten are both exact as doubles, one operation
 * rounds once and is right (Clinger).  Anything else goes to strtod, as in
 * PostgreSQL.
 */
bool
weir_convert_float8(const WeirConverter *converter, const char *text, Size len,
					Datum *result, WeirFault *fault)
{
	WeirDecimal decimal;
	double		value;
	char	   *copy;
	char	   *end;

	weir_trim(&text, &len);
	if (weir_decimal_read(&decimal, text, len) && !decimal.truncated &&
		decimal.digits <= EXACT_DOUBLE &&
		decimal.exponent >= -22 && decimal.exponent <= 22)
	{
		value = (double) decimal.digits;
		if (decimal.exponent < 0)
			value /= powers_of_ten[-decimal.exponent];
		else
			value *= powers_of_ten[decimal.exponent];
		*result = Float8GetDatum(decimal.negative ? -value : value);
		return true;
	}

	copy = terminate(text, len);
	errno = 0;
	value = strtod(copy, &end);
	/* A denormalised result is no error, though the library may say so. */
	if (errno == ERANGE && (value == 0.0 || value >= HUGE_VAL || value <= -HUGE_VAL))
		return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
	if (len == 0 || *end != '\0')
		return weir_convert_bad_syntax(converter, fault);
	pfree(copy);
	*result = Float8GetDatum(value);
	return true;
}

/* Reads a float4.  Not by way of float8, which would round twice. */
bool
weir_convert_float4(const WeirConverter *converter, const char *text, Size len,
					Datum *result, WeirFault *fault)
{
	WeirDecimal decimal;
	float		value;
	char	   *copy;
	char	   *end;

	weir_trim(&text, &len);
	if (weir_decimal_read(&decimal, text, len) && !decimal.truncated &&
		decimal.digits <= EXACT_FLOAT &&
		decimal.exponent >= -10 && decimal.exponent <= 10)
	{
		value = (float) decimal.digits;
		if (decimal.exponent < 0)
			value /= (float) powers_of_ten[-decimal.exponent];
		else
			value *= (float) powers_of_ten[decimal.exponent];
		*result = Float4GetDatum(decimal.negative ? -value : value);
		return true;
	}

	copy = terminate(text, len);
	errno = 0;
	value = strtof(copy, &end);
	if (errno == ERANGE && (value == 0.0 || value >= HUGE_VALF || value <= -HUGE_VALF))
		return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
	if (len == 0 || *end != '\0')
		return weir_convert_bad_syntax(converter, fault);
	pfree(copy);
	*result = Float4GetDatum(value);
	return true;
}

/* Is a number within what numeric can represent? */
static bool
decimal_fits_numeric(const WeirDecimal *decimal)
{
	int64		leading;

	if (decimal->exponent_huge || decimal->scale > MAX_SCALE)
		return false;
	if (decimal->digits == 0)
		return true;

	leading = decimal->exponent;
	for (uint64 rest = decimal->digits; rest >= 10; rest /= 10)
		leading++;
	return leading <= MAX_LEADING_DIGIT;
}

/* Makes a numeric of a decimal number; false if it is none or overflows. */
bool
weir_numeric_from_decimal(const char *text, Size len, Datum *result)
{
	WeirDecimal decimal;
	char	   *copy;

	if (!weir_decimal_read(&decimal, text, len) || !decimal_fits_numeric(&decimal))
		return false;

	copy = terminate(text, len);
	*result = DirectFunctionCall3(numeric_in, CStringGetDatum(copy),
								  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	pfree(copy);
	return true;
}

/* Works out the bound that a numeric(p, s) column sets: 10^(p - s). */
void
weir_numeric_prepare(WeirConverter *converter)
{
	int32		typmod = converter->typmod - VARHDRSZ;
	int			precision = (typmod >> 16) & 0xffff;
	int			scale = ((typmod & 0x7ff) ^ 1024) - 1024;

	if (converter->typmod < (int32) VARHDRSZ)
		return;
	converter->bound = DirectFunctionCall3(numeric_in,
										   CStringGetDatum(psprintf("1e%d", precision - scale)),
										   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/* Reads a numeric, and rounds it to the scale of the column. */
bool
weir_convert_numeric(const WeirConverter *converter, const char *text, Size len,
					 Datum *result, WeirFault *fault)
{
	const char *name;
	bool		limited = converter->typmod >= (int32) VARHDRSZ;
	int			scale = (((converter->typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

	weir_trim(&text, &len);
	if (special_numeric(text, len, &name))
	{
		if (limited && *name != 'n')
			return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
		*result = DirectFunctionCall3(numeric_in, CStringGetDatum(name),
									  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		return true;
	}

	if (!weir_numeric_from_decimal(text, len, result))
	{
		WeirDecimal decimal;

		if (!weir_decimal_read(&decimal, text, len))
			return weir_convert_bad_syntax(converter, fault);
		return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
	}
	if (!limited)
		return true;

	*result = DirectFunctionCall2(numeric_round, *result, Int32GetDatum(scale));
	if (DatumGetBool(DirectFunctionCall2(numeric_ge,
										 DirectFunctionCall1(numeric_abs, *result),
										 converter->bound)))
		return weir_convert_out_of_range(converter, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, fault);
	return true;
}

/* Is this one of the values of numeric that are no number? */
static bool
special_numeric(const char *text, Size len, const char **name)
{
	static const struct
	{
		const char *text;
		const char *name;
	}			specials[] = {
		{"nan", "nan"},
		{"infinity", "inf"}, {"+infinity", "inf"}, {"-infinity", "-inf"},
		{"inf", "inf"}, {"+inf", "inf"}, {"-inf", "-inf"},
	};

	if (len < 3 || len > 9 || (text[len - 1] >= '0' && text[len - 1] <= '9'))
		return false;
	for (int i = 0; i < lengthof(specials); i++)
	{
		if (strlen(specials[i].text) == len &&
			pg_strncasecmp(text, specials[i].text, len) == 0)
		{
			*name = specials[i].name;
			return true;
		}
	}
	return false;
}
