/*
 * json_build.c
 *	  Makes jsonb out of JSON text that json_scan.c found valid.
 *
 * The result equals what PostgreSQL's jsonb input makes of the same text.  It
 * never throws: what would exceed a limit of jsonb or of numeric is refused
 * beforehand.
 */
#include "postgres.h"

#include "convert_number.h"
#include "json_build.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/*
 * While jsonb is built, an element takes up to 56 bytes in an array that
 * doubles, and that may not exceed 1 GB.
 */
#define MAX_NODES	(16 * 1024 * 1024)

static bool push_container(WeirJsonBuild *build, const WeirJsonValue *value);
static bool push_scalar(WeirJsonBuild *build, const WeirJsonValue *value,
						JsonbIteratorToken token);
static bool scalar_to_jsonb(WeirJsonBuild *build, const WeirJsonValue *value,
							JsonbValue *result);
static bool number_to_jsonb(WeirJsonBuild *build, const WeirJsonValue *value,
							JsonbValue *result);
static bool charge_node(WeirJsonBuild *build, Size size);

/* Starts a jsonb. */
void
weir_json_build_begin(WeirJsonBuild *build)
{
	memset(build, 0, sizeof(*build));
}

/* Opens an object. */
bool
weir_json_build_open(WeirJsonBuild *build)
{
	if (!charge_node(build, 0))
		return false;
	pushJsonbValue(&build->state, WJB_BEGIN_OBJECT, NULL);
	return true;
}

/* Adds the key of the value that comes next. */
bool
weir_json_build_key(WeirJsonBuild *build, const WeirJsonValue *key)
{
	return push_scalar(build, key, WJB_KEY);
}

/* The same, for a name as it is. */
bool
weir_json_build_name(WeirJsonBuild *build, const char *name, Size len)
{
	WeirJsonValue key = {.text = name, .len = len, .kind = WEIR_JSON_STRING};

	return push_scalar(build, &key, WJB_KEY);
}

/* Adds the value that belongs to the last key. */
bool
weir_json_build_value(WeirJsonBuild *build, const WeirJsonValue *value)
{
	if (value->kind == WEIR_JSON_OBJECT || value->kind == WEIR_JSON_ARRAY)
		return push_container(build, value);
	return push_scalar(build, value, WJB_VALUE);
}

/* Closes the innermost open object. */
void
weir_json_build_close(WeirJsonBuild *build)
{
	build->result = pushJsonbValue(&build->state, WJB_END_OBJECT, NULL);
}

/* Returns the jsonb, whose outermost object has been closed. */
Jsonb *
weir_json_build_finish(WeirJsonBuild *build)
{
	return JsonbValueToJsonb(build->result);
}

/* Returns a value as jsonb, or NULL with the problem set. */
Jsonb *
weir_json_build_jsonb(WeirJsonBuild *build, const WeirJsonValue *value)
{
	JsonbValue	scalar;

	weir_json_build_begin(build);
	if (value->kind == WEIR_JSON_OBJECT || value->kind == WEIR_JSON_ARRAY)
	{
		if (!push_container(build, value))
			return NULL;
		return JsonbValueToJsonb(build->result);
	}
	if (!scalar_to_jsonb(build, value, &scalar))
		return NULL;
	return JsonbValueToJsonb(&scalar);
}

/* Adds an object or array with all that is in it. */
static bool
push_container(WeirJsonBuild *build, const WeirJsonValue *value)
{
	static const JsonbIteratorToken pushes[] = {
		[WEIR_JSON_BEGIN_OBJECT] = WJB_BEGIN_OBJECT,
		[WEIR_JSON_END_OBJECT] = WJB_END_OBJECT,
		[WEIR_JSON_BEGIN_ARRAY] = WJB_BEGIN_ARRAY,
		[WEIR_JSON_END_ARRAY] = WJB_END_ARRAY,
	};
	WeirJsonScan scan = {.start = value->text, .pos = value->text,
	.end = value->text + value->len};
	WeirJsonWalk walk;
	bool		after_key = false;

	weir_json_walk_begin(&scan, &walk);
	do
	{
		WeirJsonToken token;
		WeirJsonValue inner;

		if (!weir_json_walk_next(&scan, &walk, &token, &inner))
			elog(ERROR, "JSON text that was valid is not any more");

		if (token == WEIR_JSON_KEY)
		{
			if (!push_scalar(build, &inner, WJB_KEY))
				return false;
		}
		else if (token == WEIR_JSON_SCALAR)
		{
			if (!push_scalar(build, &inner, after_key ? WJB_VALUE : WJB_ELEM))
				return false;
		}
		else
		{
			if (!charge_node(build, 0))
				return false;
			build->result = pushJsonbValue(&build->state, pushes[token], NULL);
		}
		after_key = token == WEIR_JSON_KEY;
	} while (scan.depth > walk.base);
	return true;
}

/* Adds a key, a value or an element that is no container. */
static bool
push_scalar(WeirJsonBuild *build, const WeirJsonValue *value, JsonbIteratorToken token)
{
	JsonbValue	scalar;

	if (!scalar_to_jsonb(build, value, &scalar))
		return false;
	pushJsonbValue(&build->state, token, &scalar);
	return true;
}

/* Fills in the jsonb form of a value that is no container. */
static bool
scalar_to_jsonb(WeirJsonBuild *build, const WeirJsonValue *value, JsonbValue *result)
{
	Size		len;

	switch (value->kind)
	{
		case WEIR_JSON_NULL:
			result->type = jbvNull;
			return charge_node(build, 0);
		case WEIR_JSON_FALSE:
		case WEIR_JSON_TRUE:
			result->type = jbvBool;
			result->val.boolean = value->kind == WEIR_JSON_TRUE;
			return charge_node(build, 0);
		case WEIR_JSON_NUMBER:
			return number_to_jsonb(build, value, result);
		case WEIR_JSON_STRING:
			result->type = jbvString;
			result->val.string.val = unconstify(char *, weir_json_unescape(value, &len));
			result->val.string.len = (int) len;
			return charge_node(build, len);
		default:
			elog(ERROR, "unexpected kind of JSON value: %d", (int) value->kind);
	}
	return false;
}

/* Fills in the jsonb form of a number. */
static bool
number_to_jsonb(WeirJsonBuild *build, const WeirJsonValue *value, JsonbValue *result)
{
	Datum		number;

	if (!weir_numeric_from_decimal(value->text, value->len, &number))
	{
		build->sqlstate = ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
		build->problem = "number is out of range for type numeric";
		return false;
	}
	result->type = jbvNumeric;
	result->val.numeric = DatumGetNumeric(number);
	return charge_node(build, VARSIZE_ANY(result->val.numeric));
}

/*
 * Notes how much room one more node takes: its entry, header and padding, and
 * its own bytes.  Refuses more than the 28 bits of a jsonb offset can express.
 */
static bool
charge_node(WeirJsonBuild *build, Size size)
{
	build->size += size + 12;
	build->nodes++;
	if (build->size <= JENTRY_OFFLENMASK && build->nodes <= MAX_NODES)
		return true;
	build->sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	build->problem = "value is too large for type jsonb";
	return false;
}
