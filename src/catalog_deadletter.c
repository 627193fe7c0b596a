/*
 * catalog_deadletter.c
 *	  weir_internal.dead_letter: writing, marking and purging.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_deadletter.h"
#include "catalog_query.h"
#include "headers.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

enum
{
	L_PARTITION, L_OFFSET, L_TIMESTAMP, L_KEY, L_VALUE, L_HEADERS, L_STAGE, L_SQLSTATE,
	L_MESSAGE, L_DETAIL, L_COLUMN, L_CONSTRAINT, L_OBJECT, L_COUNT
};

static const struct
{
	Oid			elemtype;
	Oid			arraytype;
	int16		typlen;
	bool		typbyval;
	char		typalign;
}			letter_columns[L_COUNT] =
{
	[L_PARTITION] = {INT4OID, INT4ARRAYOID, 4, true, TYPALIGN_INT},
	[L_OFFSET] = {INT8OID, INT8ARRAYOID, 8, true, TYPALIGN_DOUBLE},
	[L_TIMESTAMP] = {TIMESTAMPTZOID, TIMESTAMPTZARRAYOID, 8, true, TYPALIGN_DOUBLE},
	[L_KEY] = {BYTEAOID, BYTEAARRAYOID, -1, false, TYPALIGN_INT},
	[L_VALUE] = {BYTEAOID, BYTEAARRAYOID, -1, false, TYPALIGN_INT},
	[L_HEADERS] = {JSONBOID, JSONBARRAYOID, -1, false, TYPALIGN_INT},
	[L_STAGE] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[L_SQLSTATE] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[L_MESSAGE] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[L_DETAIL] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[L_COLUMN] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[L_CONSTRAINT] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
	[L_OBJECT] = {TEXTOID, TEXTARRAYOID, -1, false, TYPALIGN_INT},
};

/* The letters of one INSERT: it holds several copies of their bytes. */
#define LETTERS_PER_INSERT 1000
#define BYTES_PER_INSERT (8 * 1024 * 1024)

typedef struct LetterArrays
{
	int			count;
	Datum	   *values[L_COUNT];
	bool	   *nulls[L_COUNT];
} LetterArrays;

static void
put(LetterArrays *arrays, int column, Datum value)
{
	arrays->values[column][arrays->count] = value;
	arrays->nulls[column][arrays->count] = false;
}

static void
put_bytes(LetterArrays *arrays, int column, const char *bytes, Size len)
{
	if (bytes != NULL)
		put(arrays, column, PointerGetDatum(cstring_to_text_with_len(bytes, (int) len)));
}

static void
put_string(LetterArrays *arrays, int column, const char *string)
{
	if (string != NULL)
		put(arrays, column, CStringGetTextDatum(string));
}

static void
put_letter(LetterArrays *arrays, const WeirBatch *batch, const WeirDeadLetter *letter)
{
	const WeirMessage *message = letter->message;
	const WeirFault *fault = &letter->fault;
	int			nheaders = 0;

	put(arrays, L_PARTITION, Int32GetDatum(message->partition));
	put(arrays, L_OFFSET, Int64GetDatum(message->offset));
	if (message->has_timestamp)
		put(arrays, L_TIMESTAMP, TimestampTzGetDatum(message->timestamp));
	put_bytes(arrays, L_KEY, message->key, message->key_len);
	put_bytes(arrays, L_VALUE, message->value, message->value_len);
	if (batch->headers_of != NULL)
	{
		WeirHeader *headers = batch->headers_of(message, &nheaders);

		if (nheaders > 0)
			put(arrays, L_HEADERS, JsonbPGetDatum(weir_headers_to_jsonb(headers, nheaders)));
	}
	put_string(arrays, L_STAGE, weir_stage_name(fault->stage));
	put_string(arrays, L_SQLSTATE, unpack_sql_state(fault->sqlstate));
	put_string(arrays, L_MESSAGE, fault->message);
	put_string(arrays, L_DETAIL, fault->detail);
	put_string(arrays, L_COLUMN, fault->column_name);
	put_string(arrays, L_CONSTRAINT, fault->constraint_name);
	put_string(arrays, L_OBJECT, fault->object_name);
	arrays->count++;
}

static void
insert_letters(Oid stream, LetterArrays *arrays)
{
	static SPIPlanPtr plan = NULL;
	Datum		values[L_COUNT + 1];

	if (plan == NULL)
	{
		Oid			argtypes[L_COUNT + 1];

		for (int c = 0; c < L_COUNT; c++)
			argtypes[c] = letter_columns[c].arraytype;
		argtypes[L_COUNT] = REGCLASSOID;
		plan = SPI_prepare("INSERT INTO weir_internal.dead_letter (stream, partition, kafka_offset,"
						   " kafka_timestamp, key, value, headers, error_stage, sqlstate, message,"
						   " detail, column_name, constraint_name, object_name)"
						   " SELECT $14, u.* FROM ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4),"
						   " unnest($5), unnest($6), unnest($7), unnest($8), unnest($9), unnest($10),"
						   " unnest($11), unnest($12), unnest($13)) u",
						   L_COUNT + 1, argtypes);
		if (plan == NULL)
			elog(ERROR, "could not prepare insert of dead letters: %s",
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
	}

	for (int c = 0; c < L_COUNT; c++)
	{
		int			lower = 1;

		values[c] = PointerGetDatum(construct_md_array(arrays->values[c], arrays->nulls[c],
													   1, &arrays->count, &lower,
													   letter_columns[c].elemtype,
													   letter_columns[c].typlen,
													   letter_columns[c].typbyval,
													   letter_columns[c].typalign));
	}
	values[L_COUNT] = ObjectIdGetDatum(stream);
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert dead letters");
}

static void
clear_arrays(LetterArrays *arrays)
{
	arrays->count = 0;
	for (int c = 0; c < L_COUNT; c++)
	{
		arrays->values[c] = palloc0(sizeof(Datum) * LETTERS_PER_INSERT);
		arrays->nulls[c] = palloc(sizeof(bool) * LETTERS_PER_INSERT);
		memset(arrays->nulls[c], true, LETTERS_PER_INSERT);
	}
}

/* Writes the dead letters of a batch. */
void
weir_catalog_add_dead_letters(Oid stream, const WeirBatch *batch, const WeirDeadLetters *letters)
{
	WeirCatalogSession session;
	LetterArrays arrays;
	MemoryContext context;
	Size		bytes = 0;

	if (letters->count == 0)
		return;
	weir_catalog_enter(&session);
	context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir dead letters", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	clear_arrays(&arrays);
	for (int i = 0; i < letters->count; i++)
	{
		put_letter(&arrays, batch, &letters->items[i]);
		bytes += letters->items[i].message->value_len + letters->items[i].message->key_len;
		if (arrays.count == LETTERS_PER_INSERT || bytes > BYTES_PER_INSERT ||
			i == letters->count - 1)
		{
			insert_letters(stream, &arrays);
			/* executing has switched to SPI's own */
			MemoryContextSwitchTo(context);
			MemoryContextReset(context);
			clear_arrays(&arrays);
			bytes = 0;
		}
	}
	weir_catalog_leave(&session);
}

/* Marks dead letters as replayed. */
void
weir_catalog_mark_replayed(int n, const int64 *ids, bytea **values, const bool *rowless)
{
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	for (int i = 0; i < n; i++)
	{
		Oid			argtypes[3] = {INT8OID, BYTEAOID, BOOLOID};
		Datum		args[3] = {Int64GetDatum(ids[i]), PointerGetDatum(values[i]), BoolGetDatum(rowless[i])};

		if (SPI_execute_with_args("UPDATE weir_internal.dead_letter d SET replayed_at = clock_timestamp(),"
								  " replayed_value = $2, replayed_generation = s.staging_generation,"
								  " replayed_watermark = greatest(p.watermark, p.floor),"
								  " replayed_chunk = (SELECT c.chunk FROM weir_internal.chunk c"
								  " WHERE c.stream = s.stream AND c.closed_at IS NULL AND NOT $3"
								  " ORDER BY c.created_at DESC LIMIT 1)"
								  " FROM weir_internal.stream s, weir_internal.stream_partition p"
								  " WHERE d.id = $1 AND d.replayed_at IS NULL AND s.stream = d.stream"
								  " AND p.stream = d.stream AND p.partition = d.partition",
								  3, argtypes, args, values[i] == NULL ? " n " : "   ",
								  false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not mark dead letter " INT64_FORMAT, ids[i]);
		if (SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("dead letter " INT64_FORMAT " has been replayed or purged meanwhile", ids[i]),
					 errhint("Try again.")));
	}
	weir_catalog_leave(&session);
}

/* Deletes the dead letters of a partition from an offset on. */
void
weir_catalog_withdraw_dead_letters(Oid stream, int32 partition, int64 offset)
{
	Oid			argtypes[3] = {REGCLASSOID, INT4OID, INT8OID};
	Datum		args[3] = {ObjectIdGetDatum(stream), Int32GetDatum(partition), Int64GetDatum(offset)};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	if (SPI_execute_with_args("DELETE FROM weir_internal.dead_letter"
							  " WHERE stream = $1 AND partition = $2 AND kafka_offset >= $3",
							  3, argtypes, args, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not withdraw dead letters");
	weir_catalog_leave(&session);
}

/* Returns a value as bytes in the current context, or NULL. */
static bytea *
bytes_of(HeapTuple tuple, int position)
{
	bool		isnull;
	Datum		value = weir_catalog_column(tuple, position, &isnull);

	return isnull ? NULL : DatumGetByteaPCopy(value);
}

/* Fills in what has been replayed, of a row of the statement below. */
static void
read_replayed(HeapTuple tuple, WeirReplayed *replayed)
{
	WeirMessage *message = &replayed->message;
	bytea	   *key = bytes_of(tuple, 5);
	bytea	   *value = bytes_of(tuple, 6);
	bool		isnull;
	Datum		headers;

	memset(replayed, 0, sizeof(*replayed));
	replayed->id = weir_catalog_int64(tuple, 1, 0);
	message->partition = weir_catalog_int32(tuple, 2, 0);
	message->offset = weir_catalog_int64(tuple, 3, 0);
	message->timestamp = weir_catalog_int64(tuple, 4, 0);
	(void) weir_catalog_column(tuple, 4, &isnull);
	message->has_timestamp = !isnull;
	message->key = key ? VARDATA(key) : NULL;
	message->key_len = key ? VARSIZE(key) - VARHDRSZ : 0;
	message->value = value ? VARDATA(value) : NULL;
	message->value_len = value ? VARSIZE(value) - VARHDRSZ : 0;
	headers = weir_catalog_column(tuple, 7, &isnull);
	message->handle = isnull ? NULL : DatumGetJsonbPCopy(headers);
	replayed->chunk = (Oid) weir_catalog_int32(tuple, 8, 0);
	replayed->watermark = weir_catalog_int64(tuple, 9, DT_NOBEGIN);
}

/* Returns dead letters whose rows were replayed, and then lost. */
List *
weir_catalog_lost_replayed(Oid stream, int worker, int parallelism, int limit, int max_bytes)
{
	/* lengths of values that are stored out of line are known without reading them */
	static WeirCatalogStatement statement = {
		"WITH lost AS ("
		"SELECT d.id, d.partition, d.kafka_offset, d.kafka_timestamp, d.key,"
		" coalesce(d.replayed_value, d.value) AS value, d.headers, d.replayed_chunk, d.replayed_watermark,"
		" (coalesce(pg_catalog.octet_length(d.key), 0)"
		" + coalesce(pg_catalog.octet_length(coalesce(d.replayed_value, d.value)), 0)"
		" + coalesce(pg_catalog.pg_column_size(d.headers), 0))::bigint AS bytes"
		" FROM weir_internal.stream s JOIN weir_internal.chunk c ON c.stream = s.stream"
		" JOIN weir_internal.dead_letter d ON d.replayed_chunk = c.chunk"
		" WHERE s.stream = $1 AND d.partition >= 0 AND d.partition % $3 = $2"
		" AND d.replayed_generation < s.staging_generation"
		" AND (c.closed_at IS NULL OR c.closed_at + s.retention > pg_catalog.clock_timestamp())"
		" ORDER BY d.replayed_chunk, d.partition, d.replayed_watermark, d.kafka_offset LIMIT $4"
		"), summed AS ("
		"SELECT *, sum(bytes) OVER sofar AS all_bytes, row_number() OVER sofar AS number FROM lost"
		" WINDOW sofar AS (ORDER BY replayed_chunk, partition, replayed_watermark, kafka_offset ROWS UNBOUNDED PRECEDING))"
		" SELECT id, partition, kafka_offset, kafka_timestamp, key, value, headers, replayed_chunk, replayed_watermark"
		" FROM summed WHERE number = 1 OR all_bytes <= $5 ORDER BY number",
		5, {REGCLASSOID, INT4OID, INT4OID, INT4OID, INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(stream), Int32GetDatum(worker),
							 Int32GetDatum(parallelism), Int32GetDatum(limit), Int32GetDatum(max_bytes)},
						 NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirReplayed *replayed = palloc(sizeof(WeirReplayed));

		read_replayed(SPI_tuptable->vals[i], replayed);
		result = lappend(result, replayed);
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Says that the row of a dead letter is back. */
void
weir_catalog_replayed_is_back(int64 id)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.dead_letter d SET replayed_generation = s.staging_generation"
		" FROM weir_internal.stream s WHERE d.id = $1 AND s.stream = d.stream",
		1, {INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {Int64GetDatum(id)}, NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}

/* Deletes old dead letters, leaving alone those that somebody else has locked. */
void
weir_catalog_purge_dead_letters(int max_age)
{
	Oid			argtypes[1] = {INT4OID};
	Datum		args[1] = {Int32GetDatum(max_age)};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	if (SPI_execute_with_args("DELETE FROM weir_internal.dead_letter WHERE id IN"
							  " (SELECT id FROM weir_internal.dead_letter"
							  " WHERE failed_at < clock_timestamp() - $1 * interval '1 second'"
							  " AND replayed_chunk IS NULL"
							  " ORDER BY failed_at LIMIT 5000 FOR UPDATE SKIP LOCKED)",
							  1, argtypes, args, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not purge dead letters");
	weir_catalog_leave(&session);
}
