/*
 * catalog.c
 *	  The definitions of streams, as tables in weir_internal.
 *
 * Everything here runs with the superuser's rights and a search_path that no
 * user can influence; whether the user may do what he asks is checked by the
 * doors (api_*.c).  Progress is in catalog_partition.c; fences, which are locks
 * and not rows, are in fence.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog.h"
#include "catalog_query.h"
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
#include "version.h"

#define STREAM_COLUMNS \
	"s.stream, s.server, s.topic, s.format, s.key_format, s.key_columns, s.event_time, " \
	"s.max_out_of_orderness, s.max_future, s.idle_timeout, s.start_from, s.paths, " \
	"s.column_options, s.time_unit, s.metadata, s.tombstones, s.isolation_level, " \
	"s.on_data_loss, s.parallelism, s.batch_rows, s.batch_bytes, s.batch_interval, " \
	"s.search_path, s.runs_on, s.cluster_id, s.definition_version, s.commit_to_group, " \
	"s.event_id, s.dedup_ttl, s.ids"

/* Positions of STREAM_COLUMNS, from 1. */
enum
{
	S_STREAM = 1, S_SERVER, S_TOPIC, S_FORMAT, S_KEY_FORMAT, S_KEY_COLUMNS, S_EVENT_TIME,
	S_DISORDER, S_MAX_FUTURE, S_IDLE_TIMEOUT, S_START_FROM, S_PATHS,
	S_COLUMN_OPTIONS, S_TIME_UNIT, S_METADATA, S_TOMBSTONES, S_ISOLATION,
	S_DATA_LOSS, S_PARALLELISM, S_BATCH_ROWS, S_BATCH_BYTES, S_BATCH_INTERVAL,
	S_SEARCH_PATH, S_RUNS_ON, S_CLUSTER_ID, S_VERSION, S_COMMIT_TO_GROUP,
	S_EVENT_ID, S_DEDUP_TTL, S_IDS
};

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

/* Returns an interval in microseconds, a day being 24 hours; definitions have no months. */
static int64
column_interval(HeapTuple tuple, int position, int64 if_null)
{
	bool		isnull;
	Datum		value = weir_catalog_column(tuple, position, &isnull);
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
	Datum		value = weir_catalog_column(tuple, position, &isnull);
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
	Datum		value = weir_catalog_column(tuple, position, &isnull);
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

	stream->relid = (Oid) weir_catalog_int32(tuple, S_STREAM, 0);
	if (!read_relation(stream))
	{
		MemoryContextSwitchTo(old);
		return NULL;
	}
	MemoryContextSwitchTo(old);

	stream->server = weir_catalog_string(tuple, S_SERVER, context);
	stream->topic = weir_catalog_string(tuple, S_TOPIC, context);
	stream->format = weir_catalog_string(tuple, S_FORMAT, context);
	stream->key_format = weir_catalog_string(tuple, S_KEY_FORMAT, context);
	stream->key_columns = column_strings(tuple, S_KEY_COLUMNS, context);
	stream->event_id = column_strings(tuple, S_EVENT_ID, context);
	stream->dedup_ttl = column_interval(tuple, S_DEDUP_TTL, 0);
	stream->ids = (Oid) weir_catalog_int32(tuple, S_IDS, InvalidOid);
	stream->event_time = weir_catalog_string(tuple, S_EVENT_TIME, context);
	stream->max_out_of_orderness = column_interval(tuple, S_DISORDER, 0);
	stream->max_future = column_interval(tuple, S_MAX_FUTURE, 0);
	stream->idle_timeout = column_interval(tuple, S_IDLE_TIMEOUT, 0);
	stream->start_from = weir_catalog_string(tuple, S_START_FROM, context);
	stream->paths = column_jsonb(tuple, S_PATHS, context);
	stream->column_options = column_jsonb(tuple, S_COLUMN_OPTIONS, context);
	stream->time_unit = weir_catalog_string(tuple, S_TIME_UNIT, context);
	stream->metadata = column_strings(tuple, S_METADATA, context);
	stream->tombstones = parse_tombstones(weir_catalog_string(tuple, S_TOMBSTONES, context));
	stream->isolation_level = weir_catalog_string(tuple, S_ISOLATION, context);
	stream->stop_on_data_loss = strcmp(weir_catalog_string(tuple, S_DATA_LOSS, context), "stop") == 0;
	stream->parallelism = weir_catalog_int32(tuple, S_PARALLELISM, 1);
	stream->batch_rows = weir_catalog_int32(tuple, S_BATCH_ROWS, weir_batch_rows);
	stream->batch_bytes = weir_catalog_int32(tuple, S_BATCH_BYTES, weir_batch_bytes);
	stream->batch_interval_ms =
		(int) (column_interval(tuple, S_BATCH_INTERVAL, weir_batch_interval * INT64CONST(1000)) / 1000);
	stream->search_path = weir_catalog_string(tuple, S_SEARCH_PATH, context);
	stream->cluster_id = weir_catalog_string(tuple, S_CLUSTER_ID, context);
	stream->version = weir_catalog_int64(tuple, S_VERSION, 0);
	stream->commit_to_group = weir_catalog_string(tuple, S_COMMIT_TO_GROUP, context);

	runs_on = weir_catalog_string(tuple, S_RUNS_ON, context);
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

/* Returns the name of a relation, qualified and quoted. */
char *
weir_relation_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Returns a name for this database that no copy of it has. */
char *
weir_catalog_database_identity(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

/* Tells whether the extension is in this database, in the version of this library. */
bool
weir_catalog_usable(void)
{
	return OidIsValid(get_extension_oid("pg_weir", true)) &&
		OidIsValid(get_relname_relid("stream", get_namespace_oid("weir_internal", true))) &&
		weir_version_fits();
}

/* Returns the definition of a stream. */
WeirStream *
weir_catalog_load_stream(Oid relid, bool missing_ok)
{
	static WeirCatalogStatement statement = {
		"SELECT " STREAM_COLUMNS " FROM weir_internal.stream s WHERE s.stream = $1",
		1, {REGCLASSOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirStream *stream = NULL;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT))
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

/* Reads what others may have changed since this transaction's snapshot. */
bool
weir_catalog_latest(Oid relid, WeirLatest *latest)
{
	static WeirCatalogStatement statement = {
		"SELECT runs_on IS NOT DISTINCT FROM $2, parallelism, xmin"
		" FROM weir_internal.stream WHERE stream = $1",
		2, {REGCLASSOID, TEXTOID}
	};
	WeirCatalogSession session;
	Datum		identity = CStringGetTextDatum(weir_catalog_database_identity());
	bool		found;

	weir_catalog_enter(&session);
	found = weir_catalog_execute_latest(&statement, (Datum[]) {ObjectIdGetDatum(relid), identity});
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		bool		isnull;

		latest->wanted = DatumGetBool(weir_catalog_column(tuple, 1, &isnull));
		latest->parallelism = weir_catalog_int32(tuple, 2, 1);
		latest->changed_here =
			TransactionIdIsCurrentTransactionId(DatumGetTransactionId(weir_catalog_column(tuple, 3, &isnull)));
	}
	weir_catalog_leave(&session);
	return found;
}

/* Returns the streams that should run in this database. */
List *
weir_catalog_wanted_streams(void)
{
	static WeirCatalogStatement statement = {
		"SELECT " STREAM_COLUMNS " FROM weir_internal.stream s"
		" WHERE s.runs_on = $1 AND s.topic IS NOT NULL ORDER BY s.stream",
		1, {TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
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
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream SET runs_on = $2 WHERE stream = $1",
		2, {REGCLASSOID, TEXTOID}
	};
	WeirCatalogSession session;
	Datum		identity = CStringGetTextDatum(weir_catalog_database_identity());

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), identity},
			wanted ? "  " : " n", SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	weir_catalog_touch(relid);
}

/* Remembers the Kafka cluster a stream reads from; false if that is known. */
bool
weir_catalog_set_cluster_id(Oid relid, const char *cluster_id)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream SET cluster_id = $2"
		" WHERE stream = $1 AND cluster_id IS DISTINCT FROM $2",
		2, {REGCLASSOID, TEXTOID}
	};
	WeirCatalogSession session;
	Datum		id = cluster_id ? CStringGetTextDatum(cluster_id) : (Datum) 0;
	bool		changed;

	weir_catalog_enter(&session);
	changed = weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), id},
								   cluster_id ? NULL : " n", SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	return changed;
}

/* Gives the definition a new version and tells every session. */
void
weir_catalog_touch(Oid relid)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream SET definition_version = definition_version + 1 WHERE stream = $1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	CacheInvalidateRelcacheByRelid(relid);
}
