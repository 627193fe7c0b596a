/*
 * catalog.c
 *	  The definitions and the progress of streams, as tables in
 *	  weir_internal.
 *
 * Everything here runs with the superuser's rights and a search_path that no
 * user can influence; whether the user may do what he asks is checked by the
 * doors (api_*.c).  Fences, which are locks and not rows, are in fence.c.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "compat.h"
#include "executor/spi.h"
#include "guc.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A statement that is planned once per session. */
typedef struct CatalogStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[20];
	SPIPlanPtr	plan;
} CatalogStatement;

#define STREAM_COLUMNS \
	"s.stream, s.server, s.topic, s.format, s.key_format, s.key_columns, s.event_time, " \
	"s.max_out_of_orderness, s.max_future, s.idle_timeout, s.start_from, s.paths, " \
	"s.column_options, s.time_unit, s.metadata, s.tombstones, s.isolation_level, " \
	"s.on_data_loss, s.parallelism, s.batch_rows, s.batch_bytes, s.batch_interval, " \
	"s.search_path, s.runs_on, s.cluster_id, s.definition_version"

/* Positions of STREAM_COLUMNS, from 1. */
enum
{
	S_STREAM = 1, S_SERVER, S_TOPIC, S_FORMAT, S_KEY_FORMAT, S_KEY_COLUMNS, S_EVENT_TIME,
	S_DISORDER, S_MAX_FUTURE, S_IDLE_TIMEOUT, S_START_FROM, S_PATHS,
	S_COLUMN_OPTIONS, S_TIME_UNIT, S_METADATA, S_TOMBSTONES, S_ISOLATION,
	S_DATA_LOSS, S_PARALLELISM, S_BATCH_ROWS, S_BATCH_BYTES, S_BATCH_INTERVAL,
	S_SEARCH_PATH, S_RUNS_ON, S_CLUSTER_ID, S_VERSION
};

#define PROGRESS_COLUMNS \
	"partition, applied_offset, watermark, floor, idle_since IS NOT NULL, end_offset, last_timestamp"

static bool
execute(CatalogStatement *statement, Datum *values, const char *nulls, int expected)
{
	int			rc;

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs, statement->argtypes);

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s",
				 statement->sql, SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	rc = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (rc != expected)
		elog(ERROR, "unexpected result of \"%s\": %s",
			 statement->sql, SPI_result_code_string(rc));
	return SPI_processed > 0;
}

/* Becomes the superuser with a search_path of its own, and connects to SPI. */
void
weir_catalog_enter(WeirCatalogSession *session)
{
	GetUserIdAndSecContext(&session->userid, &session->sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   session->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	session->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

/* Undoes weir_catalog_enter.  On errors the transaction's abort does. */
void
weir_catalog_leave(WeirCatalogSession *session)
{
	SPI_finish();
	AtEOXact_GUC(false, session->guc_level);
	SetUserIdAndSecContext(session->userid, session->sec_context);
}

static Datum
column(HeapTuple tuple, int position, bool *isnull)
{
	return SPI_getbinval(tuple, SPI_tuptable->tupdesc, position, isnull);
}

/* Returns a text, name or other value as a string in context, or NULL. */
static char *
column_string(HeapTuple tuple, int position, MemoryContext context)
{
	char	   *value = SPI_getvalue(tuple, SPI_tuptable->tupdesc, position);

	return value == NULL ? NULL : MemoryContextStrdup(context, value);
}

static int64
column_int64(HeapTuple tuple, int position, int64 if_null)
{
	bool		isnull;
	Datum		value = column(tuple, position, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

static int32
column_int32(HeapTuple tuple, int position, int32 if_null)
{
	bool		isnull;
	Datum		value = column(tuple, position, &isnull);

	return isnull ? if_null : DatumGetInt32(value);
}

/* Returns an interval in microseconds, a day being 24 hours; definitions have no months. */
static int64
column_interval(HeapTuple tuple, int position, int64 if_null)
{
	bool		isnull;
	Datum		value = column(tuple, position, &isnull);
	Interval   *interval;

	if (isnull)
		return if_null;
	interval = DatumGetIntervalP(value);
	return interval->time + interval->day * USECS_PER_DAY;
}

static Jsonb *
column_jsonb(HeapTuple tuple, int position, MemoryContext context)
{
	bool		isnull;
	Datum		value = column(tuple, position, &isnull);
	MemoryContext old = MemoryContextSwitchTo(context);
	Jsonb	   *copy = isnull ? NULL : DatumGetJsonbPCopy(value);

	MemoryContextSwitchTo(old);
	return copy;
}

/* Returns an array of text as a list of strings in context. */
static List *
column_strings(HeapTuple tuple, int position, MemoryContext context)
{
	bool		isnull;
	Datum		value = column(tuple, position, &isnull);
	Datum	   *elems;
	int			nelems;
	List	   *result = NIL;
	MemoryContext old;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, NULL, &nelems);
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < nelems; i++)
		result = lappend(result, TextDatumGetCString(elems[i]));
	MemoryContextSwitchTo(old);
	return result;
}

static WeirTombstones
parse_tombstones(const char *word)
{
	if (strcmp(word, "skip") == 0)
		return WEIR_TOMBSTONE_SKIP;
	if (strcmp(word, "row") == 0)
		return WEIR_TOMBSTONE_ROW;
	return WEIR_TOMBSTONE_DEAD_LETTER;
}

/* Fills in what the relation itself says; false if it is gone. */
static bool
read_relation(WeirStream *stream)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(stream->relid));
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	stream->owner = form->relowner;
	stream->name = pstrdup(NameStr(form->relname));
	stream->schema = get_namespace_name(form->relnamespace);
	ReleaseSysCache(tuple);
	return stream->schema != NULL;
}

/* Makes a WeirStream in context of a row of STREAM_COLUMNS; NULL if its table is gone. */
static WeirStream *
read_stream(HeapTuple tuple, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	WeirStream *stream = palloc0(sizeof(WeirStream));
	char	   *runs_on;

	stream->relid = (Oid) column_int32(tuple, S_STREAM, 0);
	if (!read_relation(stream))
	{
		MemoryContextSwitchTo(old);
		return NULL;
	}
	MemoryContextSwitchTo(old);

	stream->server = column_string(tuple, S_SERVER, context);
	stream->topic = column_string(tuple, S_TOPIC, context);
	stream->format = column_string(tuple, S_FORMAT, context);
	stream->key_format = column_string(tuple, S_KEY_FORMAT, context);
	stream->key_columns = column_strings(tuple, S_KEY_COLUMNS, context);
	stream->event_time = column_string(tuple, S_EVENT_TIME, context);
	stream->max_out_of_orderness = column_interval(tuple, S_DISORDER, 0);
	stream->max_future = column_interval(tuple, S_MAX_FUTURE, 0);
	stream->idle_timeout = column_interval(tuple, S_IDLE_TIMEOUT, 0);
	stream->start_from = column_string(tuple, S_START_FROM, context);
	stream->paths = column_jsonb(tuple, S_PATHS, context);
	stream->column_options = column_jsonb(tuple, S_COLUMN_OPTIONS, context);
	stream->time_unit = column_string(tuple, S_TIME_UNIT, context);
	stream->metadata = column_strings(tuple, S_METADATA, context);
	stream->tombstones = parse_tombstones(column_string(tuple, S_TOMBSTONES, context));
	stream->isolation_level = column_string(tuple, S_ISOLATION, context);
	stream->stop_on_data_loss = strcmp(column_string(tuple, S_DATA_LOSS, context), "stop") == 0;
	stream->parallelism = column_int32(tuple, S_PARALLELISM, 1);
	stream->batch_rows = column_int32(tuple, S_BATCH_ROWS, weir_batch_rows);
	stream->batch_bytes = column_int32(tuple, S_BATCH_BYTES, weir_batch_bytes);
	stream->batch_interval_ms =
		(int) (column_interval(tuple, S_BATCH_INTERVAL, weir_batch_interval * INT64CONST(1000)) / 1000);
	stream->search_path = column_string(tuple, S_SEARCH_PATH, context);
	stream->cluster_id = column_string(tuple, S_CLUSTER_ID, context);
	stream->version = column_int64(tuple, S_VERSION, 0);

	runs_on = column_string(tuple, S_RUNS_ON, context);
	stream->wanted = runs_on != NULL && strcmp(runs_on, weir_catalog_database_identity()) == 0;
	return stream;
}

/* Returns the owner of a relation. */
Oid
weir_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Returns a name for this database that no copy of it has. */
char *
weir_catalog_database_identity(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

/* Tells whether CREATE EXTENSION has been run in this database. */
bool
weir_catalog_installed(void)
{
	return OidIsValid(get_extension_oid("pg_weir", true)) &&
		OidIsValid(get_relname_relid("stream", get_namespace_oid("weir_internal", true)));
}

/* Returns the definition of a stream. */
WeirStream *
weir_catalog_load_stream(Oid relid, bool missing_ok)
{
	static CatalogStatement statement = {
		"SELECT " STREAM_COLUMNS " FROM weir_internal.stream s WHERE s.stream = $1",
		1, {REGCLASSOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirStream *stream = NULL;

	weir_catalog_enter(&session);
	if (execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT))
		stream = read_stream(SPI_tuptable->vals[0], context);
	weir_catalog_leave(&session);

	if (stream == NULL && !missing_ok)
	{
		char	   *name = get_rel_name(relid);

		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 name == NULL ?
				 errmsg("stream with OID %u does not exist", relid) :
				 errmsg("\"%s\" is not a stream", name),
				 errhint("Create streams with weir.create_stream; weir.catalog lists them.")));
	}
	return stream;
}

/* Returns the streams that should run in this database. */
List *
weir_catalog_wanted_streams(void)
{
	static CatalogStatement statement = {
		"SELECT " STREAM_COLUMNS " FROM weir_internal.stream s"
		" WHERE s.runs_on = $1 AND s.topic IS NOT NULL ORDER BY s.stream",
		1, {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	execute(&statement,
			(Datum[]) {CStringGetTextDatum(weir_catalog_database_identity())},
			NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		WeirStream *stream = read_stream(SPI_tuptable->vals[i], context);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (stream != NULL)
			result = lappend(result, stream);
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Marks a stream as running in this database, or as stopped. */
void
weir_catalog_set_wanted(Oid relid, bool wanted)
{
	static CatalogStatement statement = {
		"UPDATE weir_internal.stream SET runs_on = $2 WHERE stream = $1",
		2, {REGCLASSOID, TEXTOID}
	};
	WeirCatalogSession session;
	Datum		identity = CStringGetTextDatum(weir_catalog_database_identity());

	weir_catalog_enter(&session);
	execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), identity},
			wanted ? "  " : " n", SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	weir_catalog_touch(relid);
}

/* Remembers the Kafka cluster a stream reads from. */
void
weir_catalog_set_cluster_id(Oid relid, const char *cluster_id)
{
	static CatalogStatement statement = {
		"UPDATE weir_internal.stream SET cluster_id = $2 WHERE stream = $1",
		2, {REGCLASSOID, TEXTOID}
	};
	WeirCatalogSession session;
	Datum		id = CStringGetTextDatum(cluster_id);

	weir_catalog_enter(&session);
	execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), id}, NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}

/* Gives the definition a new version and tells every session. */
void
weir_catalog_touch(Oid relid)
{
	static CatalogStatement statement = {
		"UPDATE weir_internal.stream SET definition_version = definition_version + 1 WHERE stream = $1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	CacheInvalidateRelcacheByRelid(relid);
}

/* Returns the child that takes new rows, or InvalidOid. */
Oid
weir_catalog_current_chunk(Oid relid)
{
	static CatalogStatement statement = {
		"SELECT c.chunk FROM weir_internal.chunk c JOIN pg_catalog.pg_class k ON k.oid = c.chunk"
		" WHERE c.stream = $1 AND c.closed_at IS NULL ORDER BY c.created_at DESC LIMIT 1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;
	Oid			chunk = InvalidOid;

	weir_catalog_enter(&session);
	if (execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT))
		chunk = (Oid) column_int32(SPI_tuptable->vals[0], 1, 0);
	weir_catalog_leave(&session);
	return chunk;
}

/* Records a new child of a stream. */
void
weir_catalog_add_chunk(Oid relid, Oid chunk)
{
	static CatalogStatement statement = {
		"INSERT INTO weir_internal.chunk (stream, chunk) VALUES ($1, $2)",
		2, {REGCLASSOID, REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), ObjectIdGetDatum(chunk)},
			NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Fills in *progress of a row of PROGRESS_COLUMNS. */
static void
read_progress(HeapTuple tuple, WeirProgress *progress)
{
	bool		isnull;
	Datum		value;

	memset(progress, 0, sizeof(*progress));
	progress->partition = column_int32(tuple, 1, 0);
	progress->applied_offset = column_int64(tuple, 2, 0);
	progress->watermark = column_int64(tuple, 3, DT_NOBEGIN);
	progress->floor = column_int64(tuple, 4, DT_NOBEGIN);
	value = column(tuple, 5, &isnull);
	progress->idle = !isnull && DatumGetBool(value);
	progress->end_offset = column_int64(tuple, 6, -1);
	value = column(tuple, 7, &isnull);
	progress->has_last_timestamp = !isnull;
	if (!isnull)
		progress->last_timestamp = DatumGetTimestampTz(value);
}

/* Returns the progress of every partition registered for a stream. */
List *
weir_catalog_load_partitions(Oid relid)
{
	static CatalogStatement statement = {
		"SELECT " PROGRESS_COLUMNS " FROM weir_internal.stream_partition"
		" WHERE stream = $1 ORDER BY partition",
		1, {REGCLASSOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirProgress *progress = palloc(sizeof(WeirProgress));

		result = lappend(result, progress);
		MemoryContextSwitchTo(old);
		read_progress(SPI_tuptable->vals[i], progress);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Registers partitions at the offsets given; those already there are left alone. */
void
weir_catalog_add_partitions(Oid relid, int n, const int32 *partitions, const int64 *offsets)
{
	static CatalogStatement statement = {
		"INSERT INTO weir_internal.stream_partition (stream, partition, applied_offset)"
		" VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		3, {REGCLASSOID, INT4OID, INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	for (int i = 0; i < n; i++)
		execute(&statement,
				(Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partitions[i]), Int64GetDatum(offsets[i])},
				NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Reads the row of a partition, locking it until commit if asked to. */
bool
weir_catalog_read_partition(Oid relid, int32 partition, bool lock, WeirProgress *progress)
{
	static CatalogStatement plain = {
		"SELECT " PROGRESS_COLUMNS " FROM weir_internal.stream_partition"
		" WHERE stream = $1 AND partition = $2",
		2, {REGCLASSOID, INT4OID}
	};
	static CatalogStatement locking = {
		"SELECT " PROGRESS_COLUMNS " FROM weir_internal.stream_partition"
		" WHERE stream = $1 AND partition = $2 FOR NO KEY UPDATE",
		2, {REGCLASSOID, INT4OID}
	};
	WeirCatalogSession session;
	bool		found;

	weir_catalog_enter(&session);
	found = execute(lock ? &locking : &plain,
					(Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition)},
					NULL, SPI_OK_SELECT);
	if (found)
		read_progress(SPI_tuptable->vals[0], progress);
	weir_catalog_leave(&session);
	return found;
}

/*
 * Adds the counters and moves the offset and watermark of a partition that
 * stands at expected_offset; returns false if it does not stand there.
 */
bool
weir_catalog_save_progress(Oid relid, const WeirProgress *progress, int64 expected_offset)
{
	static CatalogStatement statement = {
		"UPDATE weir_internal.stream_partition SET applied_offset = $4, watermark = $5,"
		" consumed = consumed + $6, staged = staged + $7, duplicate = duplicate + $8,"
		" dead_lettered = dead_lettered + $9, dropped = dropped + $10, skipped = skipped + $11,"
		" replayed = replayed + $12, end_offset = coalesce($13, end_offset),"
		" last_timestamp = coalesce($14, last_timestamp), updated_at = pg_catalog.now()"
		" WHERE stream = $1 AND partition = $2 AND applied_offset = $3",
		14, {REGCLASSOID, INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	WeirCatalogSession session;
	Datum		values[14];
	char		nulls[] = "              ";
	bool		found;

	values[0] = ObjectIdGetDatum(relid);
	values[1] = Int32GetDatum(progress->partition);
	values[2] = Int64GetDatum(expected_offset);
	values[3] = Int64GetDatum(progress->applied_offset);
	values[4] = TimestampTzGetDatum(progress->watermark);
	values[5] = Int64GetDatum(progress->consumed);
	values[6] = Int64GetDatum(progress->staged);
	values[7] = Int64GetDatum(progress->duplicate);
	values[8] = Int64GetDatum(progress->dead_lettered);
	values[9] = Int64GetDatum(progress->dropped);
	values[10] = Int64GetDatum(progress->skipped);
	values[11] = Int64GetDatum(progress->replayed);
	values[12] = Int64GetDatum(progress->end_offset);
	if (progress->end_offset < 0)
		nulls[12] = 'n';
	values[13] = TimestampTzGetDatum(progress->last_timestamp);
	if (!progress->has_last_timestamp)
		nulls[13] = 'n';

	weir_catalog_enter(&session);
	found = execute(&statement, values, nulls, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	return found;
}

/* Sets the offset of a partition outright. */
void
weir_catalog_move_partition(Oid relid, int32 partition, int64 offset)
{
	static CatalogStatement statement = {
		"UPDATE weir_internal.stream_partition SET applied_offset = $3, end_offset = NULL"
		" WHERE stream = $1 AND partition = $2",
		3, {REGCLASSOID, INT4OID, INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	execute(&statement,
			(Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition), Int64GetDatum(offset)},
			NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}
