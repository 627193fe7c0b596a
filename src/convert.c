/*
 * convert.c
 *	  From a JSON value, or a text, to the Datum of a column.
 *
 * Chooses how each column takes values, and reads the types that need few
 * lines: bool, text, varchar, uuid, json and jsonb.  Numbers are in
 * convert_number.c, points in time in convert_time.c.  These all refuse what
 * does not fit by way of a fault and never throw.  Every other type goes
 * through convert_input.c, which may.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "convert.h"
#include "convert_input.h"
#include "convert_number.h"
#include "convert_time.h"
#include "json_build.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

static bool convert_bool(const WeirConverter *converter, const char *text, Size len,
						 Datum *result, WeirFault *fault);
static bool convert_text(const WeirConverter *converter, const char *text, Size len,
						 Datum *result, WeirFault *fault);
static bool convert_varchar(const WeirConverter *converter, const char *text, Size len,
							Datum *result, WeirFault *fault);
static bool convert_uuid(const WeirConverter *converter, const char *text, Size len,
						 Datum *result, WeirFault *fault);
static bool convert_json(const WeirConverter *converter, const WeirJsonValue *value,
						 Datum *result, WeirFault *fault);
static bool convert_jsonb(const WeirConverter *converter, const WeirJsonValue *value,
						  Datum *result, WeirFault *fault);

/* The types that are read here rather than by their input functions. */
static const struct
{
	Oid			typid;
	const char *type;
	WeirConvertText from_text;
	WeirConvertText from_number;
	WeirConvertJson from_json;
}			known_types[] = {
	{INT2OID, "smallint", weir_convert_int2},
	{INT4OID, "integer", weir_convert_int4},
	{INT8OID, "bigint", weir_convert_int8},
	{FLOAT4OID, "real", weir_convert_float4},
	{FLOAT8OID, "double precision", weir_convert_float8},
	{NUMERICOID, "numeric", weir_convert_numeric},
	{BOOLOID, "boolean", convert_bool},
	{TEXTOID, "text", convert_text},
	{VARCHAROID, "character varying", convert_varchar},
	{UUIDOID, "uuid", convert_uuid},
	{TIMESTAMPTZOID, "timestamp with time zone", weir_convert_timestamptz, weir_convert_epoch},
	{TIMESTAMPOID, "timestamp", weir_convert_timestamp, weir_convert_epoch},
	{DATEOID, "date", weir_convert_date, weir_convert_epoch_date},
	{JSONOID, "json", NULL, NULL, convert_json},
	{JSONBOID, "jsonb", NULL, NULL, convert_jsonb},
};

/* Chooses how a column takes values. */
void
weir_converter_init(WeirConverter *converter, TupleDesc tupdesc, AttrNumber attno)
{
	Form_pg_attribute attribute = TupleDescAttr(tupdesc, attno - 1);

	memset(converter, 0, sizeof(*converter));
	converter->column = NameStr(attribute->attname);
	converter->typid = attribute->atttypid;
	converter->typmod = attribute->atttypmod;
	converter->unit = -1;

	for (int i = 0; i < lengthof(known_types); i++)
	{
		if (known_types[i].typid != attribute->atttypid)
			continue;
		converter->type = known_types[i].type;
		converter->from_text = known_types[i].from_text;
		converter->from_number = known_types[i].from_number;
		converter->from_json = known_types[i].from_json;
		if (attribute->atttypid == NUMERICOID)
			weir_numeric_prepare(converter);
		return;
	}
	converter->type = format_type_be(attribute->atttypid);
	weir_input_prepare(converter, tupdesc, attno);
}

/* Does the column hold points in time, so that numbers need a unit? */
bool
weir_converter_takes_time(const WeirConverter *converter)
{
	return converter->from_number != NULL;
}

/* Converts a JSON value that is not null. */
bool
weir_convert_json(const WeirConverter *converter, const WeirJsonValue *value,
				  Datum *result, WeirFault *fault)
{
	const char *text;
	Size		len;

	if (converter->from_json != NULL)
		return converter->from_json(converter, value, result, fault);
	if (value->kind == WEIR_JSON_NUMBER && converter->from_number != NULL)
		return converter->from_number(converter, value->text, value->len, result, fault);
	if (value->kind >= WEIR_JSON_ARRAY && converter->from_container != NULL)
		return converter->from_container(converter, value, result, fault);

	text = weir_json_unescape(value, &len);
	return converter->from_text(converter, text, len, result, fault);
}

/* A text does not follow the type's syntax. */
bool
weir_convert_bad_syntax(const WeirConverter *converter, WeirFault *fault)
{
	return weir_fault(fault, WEIR_STAGE_CONVERT, ERRCODE_INVALID_TEXT_REPRESENTATION,
					  converter->column, "invalid input syntax for type %s", converter->type);
}

/* A value is beyond what the type holds. */
bool
weir_convert_out_of_range(const WeirConverter *converter, int sqlstate, WeirFault *fault)
{
	return weir_fault(fault, WEIR_STAGE_CONVERT, sqlstate,
					  converter->column, "value is out of range for type %s", converter->type);
}

/* Reads a bool. */
static bool
convert_bool(const WeirConverter *converter, const char *text, Size len,
			 Datum *result, WeirFault *fault)
{
	bool		value;

	weir_trim(&text, &len);
	/* Of what begins with an o it looks at two bytes, however many there are. */
	if (len == 0 || (len == 1 && (*text == 'o' || *text == 'O')) ||
		!parse_bool_with_len(text, len, &value))
		return weir_convert_bad_syntax(converter, fault);
	*result = BoolGetDatum(value);
	return true;
}

/* Takes a text as it is. */
static bool
convert_text(const WeirConverter *converter, const char *text, Size len,
			 Datum *result, WeirFault *fault)
{
	*result = PointerGetDatum(cstring_to_text_with_len(text, (int) len));
	return true;
}

/* Takes a text of limited length; only spaces may be cut off. */
static bool
convert_varchar(const WeirConverter *converter, const char *text, Size len,
				Datum *result, WeirFault *fault)
{
	int			limit = converter->typmod - (int) VARHDRSZ;

	/* A text has no more characters than bytes. */
	if (converter->typmod >= (int) VARHDRSZ && len > limit)
	{
		Size		kept = pg_mbcharcliplen(text, (int) len, limit);

		for (Size i = kept; i < len; i++)
		{
			if (text[i] != ' ')
				return weir_fault(fault, WEIR_STAGE_CONVERT, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
								  converter->column,
								  "value too long for type character varying(%d)", limit);
		}
		len = kept;
	}
	*result = PointerGetDatum(cstring_to_text_with_len(text, (int) len));
	return true;
}

/* The value of each hexadecimal digit plus one; 0 for all other bytes. */
static const uint8 hex_digits[256] = {
	['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7,
	['7'] = 8, ['8'] = 9, ['9'] = 10,
	['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
	['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/*
 * Reads a uuid: 32 hexadecimal digits, perhaps in braces, perhaps with a
 * hyphen after any four of them.
 */
static bool
convert_uuid(const WeirConverter *converter, const char *text, Size len,
			 Datum *result, WeirFault *fault)
{
	const char *p = text;
	const char *end = text + len;
	pg_uuid_t  *uuid;

	if (len >= 2 && *p == '{')
	{
		p++;
		if (*--end != '}')
			return weir_convert_bad_syntax(converter, fault);
	}

	uuid = palloc(sizeof(pg_uuid_t));
	for (int i = 0; i < UUID_LEN; i++)
	{
		uint8		high;
		uint8		low;

		if (end - p < 2)
			return weir_convert_bad_syntax(converter, fault);
		high = hex_digits[(unsigned char) p[0]];
		low = hex_digits[(unsigned char) p[1]];
		if (high == 0 || low == 0)
			return weir_convert_bad_syntax(converter, fault);
		uuid->data[i] = (high - 1) << 4 | (low - 1);
		p += 2;
		if (i % 2 == 1 && i < UUID_LEN - 1 && p < end && *p == '-')
			p++;
	}
	if (p != end)
		return weir_convert_bad_syntax(converter, fault);
	*result = UUIDPGetDatum(uuid);
	return true;
}

/* Takes a JSON value as written. */
static bool
convert_json(const WeirConverter *converter, const WeirJsonValue *value,
			 Datum *result, WeirFault *fault)
{
	int			quote = value->kind == WEIR_JSON_STRING ? 1 : 0;

	*result = PointerGetDatum(cstring_to_text_with_len(value->text - quote,
													   (int) value->len + 2 * quote));
	return true;
}

/* Takes a JSON value as jsonb. */
static bool
convert_jsonb(const WeirConverter *converter, const WeirJsonValue *value,
			  Datum *result, WeirFault *fault)
{
	WeirJsonBuild build;
	Jsonb	   *jsonb = weir_json_build_jsonb(&build, value);

	if (jsonb == NULL)
		return weir_fault(fault, WEIR_STAGE_CONVERT, build.sqlstate, converter->column,
						  "%s", build.problem);
	*result = JsonbPGetDatum(jsonb);
	return true;
}
