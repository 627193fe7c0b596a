/*
 * json.c
 *	  Fuzz target: bytes as a message's value, and as its key.
 *
 * Whatever the decoder accepts PostgreSQL's own JSON functions accept, and the
 * other way round; and the values are the same.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "decode.h"
#include "json_build.h"
#include "json_scan.h"
#include "oracle.h"
#include "server.h"

#define NUMERIC(precision, scale) ((((precision) << 16) | (scale)) + VARHDRSZ)

/* One of each type, every field at the top. */
static const Column wide[] = {
	{"i2", INT2OID, -1, F_INT2IN, 2, true, -1, {"i2"}},
	{"i4", INT4OID, -1, F_INT4IN, 4, true, -1, {"i4"}},
	{"i8", INT8OID, -1, F_INT8IN, 8, true, -1, {"i8"}},
	{"f4", FLOAT4OID, -1, F_FLOAT4IN, 4, true, -1, {"f4"}},
	{"f8", FLOAT8OID, -1, F_FLOAT8IN, 8, true, -1, {"f8"}},
	{"n", NUMERICOID, -1, F_NUMERIC_IN, -1, false, -1, {"n"}},
	{"n62", NUMERICOID, NUMERIC(6, 2), F_NUMERIC_IN, -1, false, -1, {"n62"}},
	{"b", BOOLOID, -1, F_BOOLIN, 1, true, -1, {"b"}},
	{"t", TEXTOID, -1, F_TEXTIN, -1, false, -1, {"t"}},
	{"v", VARCHAROID, 3 + VARHDRSZ, F_VARCHARIN, -1, false, -1, {"v"}},
	{"u", UUIDOID, -1, F_UUID_IN, 16, false, -1, {"u"}},
	{"tz", TIMESTAMPTZOID, -1, F_TIMESTAMPTZ_IN, 8, true, -1, {"tz"}},
	{"tz3", TIMESTAMPTZOID, 3, F_TIMESTAMPTZ_IN, 8, true, -1, {"tz3"}},
	{"ts", TIMESTAMPOID, -1, F_TIMESTAMP_IN, 8, true, -1, {"ts"}},
	{"d", DATEOID, -1, F_DATE_IN, 4, true, -1, {"d"}},
	{"j", JSONOID, -1, F_JSON_IN, -1, false, -1, {"j"}},
	{"jb", JSONBOID, -1, F_JSONB_IN, -1, false, -1, {"jb"}},
	{"ba", BYTEAOID, -1, F_BYTEAIN, -1, false, -1, {"ba"}},
	{"iv", INTERVALOID, -1, F_INTERVAL_IN, 16, false, -1, {"iv"}},
	{"c", BPCHAROID, 3 + VARHDRSZ, F_BPCHARIN, -1, false, -1, {"c"}},
	{"odd \"name\\", TEXTOID, -1, F_TEXTIN, -1, false, -1, {"odd \"name\\"}},
};

/* Fields inside of others; the same one twice; objects taken whole and in parts; times as numbers. */
static const Column nested[] = {
	{"id", INT4OID, -1, F_INT4IN, 4, true, -1, {"user", "id"}},
	{"same_id", TEXTOID, -1, F_TEXTIN, -1, false, -1, {"user", "id"}},
	{"first", TEXTOID, -1, F_TEXTIN, -1, false, -1, {"user", "name", "first"}},
	{"account", JSONBOID, -1, F_JSONB_IN, -1, false, -1, {"account"}},
	{"account_no", NUMERICOID, -1, F_NUMERIC_IN, -1, false, -1, {"account", "no"}},
	{"dotted", BOOLOID, -1, F_BOOLIN, 1, true, -1, {"a.b"}},
	{"s", TIMESTAMPTZOID, -1, F_TIMESTAMPTZ_IN, 8, true, 6, {"s"}},
	{"ms", TIMESTAMPOID, -1, F_TIMESTAMP_IN, 8, true, 3, {"user", "ms"}},
	{"us", TIMESTAMPTZOID, -1, F_TIMESTAMPTZ_IN, 8, true, 0, {"us"}},
	{"day", DATEOID, -1, F_DATE_IN, 4, true, 6, {"day"}},
};

/* What keys are read into. */
static const Column keyed[] = {
	{"id", INT4OID, -1, F_INT4IN, 4, true, -1, {"id"}},
	{"region", TEXTOID, -1, F_TEXTIN, -1, false, -1, {"region"}},
};

/* A decoder, and what its inputs should become. */
typedef struct Subject
{
	const Column *columns;
	int			ncolumns;
	WeirDecoder *decoder;
} Subject;

static Subject wide_subject;
static Subject nested_subject;
static WeirDecoder *key_decoder;
static WeirDecoder *scalar_decoder;

int			LLVMFuzzerInitialize(int *argc, char ***argv);
int			LLVMFuzzerTestOneInput(const uint8 *bytes, size_t len);

static void create_subject(Subject *subject, const Column *columns, int ncolumns,
						   const char *paths, const char *options);
static WeirDecoder *create_key_decoder(int ncolumns, const char *second);
static void check_value(const char *text, const char *bytes, size_t len);
static void check_message(const Subject *subject, const char *text, bool is_object,
						  const char *bytes, size_t len);
static bool check_column(const Subject *subject, int i, const char *text, bool accepted,
						 const WeirFault *fault, Datum value, bool isnull, bool present);
static Answer expected_value(const Column *column, const char *text, bool *present);
static void check_extra(const Subject *subject, const char *text, Datum value, bool isnull);
static JsonbValue *expected_extra(const Subject *subject, JsonbContainer *object,
								  const char *const *prefix, int depth);
static void try_key(WeirDecoder *decoder, const char *bytes, size_t len);
static int	depth_of(const char *text);

/* Compiles the decoders. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	server_start();
	create_subject(&wide_subject, wide, lengthof(wide), NULL, NULL);
	create_subject(&nested_subject, nested, lengthof(nested),
				   "{\"id\": \"user.id\", \"same_id\": [\"user\", \"id\"], \"first\": \"user.name.first\","
				   " \"account_no\": \"account.no\", \"dotted\": [\"a.b\"], \"ms\": \"user.ms\"}",
				   "{\"s\": {\"time_unit\": \"s\"}, \"ms\": {\"time_unit\": \"ms\"},"
				   " \"us\": {\"time_unit\": \"us\"}, \"day\": {\"time_unit\": \"s\"}}");
	key_decoder = create_key_decoder(2, "region");
	scalar_decoder = create_key_decoder(1, NULL);
	server_keep();
	return 0;
}

/* Compiles the decoder of a row type. */
static void
create_subject(Subject *subject, const Column *columns, int ncolumns,
			   const char *paths, const char *options)
{
	WeirDecodeSpec spec = {
		.tupdesc = oracle_row_type(columns, ncolumns, true),
		.stream_name = "fuzz",
		.format = "json",
	};

	if (paths != NULL)
		spec.paths = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(paths)));
	if (options != NULL)
		spec.column_options = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(options)));
	subject->columns = columns;
	subject->ncolumns = ncolumns;
	subject->decoder = weir_decoder_create(&spec);
}

/* Compiles a decoder that reads its columns from keys that are JSON. */
static WeirDecoder *
create_key_decoder(int ncolumns, const char *second)
{
	WeirDecodeSpec spec = {
		.tupdesc = oracle_row_type(keyed, ncolumns, false),
		.stream_name = "fuzz",
		.format = "json",
		.key_format = "json",
		.key_columns = list_make1("id"),
	};

	if (second != NULL)
		spec.key_columns = lappend(spec.key_columns, unconstify(char *, second));
	return weir_decoder_create(&spec);
}

/* Tries an input. */
int
LLVMFuzzerTestOneInput(const uint8 *bytes, size_t len)
{
	char	   *exact = malloc(len);
	char	   *text = NULL;
	bool		is_object;

	memcpy(exact, bytes, len);
	if (oracle_is_text(exact, len))
		text = pnstrdup(exact, len);
	if (text != NULL && (!oracle_is_json(text) || depth_of(text) > WEIR_JSON_MAX_DEPTH))
		text = NULL;
	is_object = text != NULL && text[strspn(text, " \t\n\r")] == '{';

	check_value(text, exact, len);
	check_message(&wide_subject, text, is_object, exact, len);
	check_message(&nested_subject, text, is_object, exact, len);
	try_key(key_decoder, exact, len);
	try_key(scalar_decoder, exact, len);

	free(exact);
	server_clear();
	return 0;
}

/*
 * Reads the input as one value and makes jsonb of it.  The text is NULL if it
 * is not JSON.
 */
static void
check_value(const char *text, const char *bytes, size_t len)
{
	WeirJsonScan scan;
	WeirJsonValue value;
	WeirJsonBuild build;
	Jsonb	   *jsonb;
	Answer		expected;
	bool		valid = weir_json_scan_begin(&scan, bytes, len) &&
		weir_json_scan_value(&scan, &value) && weir_json_scan_end(&scan);

	if (valid != (text != NULL))
		oracle_differ("JSON is %s, the scanner says %s", text ? "valid" : "invalid",
					  valid ? "valid" : scan.problem);
	if (!valid)
		return;

	jsonb = weir_json_build_jsonb(&build, &value);
	expected = oracle_call(F_JSONB_IN, 1, CStringGetDatum(text), 0, 0);
	if (expected.ok != (jsonb != NULL))
		oracle_differ("jsonb is %s, and is made %s", expected.ok ? "possible" : "impossible",
					  jsonb ? "nevertheless" : build.problem);
	if (jsonb == NULL && build.sqlstate != expected.sqlstate)
		oracle_differ("SQLSTATE %s expected, not %s", pstrdup(unpack_sql_state(expected.sqlstate)),
					  unpack_sql_state(build.sqlstate));
	if (jsonb != NULL && !datumIsEqual(JsonbPGetDatum(jsonb), expected.value, false, -1))
		oracle_differ("another jsonb than %s", JsonbToCString(NULL, &DatumGetJsonbP(expected.value)->root, 0));
}

/* Decodes the input and looks at each column, up to the first that refuses its value. */
static void
check_message(const Subject *subject, const char *text, bool is_object,
			  const char *bytes, size_t len)
{
	WeirMessage message = {.value = bytes,.value_len = len};
	WeirFault	fault = {0};
	Datum		values[lengthof(wide) + 1];
	bool		isnull[lengthof(wide) + 1];
	bool		present[lengthof(wide) + 1];
	volatile bool accepted = false;
	MemoryContext context = CurrentMemoryContext;

	memset(values, 0x55, sizeof(values));
	PG_TRY();
	{
		accepted = weir_decode(subject->decoder, &message, values, isnull, present, &fault);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		fault.stage = WEIR_STAGE_CONVERT;
		fault.sqlstate = geterrcode();
		fault.column_name = weir_decoder_column_at_fault(subject->decoder);
		FlushErrorState();
	}
	PG_END_TRY();

	if (is_object != (accepted || fault.stage != WEIR_STAGE_DECODE))
		oracle_differ("the message is %s object, but: %s", is_object ? "an" : "no",
					  accepted ? "accepted" : fault.message);
	if (!is_object)
		return;
	if (!accepted && fault.column_name == NULL)
		oracle_differ("no column is to blame");

	for (int i = 0; i < subject->ncolumns; i++)
	{
		if (!check_column(subject, i, text, accepted, &fault, values[i], isnull[i], present[i]))
			return;
	}
	if (accepted)
		check_extra(subject, text, values[subject->ncolumns], isnull[subject->ncolumns]);
}

/* Compares a column; returns false if it is the one that refused its value. */
static bool
check_column(const Subject *subject, int i, const char *text, bool accepted,
			 const WeirFault *fault, Datum value, bool isnull, bool present)
{
	const Column *column = &subject->columns[i];
	bool		expect_present;
	Answer		expected = expected_value(column, text, &expect_present);

	if (expected.unknown)
		return accepted || strcmp(fault->column_name, column->name) != 0;
	if (!accepted && strcmp(fault->column_name, column->name) == 0)
	{
		if (!oracle_same_error(column, &expected, fault->sqlstate))
			oracle_differ("column %s: %s expected, but: %s: %s", column->name,
						  oracle_show(&expected), unpack_sql_state(fault->sqlstate), fault->message);
		return false;
	}

	if (!expected.ok)
		oracle_differ("column %s takes what its type refuses", column->name);
	if (present != expect_present || isnull != expected.isnull)
		oracle_differ("column %s: present %d, expected %d; NULL %d, expected %d", column->name,
					  present, expect_present, isnull, expected.isnull);
	if (!isnull && !oracle_equal(column, value, expected.value))
		oracle_differ("column %s has another value", column->name);
	return true;
}

/* Returns what should be in a column: by way of the operators -> and ->> for json. */
static Answer
expected_value(const Column *column, const char *text, bool *present)
{
	Datum		object = PointerGetDatum(cstring_to_text(text));
	Answer		answer = {.ok = true,.isnull = true};
	Answer		raw;
	char	   *written;
	Datum		name;

	for (int i = 0;; i++)
	{
		name = PointerGetDatum(cstring_to_text(column->path[i]));
		raw = oracle_call(F_JSON_OBJECT_FIELD, 2, object, name, 0);
		*present = raw.ok && !raw.isnull;
		if (!*present)
			return answer;
		if (column->path[i + 1] == NULL)
			break;
		object = raw.value;
	}

	written = oracle_cstring(raw.value);
	if (strcmp(written, "null") == 0)
		return answer;
	if (strchr("-0123456789", *written) != NULL &&
		(column->type == TIMESTAMPTZOID || column->type == TIMESTAMPOID || column->type == DATEOID))
	{
		if (column->unit >= 0)
			return oracle_epoch(column, written);
		answer.ok = false;
		answer.sqlstate = ERRCODE_INVALID_DATETIME_FORMAT;
		return answer;
	}
	if (column->type == JSONOID || column->type == JSONBOID)
		return oracle_input(column, written);

	raw = oracle_call(F_JSON_OBJECT_FIELD_TEXT, 2, object, name, 0);
	return oracle_scalar(column, oracle_cstring(raw.value));
}

/* Compares the fields that no column holds. */
static void
check_extra(const Subject *subject, const char *text, Datum value, bool isnull)
{
	Answer		whole = oracle_call(F_JSONB_IN, 1, CStringGetDatum(text), 0, 0);
	JsonbValue *expected;
	const char *prefix[4] = {NULL};

	/* A number too large for numeric that is in no column or the text of one. */
	if (!whole.ok)
		return;
	expected = expected_extra(subject, &DatumGetJsonbP(whole.value)->root, prefix, 0);
	if (isnull != (expected == NULL))
		oracle_differ("_extra is %s", isnull ? "NULL" : "not NULL");
	if (!isnull && !datumIsEqual(value, JsonbPGetDatum(JsonbValueToJsonb(expected)), false, -1))
		oracle_differ("_extra is not %s",
					  JsonbToCString(NULL, &JsonbValueToJsonb(expected)->root, 0));
}

/* Is the path of a column this prefix and one more name, or does it begin so? */
static bool
matches(const Column *column, const char *const *prefix, int depth, bool *whole)
{
	for (int i = 0; i < depth; i++)
	{
		if (column->path[i] == NULL || strcmp(column->path[i], prefix[i]) != 0)
			return false;
	}
	*whole = column->path[depth] == NULL;
	return true;
}

/* Returns an object without the fields that columns hold, NULL if nothing is left. */
static JsonbValue *
expected_extra(const Subject *subject, JsonbContainer *object,
			   const char *const *prefix, int depth)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbParseState *state = NULL;
	JsonbValue	key;
	JsonbValue	value;
	const char *path[4] = {prefix[0], prefix[1], prefix[2], NULL};
	int			nfields = 0;

	JsonbIteratorNext(&iterator, &key, true);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		bool		taken = false;
		bool		on_the_way = false;
		bool		whole;

		JsonbIteratorNext(&iterator, &value, true);
		path[depth] = pnstrdup(key.val.string.val, key.val.string.len);
		for (int i = 0; i < subject->ncolumns; i++)
		{
			if (matches(&subject->columns[i], path, depth + 1, &whole))
			{
				taken |= whole;
				on_the_way = true;
			}
		}
		if (taken)
			continue;
		if (on_the_way && value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data))
		{
			JsonbValue *inner = expected_extra(subject, value.val.binary.data, path, depth + 1);

			if (inner == NULL)
				continue;
			value.type = jbvBinary;
			value.val.binary.data = &JsonbValueToJsonb(inner)->root;
			value.val.binary.len = 0;
		}
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
		nfields++;
	}
	return nfields > 0 ? pushJsonbValue(&state, WJB_END_OBJECT, NULL) : NULL;
}

/* Decodes the input as a key: nothing but to see that it does no harm. */
static void
try_key(WeirDecoder *decoder, const char *bytes, size_t len)
{
	WeirMessage message = {.value = "{}",.value_len = 2,.key = bytes,.key_len = len};
	WeirFault	fault;
	Datum		values[2];
	bool		isnull[2];
	bool		present[2];

	if (!weir_decode(decoder, &message, values, isnull, present, &fault) &&
		fault.stage != WEIR_STAGE_KEY)
		oracle_differ("a key is at fault, but: %s", fault.message);
}

/* Returns how deep the containers of a JSON text are nested. */
static int
depth_of(const char *text)
{
	int			depth = 0;
	int			deepest = 0;
	bool		quoted = false;

	for (; *text != '\0'; text++)
	{
		if (*text == '\\')
			text++;
		else if (*text == '"')
			quoted = !quoted;
		else if (!quoted && (*text == '{' || *text == '['))
		{
			depth++;
			deepest = Max(deepest, depth);
		}
		else if (!quoted && (*text == '}' || *text == ']'))
			depth--;
	}
	return deepest;
}
