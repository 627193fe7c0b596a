/*
 * text.c
 *	  Fuzz target: bytes as the text of a scalar, for each type that is read by
 *	  our own code.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"

#include "convert.h"
#include "oracle.h"
#include "server.h"

#define NUMERIC(precision, scale) \
	((((precision) << 16) | ((scale) & 0x7ff)) + VARHDRSZ)

static const Column columns[] = {
	{"i2", INT2OID, -1, F_INT2IN, 2, true, -1},
	{"i4", INT4OID, -1, F_INT4IN, 4, true, -1},
	{"i8", INT8OID, -1, F_INT8IN, 8, true, -1},
	{"f4", FLOAT4OID, -1, F_FLOAT4IN, 4, true, -1},
	{"f8", FLOAT8OID, -1, F_FLOAT8IN, 8, true, -1},
	{"n", NUMERICOID, -1, F_NUMERIC_IN, -1, false, -1},
	{"n62", NUMERICOID, NUMERIC(6, 2), F_NUMERIC_IN, -1, false, -1},
	{"n3_2", NUMERICOID, NUMERIC(3, -2), F_NUMERIC_IN, -1, false, -1},
	{"n25", NUMERICOID, NUMERIC(2, 5), F_NUMERIC_IN, -1, false, -1},
	{"b", BOOLOID, -1, F_BOOLIN, 1, true, -1},
	{"t", TEXTOID, -1, F_TEXTIN, -1, false, -1},
	{"v", VARCHAROID, -1, F_VARCHARIN, -1, false, -1},
	{"v3", VARCHAROID, 3 + VARHDRSZ, F_VARCHARIN, -1, false, -1},
	{"u", UUIDOID, -1, F_UUID_IN, 16, false, -1},
	{"tz", TIMESTAMPTZOID, -1, F_TIMESTAMPTZ_IN, 8, true, 6},
	{"tz0", TIMESTAMPTZOID, 0, F_TIMESTAMPTZ_IN, 8, true, -1},
	{"tz3", TIMESTAMPTZOID, 3, F_TIMESTAMPTZ_IN, 8, true, -1},
	{"ts", TIMESTAMPOID, -1, F_TIMESTAMP_IN, 8, true, 3},
	{"ts6", TIMESTAMPOID, 6, F_TIMESTAMP_IN, 8, true, 0},
	{"d", DATEOID, -1, F_DATE_IN, 4, true, 6},
};

static WeirConverter converters[lengthof(columns)];

int			LLVMFuzzerInitialize(int *argc, char ***argv);
int			LLVMFuzzerTestOneInput(const uint8 *bytes, size_t len);

static void check_text(int i, const char *text, const char *bytes, size_t len);
static void check_number(int i, const char *text, const char *bytes, size_t len);
static void compare(const Column *column, bool accepted, Datum value,
					const WeirFault *fault, const Answer *expected);
static void check_string(const char *text, size_t len);

/* Chooses how each column takes values. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	TupleDesc	tupdesc;

	server_start();
	tupdesc = oracle_row_type(columns, lengthof(columns), false);
	for (int i = 0; i < lengthof(columns); i++)
	{
		weir_converter_init(&converters[i], tupdesc, i + 1);
		converters[i].unit = columns[i].unit;
	}
	server_keep();
	return 0;
}

/* Tries an input. */
int
LLVMFuzzerTestOneInput(const uint8 *bytes, size_t len)
{
	char	   *exact;
	char	   *tempting;		/* for PostgreSQL's functions, which the sanitizer does not see into */
	char	   *text;
	bool		is_number;

	/* The scanner lets nothing else through. */
	if (!oracle_is_text((const char *) bytes, len))
		return 0;

	exact = malloc(len);
	memcpy(exact, bytes, len);
	tempting = malloc(len + 2);
	memcpy(tempting, bytes, len);
	memcpy(tempting + len, "n0", 2);
	text = pnstrdup(exact, len);
	is_number = len > 0 && strchr("-0123456789", *text) != NULL && oracle_is_json(text) &&
		strspn(text, "-0123456789.eE+") == len;

	for (int i = 0; i < lengthof(columns); i++)
	{
		check_text(i, text, exact, len);
		check_text(i, text, tempting, len);
		if (is_number && columns[i].unit >= 0)
			check_number(i, text, exact, len);
	}
	check_string(text, len);

	free(tempting);
	free(exact);
	server_clear();
	return 0;
}

/* Converts a text, and compares with what the type's input function says. */
static void
check_text(int i, const char *text, const char *bytes, size_t len)
{
	WeirFault	fault;
	Datum		value;
	bool		accepted = converters[i].from_text(&converters[i], bytes, len, &value, &fault);
	Answer		expected = oracle_scalar(&columns[i], text);

	compare(&columns[i], accepted, value, &fault, &expected);
}

/* Converts a number that counts from 1970. */
static void
check_number(int i, const char *text, const char *bytes, size_t len)
{
	WeirFault	fault;
	Datum		value;
	bool		accepted = converters[i].from_number(&converters[i], bytes, len, &value, &fault);
	Answer		expected = oracle_epoch(&columns[i], text);

	compare(&columns[i], accepted, value, &fault, &expected);
}

/* Stops where the two differ. */
static void
compare(const Column *column, bool accepted, Datum value,
		const WeirFault *fault, const Answer *expected)
{
	if (expected->unknown)
		return;
	if (!accepted && !oracle_same_error(column, expected, fault->sqlstate))
		oracle_differ("column %s: %s expected, but: %s: %s", column->name,
					  oracle_show(expected), unpack_sql_state(fault->sqlstate), fault->message);
	if (accepted && !expected->ok)
		oracle_differ("column %s takes what its type refuses", column->name);
	if (accepted && !oracle_equal(column, value, expected->value))
		oracle_differ("column %s has another value", column->name);
}

/* Writes a text as a JSON string, and reads it again. */
static void
check_string(const char *text, size_t len)
{
	StringInfoData json;
	WeirJsonScan scan;
	WeirJsonValue value;
	const char *again;
	Size		again_len;

	initStringInfo(&json);
	escape_json(&json, text);
	if (!weir_json_scan_begin(&scan, json.data, json.len) ||
		!weir_json_scan_value(&scan, &value) || !weir_json_scan_end(&scan))
		oracle_differ("not a JSON string: %s", scan.problem);
	again = weir_json_unescape(&value, &again_len);
	if (again_len != len || memcmp(again, text, len) != 0)
		oracle_differ("another string");
}
