/*
 * api_deadletter.c
 *	  weir.replay_dead_letters.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "arguments.h"
#include "catalog/pg_type.h"
#include "catalog_deadletter.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "headers.h"
#include "pipeline.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(weir_replay_dead_letters);

/* The dead letters chosen. */
typedef struct Letters
{
	int			n;
	int64	   *ids;
	bytea	  **changed;		/* value made by the transform, or NULL */
	bool	   *duplicate;		/* there is no need of them any more */
	WeirMessage *messages;		/* handle: the headers as Jsonb, or NULL */
} Letters;

static WeirHeader *
headers_of_letter(const WeirMessage *message, int *nheaders)
{
	*nheaders = 0;
	return message->handle == NULL ? NULL : weir_headers_from_jsonb(message->handle, nheaders);
}

/*
 * Returns an SQL expression of the caller's within parentheses, once it is
 * known to be one: what closes the parentheses and goes on as another clause
 * or statement is refused.
 */
static char *
expression(const char *parameter, const char *text)
{
	(void) weir_arg_expression(parameter, text);
	return psprintf("(%s\n)", text);
}

/*
 * Returns the query that chooses letters.  filter and transform are the
 * caller's SQL and run with the caller's rights, over a view that shows what
 * he may see.  The subquery keeps them to this stream, whatever they say.
 */
static char *
choosing_query(FunctionCallInfo fcinfo)
{
	char	   *transform = "NULL::pg_catalog.bytea";
	char	   *filter = "true";

	if (!PG_ARGISNULL(1))
		filter = expression("filter", text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(2))
		transform = expression("transform", text_to_cstring(PG_GETARG_TEXT_PP(2)));
	return psprintf("SELECT id, partition, kafka_offset, kafka_timestamp, key, value, headers, %s"
					" FROM (SELECT * FROM weir.dead_letters"
					" WHERE stream_schema = $1 AND stream = $2 AND replayed_at IS NULL) dead_letters"
					" WHERE %s ORDER BY partition, kafka_offset, id",
					transform, filter);
}

static bytea *
column_bytes(HeapTuple tuple, int position)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, position, &isnull);

	return isnull ? NULL : DatumGetByteaPCopy(value);
}

/* Returns what the transform made, as bytes. */
static bytea *
transformed(HeapTuple tuple, int position)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, position, &isnull);

	if (isnull)
		return NULL;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, position))
	{
		case BYTEAOID:
		case TEXTOID:
			return DatumGetByteaPCopy(value);
		case JSONBOID:
			return (bytea *) cstring_to_text(DatumGetCString(DirectFunctionCall1(jsonb_out, value)));
		case JSONOID:
			return DatumGetByteaPCopy(value);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("parameter \"transform\" must give text, jsonb or bytea, not %s",
							SPI_gettype(SPI_tuptable->tupdesc, position))));
	}
}

/* Fills in one letter of a row of the choosing query. */
static void
read_letter(HeapTuple tuple, Letters *letters, int i)
{
	TupleDesc	tupdesc = SPI_tuptable->tupdesc;
	WeirMessage *message = &letters->messages[i];
	bytea	   *key = column_bytes(tuple, 5);
	bytea	   *value = column_bytes(tuple, 6);
	bool		isnull;
	Datum		datum;

	letters->ids[i] = DatumGetInt64(SPI_getbinval(tuple, tupdesc, 1, &isnull));
	letters->changed[i] = transformed(tuple, 8);
	if (letters->changed[i] != NULL)
		value = letters->changed[i];

	message->partition = DatumGetInt32(SPI_getbinval(tuple, tupdesc, 2, &isnull));
	message->offset = DatumGetInt64(SPI_getbinval(tuple, tupdesc, 3, &isnull));
	datum = SPI_getbinval(tuple, tupdesc, 4, &isnull);
	message->has_timestamp = !isnull;
	message->timestamp = isnull ? 0 : DatumGetTimestampTz(datum);
	if (key != NULL)
	{
		message->key = VARDATA(key);
		message->key_len = VARSIZE(key) - VARHDRSZ;
	}
	if (value != NULL)
	{
		message->value = VARDATA(value);
		message->value_len = VARSIZE(value) - VARHDRSZ;
	}
	datum = SPI_getbinval(tuple, tupdesc, 7, &isnull);
	message->handle = isnull ? NULL : DatumGetJsonbPCopy(datum);
}

/* Chooses the letters to replay, in the current memory context. */
static void
choose(FunctionCallInfo fcinfo, const WeirStream *stream, Letters *letters)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			argtypes[2] = {TEXTOID, TEXTOID};
	Datum		args[2] = {CStringGetTextDatum(stream->schema), CStringGetTextDatum(stream->name)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* not read-only: that would show the letters as they were before we waited for the fence */
	if (SPI_execute_with_args(choosing_query(fcinfo), 2, argtypes, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not choose dead letters");
	MemoryContextSwitchTo(context);
	letters->n = (int) SPI_processed;
	letters->ids = palloc(sizeof(int64) * Max(letters->n, 1));
	letters->changed = palloc0(sizeof(bytea *) * Max(letters->n, 1));
	letters->messages = palloc_extended(sizeof(WeirMessage) * Max(letters->n, 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < letters->n; i++)
		read_letter(SPI_tuptable->vals[i], letters, i);
	SPI_finish();
}

/* Marks those that did not fail; returns how many did. */
static int
mark(Letters *letters, const bool *failed)
{
	int			nfailed = 0;
	int			napplied = 0;

	for (int i = 0; i < letters->n; i++)
	{
		if (failed[i])
		{
			nfailed++;
			continue;
		}
		letters->ids[napplied] = letters->ids[i];
		letters->duplicate[napplied] = letters->duplicate[i];
		letters->changed[napplied++] = letters->changed[i];
	}
	weir_catalog_mark_replayed(napplied, letters->ids, letters->changed, letters->duplicate);
	return nfailed;
}

/* weir.replay_dead_letters */
Datum
weir_replay_dead_letters(PG_FUNCTION_ARGS)
{
	WeirStream *stream = weir_arg_own_stream(fcinfo);
	Letters		letters;
	WeirBatch	batch;
	bool	   *failed;
	int			nfailed;
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	weir_fence_exclusive(stream->relid);
	choose(fcinfo, stream, &letters);

	memset(&batch, 0, sizeof(batch));
	batch.messages = letters.messages;
	batch.nmessages = letters.n;
	batch.headers_of = headers_of_letter;
	batch.topic = stream->topic;
	failed = palloc(sizeof(bool) * Max(letters.n, 1));
	letters.duplicate = palloc(sizeof(bool) * Max(letters.n, 1));
	weir_pipeline_replay(stream->relid, &batch, failed, letters.duplicate);
	nfailed = mark(&letters, failed);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(letters.n);
	values[1] = Int64GetDatum(letters.n - nfailed);
	values[2] = Int64GetDatum(nfailed);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
