/*
 * decode_options.c
 *	  The options that say how columns are filled: paths, column_options.
 *
 * Reads and checks what is inside them.  Whether a column of that name can be
 * filled is for decode.c to say.
 */
#include "postgres.h"

#include "decode.h"
#include "decode_options.h"

/* Fields nested deeper than this cannot be reached by a path. */
#define MAX_PATH_LENGTH 100

static List *split_path(const WeirOptions *options, const char *column, const JsonbValue *value);
static List *list_path(const WeirOptions *options, const char *column, const JsonbValue *value);
static void bad_path(const WeirOptions *options, const char *column) pg_attribute_noreturn();
static void bad_column_option(const WeirOptions *options, const char *column,
							  const char *detail) pg_attribute_noreturn();

/* Starts on an options object. */
void
weir_options_begin(WeirOptions *options, Jsonb *jsonb, const char *option,
				   const char *stream_name)
{
	JsonbValue	value;

	options->iterator = JsonbIteratorInit(&jsonb->root);
	options->option = option;
	options->stream_name = stream_name;
	if (JsonbIteratorNext(&options->iterator, &value, true) != WJB_BEGIN_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of stream \"%s\" must be a JSON object", option, stream_name),
				 errhint("Its keys are columns.")));
}

/* Returns the next column and its value; NULL after the last. */
const char *
weir_options_next(WeirOptions *options, JsonbValue *value)
{
	JsonbValue	key;

	if (JsonbIteratorNext(&options->iterator, &key, true) != WJB_KEY)
		return NULL;
	JsonbIteratorNext(&options->iterator, value, true);
	return pnstrdup(key.val.string.val, key.val.string.len);
}

/* Returns a path as the names of the fields on it: from "a.b" or ["a", "b"]. */
List *
weir_options_path(const WeirOptions *options, const char *column, const JsonbValue *value)
{
	List	   *path = NIL;

	if (value->type == jbvString)
		path = split_path(options, column, value);
	else if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
			 !JsonContainerIsScalar(value->val.binary.data))
		path = list_path(options, column, value);
	if (path == NIL || list_length(path) > MAX_PATH_LENGTH)
		bad_path(options, column);
	return path;
}

/* Splits a path at its dots. */
static List *
split_path(const WeirOptions *options, const char *column, const JsonbValue *value)
{
	char	   *rest = pnstrdup(value->val.string.val, value->val.string.len);
	List	   *path = NIL;

	while (rest != NULL)
	{
		char	   *dot = strchr(rest, '.');

		if (dot != NULL)
			*dot++ = '\0';
		if (*rest == '\0')
			bad_path(options, column);
		path = lappend(path, rest);
		rest = dot;
	}
	return path;
}

/* Takes a path from an array. */
static List *
list_path(const WeirOptions *options, const char *column, const JsonbValue *value)
{
	JsonbIterator *iterator = JsonbIteratorInit(value->val.binary.data);
	JsonbValue	element;
	List	   *path = NIL;

	JsonbIteratorNext(&iterator, &element, true);
	while (JsonbIteratorNext(&iterator, &element, true) == WJB_ELEM)
	{
		if (element.type != jbvString)
			bad_path(options, column);
		path = lappend(path, pnstrdup(element.val.string.val, element.val.string.len));
	}
	return path;
}

/* Refuses a path. */
static void
bad_path(const WeirOptions *options, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid path for column \"%s\" of stream \"%s\"",
					column, options->stream_name),
			 errhint("A path is a text such as \"user.id\" or an array such as "
					 "[\"user\", \"id\"], of at most %d names.", MAX_PATH_LENGTH)));
}

/*
 * Returns the time unit from the options of a column, or -1 if they do not
 * say.
 */
int
weir_options_time_unit(const WeirOptions *options, const char *column, const JsonbValue *value)
{
	static const struct
	{
		const char *name;
		WeirTimeUnit unit;
	}			units[] = {
		{"s", WEIR_TIME_S}, {"ms", WEIR_TIME_MS}, {"us", WEIR_TIME_US},
	};
	JsonbIterator *iterator;
	JsonbValue	item;
	int			unit = -1;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		bad_column_option(options, column, "They must be a JSON object.");

	iterator = JsonbIteratorInit(value->val.binary.data);
	JsonbIteratorNext(&iterator, &item, true);
	while (JsonbIteratorNext(&iterator, &item, true) == WJB_KEY)
	{
		char	   *name = pnstrdup(item.val.string.val, item.val.string.len);

		if (strcmp(name, "time_unit") != 0)
			bad_column_option(options, column, psprintf("There is no option \"%s\".", name));
		JsonbIteratorNext(&iterator, &item, true);
		for (int i = 0; i < lengthof(units); i++)
		{
			if (item.type == jbvString && item.val.string.len == strlen(units[i].name) &&
				memcmp(item.val.string.val, units[i].name, item.val.string.len) == 0)
				unit = units[i].unit;
		}
		if (unit < 0)
			bad_column_option(options, column, "This is no time unit.");
	}
	return unit;
}

/* Refuses the options of a column. */
static void
bad_column_option(const WeirOptions *options, const char *column, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid column_options for column \"%s\" of stream \"%s\"",
					column, options->stream_name),
			 errdetail("%s", detail),
			 errhint("The only option is time_unit: \"s\", \"ms\" or \"us\".")));
}
