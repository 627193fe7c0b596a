/*
 * json_schema.c
 *	  Is a JSON value as a JSON Schema says?
 *
 * Draft 2020-12 where drafts differ, and an array in "items" as before it.
 * Keywords are a table: what may stand there, and the function that judges a
 * value by it.  What is not in the table is an annotation and ignored.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "json_schema.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* What is judged: a value by one keyword of a schema. */
typedef struct Judged
{
	const JsonbValue *root;		/* the whole schema, for $ref */
	JsonbContainer *schema;		/* the keyword is in this one */
	const JsonbValue *argument; /* of the keyword */
	const JsonbValue *value;
} Judged;

/* What may stand at a keyword. */
typedef enum Shape
{
	SHAPE_ANY,
	SHAPE_SCHEMA,
	SHAPE_SCHEMA_OR_LIST,
	SHAPE_SCHEMA_LIST,
	SHAPE_SCHEMA_MAP,
	SHAPE_PATTERN_MAP,
	SHAPE_LIST,
	SHAPE_STRINGS,
	SHAPE_STRINGS_MAP,
	SHAPE_TYPE,
	SHAPE_NUMBER,
	SHAPE_COUNT,
	SHAPE_BOOLEAN,
	SHAPE_PATTERN,
	SHAPE_REFERENCE,
	SHAPE_UNSUPPORTED
} Shape;

typedef struct Keyword
{
	const char *name;
	Shape		shape;
	bool		(*judge) (const Judged *judged);	/* NULL: another keyword sees to it */
} Keyword;

static bool is_valid(const JsonbValue *root, const JsonbValue *schema, const JsonbValue *value);

/* ---- JSON values ---- */

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

/* Returns a document as a value. */
static JsonbValue *
root_of(Jsonb *jsonb)
{
	JsonbValue *value;

	if (JB_ROOT_IS_SCALAR(jsonb))
		return getIthJsonbValueFromContainer(&jsonb->root, 0);
	value = palloc(sizeof(JsonbValue));
	value->type = jbvBinary;
	value->val.binary.data = &jsonb->root;
	value->val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	return value;
}

/* Returns a member of an object, or NULL. */
static JsonbValue *
member(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

/* Goes through the members of an object, key NULL: through the elements of an array. */
static bool
next(JsonbIterator **iterator, JsonbValue *key, JsonbValue *value)
{
	JsonbIteratorToken token;
	JsonbValue	found;

	while ((token = JsonbIteratorNext(iterator, &found, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			*key = found;
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			*value = found;
			return true;
		}
	}
	return false;
}

static JsonbIterator *
iterate(const JsonbValue *value)
{
	return JsonbIteratorInit(value->val.binary.data);
}

static char *
string_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static bool
is_integer(Numeric number)
{
	return compare_numbers(number, DatumGetNumeric(DirectFunctionCall2(numeric_trunc, NumericGetDatum(number), Int32GetDatum(0)))) == 0;
}

static int
compare_documents(const void *a, const void *b)
{
	return compareJsonbContainers(&(*(Jsonb *const *) a)->root, &(*(Jsonb *const *) b)->root);
}

static bool
are_equal(const JsonbValue *a, const JsonbValue *b)
{
	Jsonb	   *left = JsonbValueToJsonb(unconstify(JsonbValue *, a));
	Jsonb	   *right = JsonbValueToJsonb(unconstify(JsonbValue *, b));

	return compare_documents(&left, &right) == 0;
}

/* Does a string match a pattern somewhere? */
static bool
matches(const JsonbValue *pattern, const JsonbValue *string)
{
	return RE_compile_and_execute(cstring_to_text_with_len(pattern->val.string.val, pattern->val.string.len),
								  string->val.string.val, string->val.string.len,
								  REG_ADVANCED, C_COLLATION_OID, 0, NULL);
}

/* ---- keywords for any value ---- */

static bool
has_type(const JsonbValue *value, const JsonbValue *type)
{
	char	   *name = string_of(type);

	switch (value->type)
	{
		case jbvNull:
			return strcmp(name, "null") == 0;
		case jbvBool:
			return strcmp(name, "boolean") == 0;
		case jbvString:
			return strcmp(name, "string") == 0;
		case jbvNumeric:
			return strcmp(name, "number") == 0 || (strcmp(name, "integer") == 0 && is_integer(value->val.numeric));
		default:
			return strcmp(name, is_object(value) ? "object" : "array") == 0;
	}
}

static bool
judge_type(const Judged *judged)
{
	JsonbIterator *iterator;
	JsonbValue	type;

	if (judged->argument->type == jbvString)
		return has_type(judged->value, judged->argument);
	iterator = iterate(judged->argument);
	while (next(&iterator, NULL, &type))
	{
		if (has_type(judged->value, &type))
			return true;
	}
	return false;
}

static bool
judge_const(const Judged *judged)
{
	return are_equal(judged->argument, judged->value);
}

static bool
judge_enum(const Judged *judged)
{
	JsonbIterator *iterator = iterate(judged->argument);
	JsonbValue	choice;

	while (next(&iterator, NULL, &choice))
	{
		if (are_equal(&choice, judged->value))
			return true;
	}
	return false;
}

/* Counts the schemas of a list that a value meets. */
static int
count_met(const Judged *judged, int enough)
{
	JsonbIterator *iterator = iterate(judged->argument);
	JsonbValue	schema;
	int			n = 0;

	while (n < enough && next(&iterator, NULL, &schema))
		n += is_valid(judged->root, &schema, judged->value);
	return n;
}

static bool
judge_all_of(const Judged *judged)
{
	JsonbIterator *iterator = iterate(judged->argument);
	JsonbValue	schema;

	while (next(&iterator, NULL, &schema))
	{
		if (!is_valid(judged->root, &schema, judged->value))
			return false;
	}
	return true;
}

static bool
judge_any_of(const Judged *judged)
{
	return count_met(judged, 1) == 1;
}

static bool
judge_one_of(const Judged *judged)
{
	return count_met(judged, 2) == 1;
}

static bool
judge_not(const Judged *judged)
{
	return !is_valid(judged->root, judged->argument, judged->value);
}

static bool
judge_if(const Judged *judged)
{
	const char *branch = is_valid(judged->root, judged->argument, judged->value) ? "then" : "else";
	JsonbValue *schema = member(judged->schema, branch);

	return schema == NULL || is_valid(judged->root, schema, judged->value);
}

/* Returns what a step of a JSON Pointer leads to, or NULL. */
static JsonbValue *
step_into(const JsonbValue *value, char *step)
{
	char	   *to = step;

	for (char *from = step; *from != '\0'; from++)
	{
		if (from[0] == '~' && (from[1] == '0' || from[1] == '1'))
			*to++ = *++from == '0' ? '~' : '/';
		else
			*to++ = *from;
	}
	*to = '\0';
	if (is_object(value))
		return member(value->val.binary.data, step);
	if (is_array(value) && step[0] != '\0' && strlen(step) < 9 && strspn(step, "0123456789") == strlen(step))
		return getIthJsonbValueFromContainer(value->val.binary.data, (uint32) atoi(step));
	return NULL;
}

/* Returns the schema that "#" or "#/…" leads to, or NULL. */
static const JsonbValue *
find_reference(const JsonbValue *root, const JsonbValue *reference)
{
	char	   *pointer = string_of(reference);
	const JsonbValue *found = root;
	char	   *end;

	if (strcmp(pointer, "#") == 0)
		return root;
	if (strncmp(pointer, "#/", 2) != 0)
		return NULL;
	for (char *step = pointer + 2; step != NULL && found != NULL; step = end)
	{
		end = strchr(step, '/');
		if (end != NULL)
			*end++ = '\0';
		found = step_into(found, step);
	}
	return found;
}

static bool
judge_reference(const Judged *judged)
{
	return is_valid(judged->root, find_reference(judged->root, judged->argument), judged->value);
}

/* ---- numbers and strings ---- */

/* Compares a number with the argument; *order is only set for numbers. */
static bool
compare(const Judged *judged, int *order)
{
	if (judged->value->type != jbvNumeric)
		return false;
	*order = compare_numbers(judged->value->val.numeric, judged->argument->val.numeric);
	return true;
}

static bool
judge_minimum(const Judged *judged)
{
	int			order;

	return !compare(judged, &order) || order >= 0;
}

static bool
judge_maximum(const Judged *judged)
{
	int			order;

	return !compare(judged, &order) || order <= 0;
}

static bool
judge_exclusive_minimum(const Judged *judged)
{
	int			order;

	return !compare(judged, &order) || order > 0;
}

static bool
judge_exclusive_maximum(const Judged *judged)
{
	int			order;

	return !compare(judged, &order) || order < 0;
}

static bool
judge_multiple_of(const Judged *judged)
{
	Datum		rest;

	if (judged->value->type != jbvNumeric)
		return true;
	rest = DirectFunctionCall2(numeric_mod, NumericGetDatum(judged->value->val.numeric),
							   NumericGetDatum(judged->argument->val.numeric));
	return compare_numbers(DatumGetNumeric(rest), int64_to_numeric(0)) == 0;
}

/* Is a count at least, or at most, what the argument says? */
static bool
count_fits(int64 count, const JsonbValue *argument, int wanted)
{
	return compare_numbers(int64_to_numeric(count), argument->val.numeric) * wanted >= 0;
}

static int64
length_of(const JsonbValue *string)
{
	return pg_mbstrlen_with_len(string->val.string.val, string->val.string.len);
}

static bool
judge_min_length(const Judged *judged)
{
	return judged->value->type != jbvString || count_fits(length_of(judged->value), judged->argument, 1);
}

static bool
judge_max_length(const Judged *judged)
{
	return judged->value->type != jbvString || count_fits(length_of(judged->value), judged->argument, -1);
}

static bool
judge_pattern(const Judged *judged)
{
	return judged->value->type != jbvString || matches(judged->argument, judged->value);
}

/* ---- arrays ---- */

static bool
judge_min_items(const Judged *judged)
{
	return !is_array(judged->value) || count_fits(JsonContainerSize(judged->value->val.binary.data), judged->argument, 1);
}

static bool
judge_max_items(const Judged *judged)
{
	return !is_array(judged->value) || count_fits(JsonContainerSize(judged->value->val.binary.data), judged->argument, -1);
}

static bool
judge_unique_items(const Judged *judged)
{
	JsonbIterator *iterator;
	JsonbValue	element;
	Jsonb	  **elements;
	int			n = 0;

	if (!is_array(judged->value) || !judged->argument->val.boolean)
		return true;
	elements = palloc(sizeof(Jsonb *) * (JsonContainerSize(judged->value->val.binary.data) + 1));
	iterator = iterate(judged->value);
	while (next(&iterator, NULL, &element))
		elements[n++] = JsonbValueToJsonb(&element);
	qsort(elements, n, sizeof(Jsonb *), compare_documents);
	for (int i = 1; i < n; i++)
	{
		if (compare_documents(&elements[i - 1], &elements[i]) == 0)
			return false;
	}
	return true;
}

/* Judges elements: the first by the schemas of a list, if there is one, those after it by another, if there is one. */
static bool
judge_elements(const Judged *judged, const JsonbValue *list, const JsonbValue *rest)
{
	uint32		nlist = list == NULL ? 0 : JsonContainerSize(list->val.binary.data);
	JsonbIterator *iterator;
	JsonbValue	element;

	if (!is_array(judged->value))
		return true;
	iterator = iterate(judged->value);
	for (uint32 i = 0; next(&iterator, NULL, &element); i++)
	{
		const JsonbValue *schema = i < nlist ? getIthJsonbValueFromContainer(list->val.binary.data, i) : rest;

		if (schema == NULL)
			return true;
		if (!is_valid(judged->root, schema, &element))
			return false;
	}
	return true;
}

static bool
judge_items(const Judged *judged)
{
	if (is_array(judged->argument))
		return judge_elements(judged, judged->argument, member(judged->schema, "additionalItems"));
	return judge_elements(judged, member(judged->schema, "prefixItems"), judged->argument);
}

static bool
judge_prefix_items(const Judged *judged)
{
	return judge_elements(judged, judged->argument, NULL);
}

static bool
judge_contains(const Judged *judged)
{
	JsonbValue *least = member(judged->schema, "minContains");
	JsonbValue *greatest = member(judged->schema, "maxContains");
	JsonbIterator *iterator;
	JsonbValue	element;
	int64		n = 0;

	if (!is_array(judged->value))
		return true;
	iterator = iterate(judged->value);
	while (next(&iterator, NULL, &element))
		n += is_valid(judged->root, judged->argument, &element);
	return (least == NULL ? n > 0 : count_fits(n, least, 1)) && (greatest == NULL || count_fits(n, greatest, -1));
}

/* ---- objects ---- */

static bool
judge_min_properties(const Judged *judged)
{
	return !is_object(judged->value) || count_fits(JsonContainerSize(judged->value->val.binary.data), judged->argument, 1);
}

static bool
judge_max_properties(const Judged *judged)
{
	return !is_object(judged->value) || count_fits(JsonContainerSize(judged->value->val.binary.data), judged->argument, -1);
}

/* Does an object have all members that a list names? */
static bool
has_members(const JsonbValue *object, const JsonbValue *list)
{
	JsonbIterator *iterator = iterate(list);
	JsonbValue	name;

	while (next(&iterator, NULL, &name))
	{
		if (getKeyJsonValueFromContainer(object->val.binary.data, name.val.string.val, name.val.string.len, NULL) == NULL)
			return false;
	}
	return true;
}

static bool
judge_required(const Judged *judged)
{
	return !is_object(judged->value) || has_members(judged->value, judged->argument);
}

static bool
judge_dependent_required(const Judged *judged)
{
	JsonbIterator *iterator = iterate(judged->argument);
	JsonbValue	name;
	JsonbValue	list;

	if (!is_object(judged->value))
		return true;
	while (next(&iterator, &name, &list))
	{
		if (member(judged->value->val.binary.data, string_of(&name)) != NULL && !has_members(judged->value, &list))
			return false;
	}
	return true;
}

static bool
judge_properties(const Judged *judged)
{
	JsonbIterator *iterator = iterate(judged->argument);
	JsonbValue	name;
	JsonbValue	schema;

	if (!is_object(judged->value))
		return true;
	while (next(&iterator, &name, &schema))
	{
		JsonbValue *found = member(judged->value->val.binary.data, string_of(&name));

		if (found != NULL && !is_valid(judged->root, &schema, found))
			return false;
	}
	return true;
}

/* Judges a member by those patterns that its name matches; notes in *any if there are some. */
static bool
judge_by_patterns(const Judged *judged, const JsonbValue *patterns, const JsonbValue *name,
				  const JsonbValue *value, bool *any)
{
	JsonbIterator *iterator = iterate(patterns);
	JsonbValue	pattern;
	JsonbValue	schema;

	while (next(&iterator, &pattern, &schema))
	{
		if (!matches(&pattern, name))
			continue;
		*any = true;
		if (value != NULL && !is_valid(judged->root, &schema, value))
			return false;
	}
	return true;
}

static bool
judge_pattern_properties(const Judged *judged)
{
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	value;
	bool		any;

	if (!is_object(judged->value))
		return true;
	iterator = iterate(judged->value);
	while (next(&iterator, &name, &value))
	{
		if (!judge_by_patterns(judged, judged->argument, &name, &value, &any))
			return false;
	}
	return true;
}

static bool
judge_additional_properties(const Judged *judged)
{
	JsonbValue *properties = member(judged->schema, "properties");
	JsonbValue *patterns = member(judged->schema, "patternProperties");
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	value;

	if (!is_object(judged->value))
		return true;
	iterator = iterate(judged->value);
	while (next(&iterator, &name, &value))
	{
		bool		known = properties != NULL && member(properties->val.binary.data, string_of(&name)) != NULL;

		if (!known && patterns != NULL)
			(void) judge_by_patterns(judged, patterns, &name, NULL, &known);
		if (!known && !is_valid(judged->root, judged->argument, &value))
			return false;
	}
	return true;
}

static bool
judge_property_names(const Judged *judged)
{
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	value;

	if (!is_object(judged->value))
		return true;
	iterator = iterate(judged->value);
	while (next(&iterator, &name, &value))
	{
		if (!is_valid(judged->root, judged->argument, &name))
			return false;
	}
	return true;
}

/* ---- the table ---- */

static const Keyword keywords[] = {
	{"$defs", SHAPE_SCHEMA_MAP},
	{"$dynamicRef", SHAPE_UNSUPPORTED},
	{"$recursiveRef", SHAPE_UNSUPPORTED},
	{"$ref", SHAPE_REFERENCE, judge_reference},
	{"additionalItems", SHAPE_SCHEMA},
	{"additionalProperties", SHAPE_SCHEMA, judge_additional_properties},
	{"allOf", SHAPE_SCHEMA_LIST, judge_all_of},
	{"anyOf", SHAPE_SCHEMA_LIST, judge_any_of},
	{"const", SHAPE_ANY, judge_const},
	{"contains", SHAPE_SCHEMA, judge_contains},
	{"definitions", SHAPE_SCHEMA_MAP},
	{"dependencies", SHAPE_UNSUPPORTED},
	{"dependentRequired", SHAPE_STRINGS_MAP, judge_dependent_required},
	{"dependentSchemas", SHAPE_UNSUPPORTED},
	{"else", SHAPE_SCHEMA},
	{"enum", SHAPE_LIST, judge_enum},
	{"exclusiveMaximum", SHAPE_NUMBER, judge_exclusive_maximum},
	{"exclusiveMinimum", SHAPE_NUMBER, judge_exclusive_minimum},
	{"if", SHAPE_SCHEMA, judge_if},
	{"items", SHAPE_SCHEMA_OR_LIST, judge_items},
	{"maxContains", SHAPE_COUNT},
	{"maxItems", SHAPE_COUNT, judge_max_items},
	{"maxLength", SHAPE_COUNT, judge_max_length},
	{"maxProperties", SHAPE_COUNT, judge_max_properties},
	{"maximum", SHAPE_NUMBER, judge_maximum},
	{"minContains", SHAPE_COUNT},
	{"minItems", SHAPE_COUNT, judge_min_items},
	{"minLength", SHAPE_COUNT, judge_min_length},
	{"minProperties", SHAPE_COUNT, judge_min_properties},
	{"minimum", SHAPE_NUMBER, judge_minimum},
	{"multipleOf", SHAPE_NUMBER, judge_multiple_of},
	{"not", SHAPE_SCHEMA, judge_not},
	{"oneOf", SHAPE_SCHEMA_LIST, judge_one_of},
	{"pattern", SHAPE_PATTERN, judge_pattern},
	{"patternProperties", SHAPE_PATTERN_MAP, judge_pattern_properties},
	{"prefixItems", SHAPE_SCHEMA_LIST, judge_prefix_items},
	{"properties", SHAPE_SCHEMA_MAP, judge_properties},
	{"propertyNames", SHAPE_SCHEMA, judge_property_names},
	{"required", SHAPE_STRINGS, judge_required},
	{"then", SHAPE_SCHEMA},
	{"type", SHAPE_TYPE, judge_type},
	{"unevaluatedItems", SHAPE_UNSUPPORTED},
	{"unevaluatedProperties", SHAPE_UNSUPPORTED},
	{"uniqueItems", SHAPE_BOOLEAN, judge_unique_items}
};

static int
compare_keywords(const void *key, const void *keyword)
{
	const JsonbValue *name = key;
	const char *other = ((const Keyword *) keyword)->name;
	int			length = (int) strlen(other);
	int			order = memcmp(name->val.string.val, other, Min(name->val.string.len, length));

	return order != 0 ? order : name->val.string.len - length;
}

/* Returns the keyword of a name, or NULL. */
static const Keyword *
find_keyword(const JsonbValue *name)
{
	return bsearch(name, keywords, lengthof(keywords), sizeof(Keyword), compare_keywords);
}

/* Is a value as a schema says? */
static bool
is_valid(const JsonbValue *root, const JsonbValue *schema, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	argument;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (schema->type == jbvBool)
		return schema->val.boolean;
	iterator = iterate(schema);
	while (next(&iterator, &name, &argument))
	{
		const Keyword *keyword = find_keyword(&name);
		Judged		judged = {root, schema->val.binary.data, &argument, value};

		if (keyword != NULL && keyword->judge != NULL && !keyword->judge(&judged))
			return false;
	}
	return true;
}

/* Is a value valid? */
bool
weir_json_schema_is_valid(Jsonb *schema, Jsonb *value)
{
	JsonbValue *root = root_of(schema);

	return is_valid(root, root, root_of(value));
}

/* ---- checking schemas ---- */

static void check_schema(const JsonbValue *root, const JsonbValue *schema, const char *keyword);

/* Raises an error about what stands at a keyword. */
static void
refuse(const char *keyword, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid JSON schema: \"%s\" must be %s", keyword, wanted)));
}

/* Checks the schemas of a list or map. */
static void
check_schemas(const JsonbValue *root, const JsonbValue *schemas, const char *keyword, bool patterns)
{
	JsonbIterator *iterator = iterate(schemas);
	JsonbValue	nothing = {.type = jbvString,.val.string = {0, ""}};
	JsonbValue	name;
	JsonbValue	schema;

	while (next(&iterator, &name, &schema))
	{
		if (patterns)
			(void) matches(&name, &nothing);	/* raises an error if it is none */
		check_schema(root, &schema, keyword);
	}
}

static bool
are_strings(const JsonbValue *list)
{
	JsonbIterator *iterator;
	JsonbValue	element;

	if (!is_array(list))
		return false;
	iterator = iterate(list);
	while (next(&iterator, NULL, &element))
	{
		if (element.type != jbvString)
			return false;
	}
	return true;
}

/* Checks the names of types. */
static bool
are_types(const JsonbValue *type)
{
	static const char *const types[] = {"null", "boolean", "string", "number", "integer", "object", "array"};
	JsonbIterator *iterator;
	JsonbValue	element;

	if (type->type == jbvString)
	{
		for (int i = 0; i < lengthof(types); i++)
		{
			if (strcmp(string_of(type), types[i]) == 0)
				return true;
		}
		return false;
	}
	if (!are_strings(type))
		return false;
	iterator = iterate(type);
	while (next(&iterator, NULL, &element))
	{
		if (!are_types(&element))
			return false;
	}
	return true;
}

/* Checks numbers: counts are not negative. */
static void
check_number(const Keyword *keyword, const JsonbValue *argument)
{
	if (argument->type != jbvNumeric)
		refuse(keyword->name, "a number");
	if (keyword->judge == judge_multiple_of && compare_numbers(argument->val.numeric, int64_to_numeric(0)) <= 0)
		refuse(keyword->name, "greater than 0");
	if (keyword->shape == SHAPE_COUNT &&
		(!is_integer(argument->val.numeric) || compare_numbers(argument->val.numeric, int64_to_numeric(0)) < 0))
		refuse(keyword->name, "a count");
}

static void
check_reference(const JsonbValue *root, const JsonbValue *argument)
{
	const JsonbValue *found;

	if (argument->type != jbvString)
		refuse("$ref", "a string");
	if (strncmp(string_of(argument), "#/", 2) != 0 && strcmp(string_of(argument), "#") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("JSON schema refers to another one: \"%s\"", string_of(argument)),
				 errhint("Put that into \"$defs\", and refer to it as \"#/$defs/…\".")));
	found = find_reference(root, argument);
	if (found == NULL || (found->type != jbvBool && !is_object(found)))
		refuse("$ref", psprintf("where a schema is, which \"%s\" is not", string_of(argument)));
}

/* Checks what stands at a keyword. */
static void
check_argument(const JsonbValue *root, const Keyword *keyword, const JsonbValue *argument)
{
	JsonbValue	nothing = {.type = jbvString,.val.string = {0, ""}};
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	value;

	switch (keyword->shape)
	{
		case SHAPE_ANY:
			break;
		case SHAPE_SCHEMA:
			check_schema(root, argument, keyword->name);
			break;
		case SHAPE_SCHEMA_OR_LIST:
			if (is_array(argument))
				check_schemas(root, argument, keyword->name, false);
			else
				check_schema(root, argument, keyword->name);
			break;
		case SHAPE_SCHEMA_LIST:
			if (!is_array(argument) || JsonContainerSize(argument->val.binary.data) == 0)
				refuse(keyword->name, "an array of schemas that is not empty");
			check_schemas(root, argument, keyword->name, false);
			break;
		case SHAPE_SCHEMA_MAP:
		case SHAPE_PATTERN_MAP:
			if (!is_object(argument))
				refuse(keyword->name, "an object of schemas");
			check_schemas(root, argument, keyword->name, keyword->shape == SHAPE_PATTERN_MAP);
			break;
		case SHAPE_LIST:
			if (!is_array(argument))
				refuse(keyword->name, "an array");
			break;
		case SHAPE_STRINGS:
			if (!are_strings(argument))
				refuse(keyword->name, "an array of strings");
			break;
		case SHAPE_STRINGS_MAP:
			if (!is_object(argument))
				refuse(keyword->name, "an object of arrays of strings");
			iterator = iterate(argument);
			while (next(&iterator, &name, &value))
			{
				if (!are_strings(&value))
					refuse(keyword->name, "an object of arrays of strings");
			}
			break;
		case SHAPE_TYPE:
			if (!are_types(argument))
				refuse(keyword->name, "null, boolean, string, number, integer, object, array, or an array of these");
			break;
		case SHAPE_NUMBER:
		case SHAPE_COUNT:
			check_number(keyword, argument);
			break;
		case SHAPE_BOOLEAN:
			if (argument->type != jbvBool)
				refuse(keyword->name, "true or false");
			break;
		case SHAPE_PATTERN:
			if (argument->type != jbvString)
				refuse(keyword->name, "a string");
			(void) matches(argument, &nothing); /* raises an error if it is none */
			break;
		case SHAPE_REFERENCE:
			check_reference(root, argument);
			break;
		case SHAPE_UNSUPPORTED:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("JSON schema has \"%s\", which is not supported", keyword->name),
					 errdetail("Leaving it out of account would change which values are valid.")));
	}
}

/* Checks a schema that stands at a keyword. */
static void
check_schema(const JsonbValue *root, const JsonbValue *schema, const char *keyword)
{
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	argument;

	check_stack_depth();
	if (schema->type == jbvBool)
		return;
	if (!is_object(schema))
		refuse(keyword, "a schema: an object, true or false");
	iterator = iterate(schema);
	while (next(&iterator, &name, &argument))
	{
		const Keyword *found = find_keyword(&name);

		if (found != NULL)
			check_argument(root, found, &argument);
	}
}

/* Checks a schema. */
void
weir_json_schema_check(Jsonb *schema)
{
	JsonbValue *root = root_of(schema);
	JsonbValue	null = {.type = jbvNull};

	check_schema(root, root, "schema");
	/* a reference that leads back to itself raises an error here, not with each event */
	(void) is_valid(root, root, &null);
}
