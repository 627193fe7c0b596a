/*
 * metadata.c
 *	  The columns of a staged row that tell where it came from.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "headers.h"
#include "mb/pg_wchar.h"
#include "metadata.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char *const column_names[WEIR_NUM_METADATA_COLUMNS] = {
	[WEIR_COLUMN_PARTITION] = "_partition",
	[WEIR_COLUMN_OFFSET] = "_offset",
	[WEIR_COLUMN_TIMESTAMP] = "_timestamp",
	[WEIR_COLUMN_WATERMARK] = "_watermark",
	[WEIR_COLUMN_EXTRA] = "_extra",
	[WEIR_COLUMN_KEY] = "_key",
	[WEIR_COLUMN_HEADERS] = "_headers",
	[WEIR_COLUMN_TOPIC] = "_topic",
	[WEIR_COLUMN_INGESTED_AT] = "_ingested_at",
	[WEIR_COLUMN_TOMBSTONE] = "_tombstone",
	[WEIR_COLUMN_VIOLATIONS] = "_violations",
};

static const Oid column_types[WEIR_NUM_METADATA_COLUMNS] = {
	[WEIR_COLUMN_PARTITION] = INT4OID,
	[WEIR_COLUMN_OFFSET] = INT8OID,
	[WEIR_COLUMN_TIMESTAMP] = TIMESTAMPTZOID,
	[WEIR_COLUMN_WATERMARK] = TIMESTAMPTZOID,
	[WEIR_COLUMN_EXTRA] = JSONBOID,
	[WEIR_COLUMN_KEY] = BYTEAOID,	/* or text */
	[WEIR_COLUMN_HEADERS] = JSONBOID,
	[WEIR_COLUMN_TOPIC] = TEXTOID,
	[WEIR_COLUMN_INGESTED_AT] = TIMESTAMPTZOID,
	[WEIR_COLUMN_TOMBSTONE] = BOOLOID,
	[WEIR_COLUMN_VIOLATIONS] = TEXTARRAYOID,
};

/* Returns the name of a metadata column. */
const char *
weir_metadata_column_name(WeirMetadataColumn column)
{
	return column_names[column];
}

/* Notes a metadata column, if it is as its values need it: ALTER TABLE may have changed it. */
static void
take_column(WeirMetadata *metadata, WeirMetadataColumn column, Form_pg_attribute att, const char *stream)
{
	bool		text_key = column == WEIR_COLUMN_KEY && att->atttypid == TEXTOID;

	if (att->atttypid != column_types[column] && !text_key)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of stream \"%s\" must be of type %s",
						column_names[column], stream, format_type_be(column_types[column])),
				 errdetail("It is of type %s.", format_type_be(att->atttypid))));
	metadata->attnos[column] = att->attnum;
	metadata->key_is_text = metadata->key_is_text || text_key;
}

/* Finds the metadata columns of a staging table. */
void
weir_metadata_find(TupleDesc tupdesc, const char *stream, WeirMetadata *metadata)
{
	memset(metadata, 0, sizeof(*metadata));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attisdropped || NameStr(att->attname)[0] != '_')
			continue;
		for (int c = 0; c < WEIR_NUM_METADATA_COLUMNS; c++)
		{
			if (strcmp(NameStr(att->attname), column_names[c]) == 0)
				take_column(metadata, c, att, stream);
		}
	}
}

/* Returns the key as the _key column wants it; false if it is not text where that is wanted. */
static bool
key_value(const WeirMetadata *metadata, const WeirMessage *message, Datum *value, WeirFault *fault)
{
	if (metadata->key_is_text &&
		pg_encoding_verifymbstr(PG_UTF8, message->key, (int) message->key_len) != (int) message->key_len)
		return weir_fault(fault, WEIR_STAGE_KEY, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
						  column_names[WEIR_COLUMN_KEY], "key is not valid UTF-8 text");
	/* bytea and text are stored alike */
	*value = PointerGetDatum(cstring_to_text_with_len(message->key, (int) message->key_len));
	return true;
}

/* Returns the headers as jsonb, or NULL. */
static Jsonb *
headers_value(const WeirBatch *batch, const WeirMessage *message)
{
	WeirHeader *headers;
	int			nheaders = 0;

	if (batch->headers_of == NULL)
		return NULL;
	headers = batch->headers_of(message, &nheaders);
	return weir_headers_to_jsonb(headers, nheaders);
}

/* Fills in a row's metadata columns. */
bool
weir_metadata_fill(const WeirMetadata *metadata, const WeirBatch *batch,
				   const WeirMessage *message, TimestampTz watermark,
				   Datum *values, bool *isnull, WeirFault *fault)
{
#define SET(column, is_null, value) \
	do { \
		AttrNumber	attno = metadata->attnos[column]; \
		if (attno != 0) \
		{ \
			isnull[attno - 1] = (is_null); \
			values[attno - 1] = isnull[attno - 1] ? (Datum) 0 : (value); \
		} \
	} while (0)

	SET(WEIR_COLUMN_PARTITION, false, Int32GetDatum(message->partition));
	SET(WEIR_COLUMN_OFFSET, false, Int64GetDatum(message->offset));
	SET(WEIR_COLUMN_TIMESTAMP, !message->has_timestamp, TimestampTzGetDatum(message->timestamp));
	SET(WEIR_COLUMN_WATERMARK, false, TimestampTzGetDatum(watermark));
	SET(WEIR_COLUMN_TOPIC, batch->topic == NULL, CStringGetTextDatum(batch->topic));
	SET(WEIR_COLUMN_INGESTED_AT, false, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
	SET(WEIR_COLUMN_TOMBSTONE, false, BoolGetDatum(message->value == NULL));
	SET(WEIR_COLUMN_VIOLATIONS, true, (Datum) 0);

	if (metadata->attnos[WEIR_COLUMN_KEY] != 0)
	{
		Datum		key = (Datum) 0;

		if (message->key != NULL && !key_value(metadata, message, &key, fault))
			return false;
		SET(WEIR_COLUMN_KEY, message->key == NULL, key);
	}
	if (metadata->attnos[WEIR_COLUMN_HEADERS] != 0)
	{
		Jsonb	   *headers = headers_value(batch, message);

		SET(WEIR_COLUMN_HEADERS, headers == NULL, JsonbPGetDatum(headers));
	}
	return true;
#undef SET
}
