/*
 * decode_json.c
 *	  The JSON format.
 *
 * One pass over the text finds where the wanted fields are and checks all of
 * it; then the columns convert what was found.  Doing it in this order makes
 * the last of duplicate fields win, as in jsonb, even where an earlier one
 * does not fit its column.
 *
 * Grammar is json_scan.c's, types are convert.c's.
 */
#include "postgres.h"

#include "convert_input.h"
#include "decode_field.h"
#include "decode_json.h"
#include "json_build.h"

/* A field that no column holds. */
typedef struct Leftover
{
	const WeirField *parent;	/* the object it is in ... */
	uint64		visit;			/* ... when it was read */
	const WeirField *field;		/* or the way to a column, but no object; or NULL */
	uint64		field_visit;
	WeirJsonValue name;
	WeirJsonValue value;
} Leftover;

/* Leftovers that need no memory of their own. */
#define FEW_LEFTOVERS 16

typedef struct JsonReader
{
	const WeirColumn *columns;
	int			ncolumns;
	WeirField **fields;			/* of each column */
	WeirField  *root;
	int			extra;
	uint64		message;		/* number of the message being read */
	uint64		visit;

	/* Of the current message. */
	WeirJsonScan scan;
	Leftover	few[FEW_LEFTOVERS];
	Leftover   *leftovers;
	int			nleftovers;
	int			max_leftovers;
} JsonReader;

static void *json_create(const WeirColumn *columns, int ncolumns, int extra);
static bool json_decode(void *reader, const char *bytes, Size len,
						WeirRow *row, WeirFault *fault);
static bool read_message(JsonReader *reader, const char *bytes, Size len);
static bool read_object(JsonReader *reader, WeirField *object);
static bool read_fields(JsonReader *reader, WeirField *object);
static bool read_name(JsonReader *reader, const WeirField *object, WeirField *expected,
					  WeirField **field, WeirJsonValue *name);
static bool read_field(JsonReader *reader, WeirField *object, WeirField *field,
					   const WeirJsonValue *name);
static void keep_leftover(JsonReader *reader, const WeirField *object, const WeirField *field,
						  const WeirJsonValue *name, const WeirJsonValue *value);
static bool fill_extra(JsonReader *reader, WeirRow *row, WeirFault *fault);
static bool has_leftovers(const JsonReader *reader, const WeirField *object);
static bool build_leftovers(const JsonReader *reader, const WeirField *object, WeirJsonBuild *build);
static bool syntax_fault(const WeirJsonScan *scan, WeirFault *fault);

const WeirFormat weir_format_json = {
	.name = "json",
	.create = json_create,
	.decode = json_decode,
};

/* Builds the tree of the fields that the columns want. */
static void *
json_create(const WeirColumn *columns, int ncolumns, int extra)
{
	JsonReader *reader = palloc0(sizeof(JsonReader));

	reader->columns = columns;
	reader->ncolumns = ncolumns;
	reader->fields = palloc(ncolumns * sizeof(WeirField *));
	reader->root = weir_field_create("");
	reader->extra = extra;

	for (int i = 0; i < ncolumns; i++)
	{
		WeirField  *field = reader->root;
		ListCell   *cell;

		foreach(cell, columns[i].path)
			field = weir_field_child(field, lfirst(cell));
		field->taken = true;
		reader->fields[i] = field;
	}
	weir_field_finish(reader->root);
	return reader;
}

/* Decodes one message. */
static bool
json_decode(void *state, const char *bytes, Size len, WeirRow *row, WeirFault *fault)
{
	JsonReader *reader = state;

	if (!read_message(reader, bytes, len))
		return syntax_fault(&reader->scan, fault);

	for (int i = 0; i < reader->ncolumns; i++)
	{
		const WeirField *field = reader->fields[i];
		int			index = reader->columns[i].index;

		if (field->message != reader->message)
		{
			row->values[index] = (Datum) 0;
			row->isnull[index] = true;
			row->present[index] = false;
		}
		else if (!weir_json_fill_column(&reader->columns[i], &field->value, row, fault))
			return false;
	}

	if (reader->extra >= 0)
		return fill_extra(reader, row, fault);
	return true;
}

/* Fills one column from a value, stating which column is at work. */
bool
weir_json_fill_column(const WeirColumn *column, const WeirJsonValue *value,
					  WeirRow *row, WeirFault *fault)
{
	const WeirConverter *converter = &column->converter;

	row->present[column->index] = true;
	if (converter->may_throw)
		row->column = column->name;

	if (value->kind != WEIR_JSON_NULL)
	{
		row->isnull[column->index] = false;
		return weir_convert_json(converter, value, &row->values[column->index], fault);
	}

	row->values[column->index] = (Datum) 0;
	row->isnull[column->index] = true;
	if (converter->is_domain)
		weir_input_check_null(converter);
	return true;
}

/* Reads a text that is no object but one scalar, and fills one column. */
bool
weir_json_decode_scalar(const WeirColumn *column, const char *text, Size len,
						WeirRow *row, WeirFault *fault)
{
	WeirJsonScan scan;
	WeirJsonValue value;

	if (!weir_json_scan_begin(&scan, text, len) ||
		!weir_json_scan_value(&scan, &value) ||
		!weir_json_scan_end(&scan))
		return syntax_fault(&scan, fault);
	if (value.kind == WEIR_JSON_ARRAY)
	{
		scan.pos = value.text;
		weir_json_scan_fail(&scan, "expected an object or a scalar");
		return syntax_fault(&scan, fault);
	}
	return weir_json_fill_column(column, &value, row, fault);
}

/* Finds the wanted fields of a message and checks the rest of it. */
static bool
read_message(JsonReader *reader, const char *bytes, Size len)
{
	WeirJsonScan *scan = &reader->scan;

	reader->message++;
	reader->root->visit = ++reader->visit;
	reader->leftovers = reader->few;
	reader->nleftovers = 0;
	reader->max_leftovers = FEW_LEFTOVERS;

	if (!weir_json_scan_begin(scan, bytes, len))
		return false;
	weir_json_skip_space(scan);
	if (scan->pos >= scan->end || *scan->pos != '{')
	{
		bool		mark = len >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0;

		return weir_json_scan_fail(scan, mark ? "byte order mark" : "expected an object");
	}
	return read_object(reader, reader->root) && weir_json_scan_end(scan);
}

/* Reads an object on the way to columns; the current byte is its brace. */
static bool
read_object(JsonReader *reader, WeirField *object)
{
	WeirJsonScan *scan = &reader->scan;

	if (scan->depth >= WEIR_JSON_MAX_DEPTH)
		return weir_json_scan_too_deep(scan);
	scan->depth++;
	scan->pos++;
	weir_json_skip_space(scan);
	if (scan->pos < scan->end && *scan->pos == '}')
		scan->pos++;
	else if (!read_fields(reader, object))
		return false;
	scan->depth--;
	return true;
}

/* Reads the fields of an object and its closing brace. */
static bool
read_fields(JsonReader *reader, WeirField *object)
{
	WeirJsonScan *scan = &reader->scan;
	WeirField **expected = &object->first;

	for (;;)
	{
		WeirField  *field;
		WeirJsonValue name;

		if (!read_name(reader, object, *expected, &field, &name) ||
			!read_field(reader, object, field, &name))
			return false;
		if (field != NULL)
		{
			*expected = field;
			expected = &field->next;
		}

		weir_json_skip_space(scan);
		if (scan->pos < scan->end && *scan->pos == ',')
		{
			scan->pos++;
			weir_json_skip_space(scan);
			continue;
		}
		if (scan->pos < scan->end && *scan->pos == '}')
		{
			scan->pos++;
			return true;
		}
		return weir_json_scan_fail(scan, "expected a comma or a closing brace");
	}
}

/*
 * Reads the name of a field and the colon; *field is NULL where it leads to
 * no column, and *name is set only then.
 */
static bool
read_name(JsonReader *reader, const WeirField *object, WeirField *expected,
		  WeirField **field, WeirJsonValue *name)
{
	WeirJsonScan *scan = &reader->scan;
	const char *text;
	Size		len;

	if (expected != NULL && expected->plain &&
		scan->end - scan->pos >= expected->len + 2 &&
		scan->pos[0] == '"' && scan->pos[expected->len + 1] == '"' &&
		memcmp(scan->pos + 1, expected->name, expected->len) == 0)
	{
		*field = expected;
		name->text = scan->pos + 1;
		name->len = expected->len;
		name->kind = WEIR_JSON_STRING;
		name->escaped = false;
		scan->pos += expected->len + 2;
		return weir_json_scan_colon(scan);
	}

	if (!weir_json_scan_string(scan, name))
		return false;
	text = weir_json_unescape(name, &len);
	*field = weir_field_find(object, text, len);
	return weir_json_scan_colon(scan);
}

/* Reads the value of a field and notes it where it is wanted. */
static bool
read_field(JsonReader *reader, WeirField *object, WeirField *field,
		   const WeirJsonValue *name)
{
	WeirJsonScan *scan = &reader->scan;
	WeirJsonValue value;

	if (field == NULL)
	{
		if (!weir_json_scan_value(scan, &value))
			return false;
		keep_leftover(reader, object, NULL, name, &value);
		return true;
	}

	/* A duplicate makes everything void that the earlier one had inside. */
	if (field->message == reader->message && field->nchildren > 0)
		weir_field_forget(field);
	field->message = reader->message;
	field->visit = ++reader->visit;

	if (field->nchildren == 0)
		return weir_json_scan_value(scan, &field->value);

	if (scan->pos < scan->end && *scan->pos == '{')
	{
		field->value.text = scan->pos;
		field->value.kind = WEIR_JSON_OBJECT;
		field->value.escaped = false;
		if (!read_object(reader, field))
			return false;
		field->value.len = scan->pos - field->value.text;
		return true;
	}

	if (!weir_json_scan_value(scan, &field->value))
		return false;
	if (!field->taken)
		keep_leftover(reader, object, field, name, &field->value);
	return true;
}

/* Notes a field that no column holds. */
static void
keep_leftover(JsonReader *reader, const WeirField *object, const WeirField *field,
			  const WeirJsonValue *name, const WeirJsonValue *value)
{
	Leftover   *leftover;

	/* What is inside of a value that a column takes whole is held by it. */
	if (reader->extra < 0 || object->taken)
		return;

	if (reader->nleftovers == reader->max_leftovers)
	{
		Leftover   *more = palloc_extended(2 * reader->max_leftovers * sizeof(Leftover),
										   MCXT_ALLOC_HUGE);

		memcpy(more, reader->leftovers, reader->nleftovers * sizeof(Leftover));
		reader->leftovers = more;
		reader->max_leftovers *= 2;
	}
	leftover = &reader->leftovers[reader->nleftovers++];
	leftover->parent = object;
	leftover->visit = object->visit;
	leftover->field = field;
	leftover->field_visit = field != NULL ? field->visit : 0;
	leftover->name = *name;
	leftover->value = *value;
}

/* Makes the column of leftovers, NULL if there are none. */
static bool
fill_extra(JsonReader *reader, WeirRow *row, WeirFault *fault)
{
	WeirJsonBuild build;

	row->values[reader->extra] = (Datum) 0;
	row->isnull[reader->extra] = true;
	row->present[reader->extra] = true;
	if (reader->nleftovers == 0 || !has_leftovers(reader, reader->root))
		return true;

	weir_json_build_begin(&build);
	if (!build_leftovers(reader, reader->root, &build))
		return weir_fault(fault, WEIR_STAGE_CONVERT, build.sqlstate, "_extra",
						  "%s", build.problem);
	row->values[reader->extra] = JsonbPGetDatum(weir_json_build_finish(&build));
	row->isnull[reader->extra] = false;
	return true;
}

/* Does a leftover still stand, or did a duplicate replace what it was in? */
static bool
leftover_stands(const Leftover *leftover, const WeirField *object)
{
	return leftover->parent == object && leftover->visit == object->visit &&
		(leftover->field == NULL || leftover->field->visit == leftover->field_visit);
}

/* Has an object fields that no column holds, at any depth? */
static bool
has_leftovers(const JsonReader *reader, const WeirField *object)
{
	for (int i = 0; i < reader->nleftovers; i++)
	{
		if (leftover_stands(&reader->leftovers[i], object))
			return true;
	}
	for (int i = 0; i < object->nchildren; i++)
	{
		const WeirField *child = object->children[i];

		if (child->nchildren > 0 && !child->taken &&
			child->message == reader->message && has_leftovers(reader, child))
			return true;
	}
	return false;
}

/* Adds an object with what no column holds. */
static bool
build_leftovers(const JsonReader *reader, const WeirField *object, WeirJsonBuild *build)
{
	if (!weir_json_build_open(build))
		return false;
	for (int i = 0; i < reader->nleftovers; i++)
	{
		const Leftover *leftover = &reader->leftovers[i];

		if (leftover_stands(leftover, object) &&
			(!weir_json_build_key(build, &leftover->name) ||
			 !weir_json_build_value(build, &leftover->value)))
			return false;
	}
	for (int i = 0; i < object->nchildren; i++)
	{
		const WeirField *child = object->children[i];

		if (child->nchildren > 0 && !child->taken &&
			child->message == reader->message && has_leftovers(reader, child) &&
			(!weir_json_build_name(build, child->name, child->len) ||
			 !build_leftovers(reader, child, build)))
			return false;
	}
	weir_json_build_close(build);
	return true;
}

/* Turns what stopped the scanner into a fault. */
static bool
syntax_fault(const WeirJsonScan *scan, WeirFault *fault)
{
	if (scan->start == scan->end)
		return weir_fault(fault, WEIR_STAGE_DECODE, scan->sqlstate, NULL,
						  "invalid JSON: it is empty");
	return weir_fault(fault, WEIR_STAGE_DECODE, scan->sqlstate, NULL,
					  "invalid JSON at byte %zu: %s",
					  (Size) (scan->pos - scan->start) + 1, scan->problem);
}
