/*
 * decode.c
 *	  From the bytes of a message to the values of a row.
 *
 * Compiles a stream's definition into columns, and for each message sees to
 * its key and hands its value to the format.  Formats are in
 * decode_<format>.c, types in convert.c.  Defaults for columns that a message
 * does not mention, and constraints, are none of the decoder's business.
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "decode.h"
#include "decode_format.h"
#include "decode_json.h"
#include "decode_options.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* A format is one line here. */
static const WeirFormat *const formats[] = {
	&weir_format_json,
};

/* Columns of a staging table that tell about a message, rather than hold it. */
static const char *const metadata_columns[] = {
	"_partition", "_offset", "_timestamp", "_watermark", "_extra", "_key", "_headers",
	"_topic", "_ingested_at", "_tombstone", "_violations"
};

/* How a key becomes columns. */
typedef enum KeyFormat
{
	KEY_IGNORED,
	KEY_TEXT,
	KEY_BYTEA,
	KEY_JSON
} KeyFormat;

static const char *const key_formats[] = {
	[KEY_TEXT] = "text",
	[KEY_BYTEA] = "bytea",
	[KEY_JSON] = "json",
};

struct WeirDecoder
{
	const WeirFormat *format;
	void	   *value_reader;
	WeirColumn *value_columns;
	int			nvalue_columns;

	KeyFormat	key_format;
	void	   *key_reader;		/* of a key that is a JSON object */
	WeirColumn *key_columns;
	int			nkey_columns;

	int			extra;			/* index of "_extra", or -1 */
	bool		may_throw;
	WeirRow		row;			/* being filled */
};

static const WeirFormat *find_format(const WeirDecodeSpec *spec);
static KeyFormat find_key_format(const WeirDecodeSpec *spec);
static void make_columns(WeirDecoder *decoder, const WeirDecodeSpec *spec);
static void make_column(WeirColumn *column, const WeirDecodeSpec *spec, int index);
static void apply_paths(WeirDecoder *decoder, const WeirDecodeSpec *spec);
static void apply_column_options(WeirDecoder *decoder, const WeirDecodeSpec *spec);
static void check_key(WeirDecoder *decoder, const WeirDecodeSpec *spec);
static bool is_target(TupleDesc tupdesc, int index);
static int	find_extra(TupleDesc tupdesc);
static WeirColumn *find_column(WeirDecoder *decoder, const char *name);
static void no_such_column(const WeirDecodeSpec *spec, const char *option,
						   const char *column) pg_attribute_noreturn();
static void set_unit(WeirColumn *column, WeirTimeUnit unit);
static bool decode_value(WeirDecoder *decoder, const WeirMessage *message,
						 WeirRow *row, WeirFault *fault);
static bool decode_key(WeirDecoder *decoder, const WeirMessage *message,
					   WeirRow *row, WeirFault *fault);
static bool decode_key_text(WeirDecoder *decoder, const WeirMessage *message,
							WeirRow *row, WeirFault *fault);
static bool decode_key_bytea(WeirDecoder *decoder, const WeirMessage *message,
							 WeirRow *row, WeirFault *fault);
static bool decode_key_json(WeirDecoder *decoder, const WeirMessage *message,
							WeirRow *row, WeirFault *fault);

/* Compiles the spec. */
WeirDecoder *
weir_decoder_create(const WeirDecodeSpec *spec)
{
	WeirDecoder *decoder = palloc0(sizeof(WeirDecoder));

	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stream \"%s\" needs a database with encoding UTF8", spec->stream_name),
				 errdetail("The encoding of this database is %s.", GetDatabaseEncodingName()),
				 errhint("Create a database with ENCODING 'UTF8' for streams.")));

	decoder->format = find_format(spec);
	decoder->key_format = find_key_format(spec);
	decoder->extra = find_extra(spec->tupdesc);
	make_columns(decoder, spec);
	apply_paths(decoder, spec);
	apply_column_options(decoder, spec);
	check_key(decoder, spec);

	decoder->value_reader = decoder->format->create(decoder->value_columns,
													decoder->nvalue_columns,
													decoder->extra);
	if (decoder->key_format == KEY_JSON)
		decoder->key_reader = weir_format_json.create(decoder->key_columns,
													  decoder->nkey_columns, -1);
	return decoder;
}

/* Returns the format of the values. */
static const WeirFormat *
find_format(const WeirDecodeSpec *spec)
{
	for (int i = 0; i < lengthof(formats); i++)
	{
		if (strcmp(formats[i]->name, spec->format) == 0)
			return formats[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown format \"%s\" for stream \"%s\"", spec->format, spec->stream_name),
			 errhint("The format is json.")));
}

/* Returns the format of the keys. */
static KeyFormat
find_key_format(const WeirDecodeSpec *spec)
{
	if (spec->key_format == NULL)
	{
		if (spec->key_columns != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key_columns of stream \"%s\" need a key_format", spec->stream_name),
					 errhint("The key_format is text, bytea or json.")));
		return KEY_IGNORED;
	}
	for (int i = KEY_TEXT; i <= KEY_JSON; i++)
	{
		if (strcmp(key_formats[i], spec->key_format) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown key_format \"%s\" for stream \"%s\"",
					spec->key_format, spec->stream_name),
			 errhint("The key_format is text, bytea or json.")));
}

/* Returns the index of the column for fields that no other holds, or -1. */
static int
find_extra(TupleDesc tupdesc)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);

		if (!attribute->attisdropped && attribute->atttypid == JSONBOID &&
			strcmp(NameStr(attribute->attname), "_extra") == 0)
			return i;
	}
	return -1;
}

/* Is this column filled from messages? */
static bool
is_target(TupleDesc tupdesc, int index)
{
	Form_pg_attribute attribute = TupleDescAttr(tupdesc, index);

	if (attribute->attisdropped || attribute->attgenerated != '\0')
		return false;
	for (int i = 0; i < lengthof(metadata_columns); i++)
	{
		if (strcmp(NameStr(attribute->attname), metadata_columns[i]) == 0)
			return false;
	}
	return true;
}

/* Sorts the columns of the table into those of the key and those of the value. */
static void
make_columns(WeirDecoder *decoder, const WeirDecodeSpec *spec)
{
	TupleDesc	tupdesc = spec->tupdesc;
	ListCell   *cell;

	decoder->value_columns = palloc0(tupdesc->natts * sizeof(WeirColumn));
	decoder->key_columns = palloc0(tupdesc->natts * sizeof(WeirColumn));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		bool		from_key = false;
		WeirColumn *column;

		if (!is_target(tupdesc, i))
			continue;
		foreach(cell, spec->key_columns)
			from_key |= strcmp(lfirst(cell), NameStr(TupleDescAttr(tupdesc, i)->attname)) == 0;
		if (from_key)
			column = &decoder->key_columns[decoder->nkey_columns++];
		else
			column = &decoder->value_columns[decoder->nvalue_columns++];
		make_column(column, spec, i);
		if (!from_key || decoder->key_format != KEY_BYTEA)
			decoder->may_throw |= column->converter.may_throw;
	}

	foreach(cell, spec->key_columns)
	{
		if (find_column(decoder, lfirst(cell)) == NULL)
			no_such_column(spec, "key_columns", lfirst(cell));
	}
}

/* Compiles one column as far as it does without options of its own. */
static void
make_column(WeirColumn *column, const WeirDecodeSpec *spec, int index)
{
	column->name = NameStr(TupleDescAttr(spec->tupdesc, index)->attname);
	column->index = index;
	column->path = list_make1(unconstify(char *, column->name));
	weir_converter_init(&column->converter, spec->tupdesc, index + 1);
	set_unit(column, spec->time_unit);
}

/* Says in what unit a column takes numbers as points in time. */
static void
set_unit(WeirColumn *column, WeirTimeUnit unit)
{
	static const int powers[] = {
		[WEIR_TIME_NONE] = -1,
		[WEIR_TIME_S] = 6,
		[WEIR_TIME_MS] = 3,
		[WEIR_TIME_US] = 0,
	};

	column->converter.unit = powers[unit];
}

/* Returns the column of that name, if it is filled from messages. */
static WeirColumn *
find_column(WeirDecoder *decoder, const char *name)
{
	for (int i = 0; i < decoder->nvalue_columns; i++)
	{
		if (strcmp(decoder->value_columns[i].name, name) == 0)
			return &decoder->value_columns[i];
	}
	for (int i = 0; i < decoder->nkey_columns; i++)
	{
		if (strcmp(decoder->key_columns[i].name, name) == 0)
			return &decoder->key_columns[i];
	}
	return NULL;
}

/* Gives columns the paths that the stream sets for them. */
static void
apply_paths(WeirDecoder *decoder, const WeirDecodeSpec *spec)
{
	WeirOptions options;
	JsonbValue	value;
	const char *name;

	if (spec->paths == NULL)
		return;
	weir_options_begin(&options, spec->paths, "paths", spec->stream_name);
	while ((name = weir_options_next(&options, &value)) != NULL)
	{
		WeirColumn *column = find_column(decoder, name);

		if (column == NULL)
			no_such_column(spec, "paths", name);
		column->path = weir_options_path(&options, name, &value);
	}
}

/* Gives columns the options that the stream sets for them. */
static void
apply_column_options(WeirDecoder *decoder, const WeirDecodeSpec *spec)
{
	WeirOptions options;
	JsonbValue	value;
	const char *name;

	if (spec->column_options == NULL)
		return;
	weir_options_begin(&options, spec->column_options, "column_options", spec->stream_name);
	while ((name = weir_options_next(&options, &value)) != NULL)
	{
		WeirColumn *column = find_column(decoder, name);
		int			unit;

		if (column == NULL)
			no_such_column(spec, "column_options", name);
		unit = weir_options_time_unit(&options, name, &value);
		if (unit < 0)
			continue;
		if (!weir_converter_takes_time(&column->converter))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of stream \"%s\" cannot have a time_unit",
							name, spec->stream_name),
					 errdetail("Its type is %s.", column->converter.type),
					 errhint("time_unit is for timestamp with time zone, timestamp and date.")));
		set_unit(column, unit);
	}
}

/* Refuses an option for a column that is not filled from messages. */
static void
no_such_column(const WeirDecodeSpec *spec, const char *option, const char *column)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < spec->tupdesc->natts; i++)
	{
		if (is_target(spec->tupdesc, i))
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "",
							 NameStr(TupleDescAttr(spec->tupdesc, i)->attname));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s of stream \"%s\": there is no column \"%s\" that messages fill",
					option, spec->stream_name, column),
			 errhint("Columns that messages fill: %s.", names.data)));
}

/* Refuses key columns that do not fit the format of the key. */
static void
check_key(WeirDecoder *decoder, const WeirDecodeSpec *spec)
{
	const WeirColumn *column = decoder->key_columns;
	bool		fits;

	if (decoder->nkey_columns == 0 || decoder->key_format == KEY_JSON)
		return;
	if (decoder->nkey_columns > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_format \"%s\" of stream \"%s\" takes one key column",
						spec->key_format, spec->stream_name),
				 errhint("Only key_format json fills several columns.")));

	if (decoder->key_format == KEY_BYTEA)
		fits = column->converter.typid == BYTEAOID;
	else
		fits = column->converter.from_json == NULL;
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_format \"%s\" of stream \"%s\" does not fit column \"%s\" of type %s",
						spec->key_format, spec->stream_name, column->name,
						column->converter.type),
				 errhint("Use key_format bytea with a column of type bytea, and json with "
						 "json or jsonb.")));
}

/* Decodes one message. */
bool
weir_decode(WeirDecoder *decoder, const WeirMessage *message,
			Datum *values, bool *isnull, bool *present, WeirFault *fault)
{
	WeirRow    *row = &decoder->row;

	row->values = values;
	row->isnull = isnull;
	row->present = present;
	row->column = NULL;

	if (decoder->nkey_columns > 0 && !decode_key(decoder, message, row, fault))
	{
		fault->stage = WEIR_STAGE_KEY;
		return false;
	}
	return decode_value(decoder, message, row, fault);
}

/* Decodes the value; a tombstone has none. */
static bool
decode_value(WeirDecoder *decoder, const WeirMessage *message,
			 WeirRow *row, WeirFault *fault)
{
	if (message->value != NULL)
		return decoder->format->decode(decoder->value_reader, message->value,
									   message->value_len, row, fault);

	for (int i = 0; i < decoder->nvalue_columns; i++)
	{
		int			index = decoder->value_columns[i].index;

		row->values[index] = (Datum) 0;
		row->isnull[index] = true;
		row->present[index] = false;
	}
	if (decoder->extra >= 0)
	{
		row->values[decoder->extra] = (Datum) 0;
		row->isnull[decoder->extra] = true;
		row->present[decoder->extra] = true;
	}
	return true;
}

/* Decodes the key into its columns, which there are. */
static bool
decode_key(WeirDecoder *decoder, const WeirMessage *message,
		   WeirRow *row, WeirFault *fault)
{
	static const WeirJsonValue null = {.kind = WEIR_JSON_NULL};

	if (message->key == NULL)
	{
		for (int i = 0; i < decoder->nkey_columns; i++)
		{
			if (!weir_json_fill_column(&decoder->key_columns[i], &null, row, fault))
				return false;
		}
		return true;
	}

	switch (decoder->key_format)
	{
		case KEY_TEXT:
			return decode_key_text(decoder, message, row, fault);
		case KEY_BYTEA:
			return decode_key_bytea(decoder, message, row, fault);
		case KEY_JSON:
			return decode_key_json(decoder, message, row, fault);
		case KEY_IGNORED:
			break;
	}
	return true;
}

/* Takes the key as a text. */
static bool
decode_key_text(WeirDecoder *decoder, const WeirMessage *message,
				WeirRow *row, WeirFault *fault)
{
	WeirJsonValue value = {.text = message->key, .len = message->key_len,
	.kind = WEIR_JSON_STRING};
	int			valid = pg_encoding_verifymbstr(PG_UTF8, message->key, (int) message->key_len);

	if (valid != (int) message->key_len)
		return weir_fault(fault, WEIR_STAGE_KEY, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
						  decoder->key_columns->name,
						  "key is not a text: %s at byte %d",
						  message->key[valid] == '\0' ? "zero byte" : "invalid UTF-8",
						  valid + 1);
	return weir_json_fill_column(decoder->key_columns, &value, row, fault);
}

/* Takes the key as bytes. */
static bool
decode_key_bytea(WeirDecoder *decoder, const WeirMessage *message,
				 WeirRow *row, WeirFault *fault)
{
	int			index = decoder->key_columns->index;

	row->values[index] = PointerGetDatum(cstring_to_text_with_len(message->key,
																  (int) message->key_len));
	row->isnull[index] = false;
	row->present[index] = true;
	return true;
}

/* Takes the key as a JSON object; for a single column a scalar does as well. */
static bool
decode_key_json(WeirDecoder *decoder, const WeirMessage *message,
				WeirRow *row, WeirFault *fault)
{
	const char *p = message->key;
	const char *end = p + message->key_len;

	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
		p++;
	if (decoder->nkey_columns > 1 || (p < end && *p == '{'))
		return weir_format_json.decode(decoder->key_reader, message->key,
									   message->key_len, row, fault);
	return weir_json_decode_scalar(decoder->key_columns, message->key,
								   message->key_len, row, fault);
}

/* Does some column go through its type's own functions? */
bool
weir_decoder_may_throw(const WeirDecoder *decoder)
{
	return decoder->may_throw;
}

/* Returns the column at work when the decoder threw, or NULL. */
const char *
weir_decoder_column_at_fault(const WeirDecoder *decoder)
{
	return decoder->row.column;
}
