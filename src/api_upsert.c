/*
 * api_upsert.c
 *	  weir.create_upsert, and the trigger functions of upserts.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "owner.h"
#include "settings.h"
#include "upsert.h"
#include "upsert_define.h"
#include "upsert_query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_create_upsert);
PG_FUNCTION_INFO_V1(weir_upsert_batch);
PG_FUNCTION_INFO_V1(weir_guard_upsert);

/* Arguments of weir.create_upsert, in order. */
enum
{
	A_NAME, A_QUERY, A_KEY, A_ORDER_BY, A_DELETE_WHEN, A_TOMBSTONE_TTL, A_INTO_TABLE, A_BACKFILL, A_IF_NOT_EXISTS, A_COUNT
};

static const char *const names[A_COUNT] = {
	"name", "query", "key", NULL, NULL, NULL, NULL, "backfill", "if_not_exists"
};

/* Refuses NULL where a value is needed. */
static void
check_nulls(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < A_COUNT; i++)
	{
		if (PG_ARGISNULL(i) && names[i] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"%s\" must not be null", names[i])));
	}
}

static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

/* Reads the names of the key's columns. */
static List *
read_key(ArrayType *array)
{
	List	   *key = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		Node	   *column;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"key\" must not contain nulls")));
		column = (Node *) makeString(TextDatumGetCString(elements[i]));
		if (list_member(key, column))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("parameter \"key\" names column \"%s\" twice", strVal(column))));
		key = lappend(key, column);
	}
	if (key == NIL)
		refuse("parameter \"key\" names no column", "It says which rows are one: '{sensor_id}'.");
	return key;
}

/* Reads key, order and what becomes of deletes. */
static void
read_options(FunctionCallInfo fcinfo, WeirUpsertRow *row)
{
	row->key = read_key(PG_GETARG_ARRAYTYPE_P(A_KEY));
	row->order_by = PG_ARGISNULL(A_ORDER_BY) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(A_ORDER_BY)));
	row->tombstone_ttl = -1;
	row->owns_target = PG_ARGISNULL(A_INTO_TABLE);
	row->target = row->owns_target ? InvalidOid : PG_GETARG_OID(A_INTO_TABLE);
	if (PG_ARGISNULL(A_TOMBSTONE_TTL))
		return;
	row->tombstone_ttl = weir_window_duration("tombstone_ttl", PG_GETARG_INTERVAL_P(A_TOMBSTONE_TTL));
	if (row->tombstone_ttl < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"tombstone_ttl\" must not be negative")));
}

/* Warns where the stream lets only the first event of each key pass. */
static void
check_event_id(const WeirUpsertRow *row, Query *query, const WeirSource *source)
{
	WeirStream *stream = weir_catalog_load_stream(source->stream, false);
	ListCell   *cell;

	if (stream->event_id == NIL || source->relid != source->stream)
		return;
	foreach(cell, stream->event_id)
	{
		if (!weir_upsert_key_has(query, source, row->key, lfirst(cell)))
			return;
	}
	ereport(WARNING,
			(errmsg("the key contains the event_id of stream \"%s\": later events of a key are duplicates, and change nothing",
					stream->name),
			 errhint("An event_id tells one event from another, such as key and version; create the stream with such a one, or without.")));
}

/* Checks what options mean to this query. */
static void
check_options(const WeirUpsertRow *row, const Query *query, const WeirUpsertSpec *spec)
{
	bool		by_event_time = weir_upsert_by_event_time(query, spec->source, row->order_by);
	bool		tombstones = weir_upsert_has_tombstones(spec->source);
	ListCell   *cell;

	foreach(cell, row->key)
		(void) weir_upsert_query_column(query, strVal(lfirst(cell)), "key", spec->name);
	if (row->order_by != NULL)
		(void) weir_upsert_query_column(query, row->order_by, "order_by", spec->name);
	if (row->tombstone_ttl >= 0 && (!by_event_time || !spec->source->same_time))
		refuse("parameter \"tombstone_ttl\" needs rows ordered by event time",
			   "Leave out order_by, or name the column that is the stream's event_time.");
	if (row->tombstone_ttl >= 0 && !tombstones && spec->delete_when == NULL)
		refuse("parameter \"tombstone_ttl\" needs deletes",
			   "Give delete_when, or create the stream with tombstones => 'row'.");
	if (tombstones && !by_event_time && spec->delete_when == NULL)
		refuse(psprintf("tombstones have no \"%s\" to be ordered by", row->order_by),
			   "Leave out order_by, so that they are ordered by event time, or say with delete_when what deletes.");
}

/* Begins with what is staged, as the stream's owner; a batch without rows shows whether the statements can be planned. */
static void
begin(const WeirUpsertRow *row, bool backfill)
{
	WeirStream *stream = weir_catalog_load_stream(row->stream, false);
	WeirUpsert *upsert = weir_upsert_get(row->target);
	WeirOwnerSession session;

	weir_owner_enter(stream->owner, stream->search_path, &session);
	weir_upsert_try(upsert);
	if (backfill)
		weir_upsert_backfill(upsert);
	weir_owner_leave(&session);
	weir_upsert_release(upsert);
}

/* Extends the query, and keeps it so. */
static void
define_query(FunctionCallInfo fcinfo, const WeirPlace *place, Query *query, WeirSource *source, WeirUpsertRow *row)
{
	Relation	target = row->owns_target ? NULL : table_open(row->target, AccessShareLock);
	WeirUpsertSpec spec = {
		.name = place->name,
		.source = source,
		.order_by = row->order_by,
		.delete_when = PG_ARGISNULL(A_DELETE_WHEN) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(A_DELETE_WHEN)),
		.target = target == NULL ? NULL : RelationGetDescr(target)
	};
	char	   *text;

	(void) weir_upsert_query_check(query, source->relid, place->name);
	check_options(row, query, &spec);
	check_event_id(row, query, source);
	text = weir_upsert_query_extend(query, &spec);
	if (target != NULL)
		table_close(target, NoLock);
	weir_upsert_define_query(place, text, row);
	/* what delete_when says is to be as steady as the rest */
	(void) weir_upsert_query_check(weir_define_query_of(row->query), source->relid, place->name);
}

/* weir.create_upsert */
Datum
weir_create_upsert(PG_FUNCTION_ARGS)
{
	WeirUpsertRow row = {0};
	WeirPlace	place;
	WeirSource *source;
	Query	   *query;
	Oid			existing;
	bool		backfill;

	check_nulls(fcinfo);
	backfill = PG_GETARG_BOOL(A_BACKFILL);
	read_options(fcinfo, &row);
	weir_define_place(&place, "upsert", "upsert", PG_GETARG_TEXT_PP(A_NAME));
	existing = row.owns_target ? weir_define_named(place.schema, place.name) : row.target;
	if (PG_GETARG_BOOL(A_IF_NOT_EXISTS) || row.owns_target)
	{
		bool		alike = OidIsValid(existing) && weir_catalog_load_upsert(existing) != NULL;

		if ((row.owns_target || alike) && weir_define_exists(&place, alike && PG_GETARG_BOOL(A_IF_NOT_EXISTS)))
			PG_RETURN_OID(existing);
	}

	query = weir_define_begin(&place, text_to_cstring(PG_GETARG_TEXT_PP(A_QUERY)), &row.query, &source);
	row.name = row.owns_target ? NULL : pstrdup(place.name);
	row.stream = source->stream;
	row.source = source->relid;
	row.settings = weir_settings_note();
	if (!row.owns_target)
		weir_upsert_check_target(&row, place.name);
	if (backfill)
		weir_source_check_complete(source, psprintf("Wait until weir.status shows no refill, or create \"%s\" with backfill => false.", place.name));
	define_query(fcinfo, &place, query, source, &row);
	weir_upsert_define_relations(&place, !PG_ARGISNULL(A_DELETE_WHEN) || weir_upsert_has_tombstones(source), &row);
	weir_catalog_add_upsert(&row, backfill);
	weir_catalog_touch(row.stream);
	CommandCounterIncrement();
	begin(&row, backfill);
	PG_RETURN_OID(row.target);
}

/* Statement trigger of sources: takes a batch in. */
Datum
weir_upsert_batch(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	WeirUpsert *upsert;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("upsert_batch() can only be called by the triggers of upserts")));
	upsert = weir_upsert_of_trigger(RelationGetRelid(trigger->tg_relation), trigger->tg_trigger->tgname);
	if (upsert == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("trigger \"%s\" of \"%s\" belongs to no upsert",
						trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation))));
	weir_upsert_take_batch(upsert, trigger->tg_newtable);
	weir_upsert_release(upsert);
	PG_RETURN_POINTER(NULL);
}

static const char *
verb(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_INSERT(event) ? "insert into" : TRIGGER_FIRED_BY_UPDATE(event) ? "update" :
		TRIGGER_FIRED_BY_DELETE(event) ? "delete from" : "truncate";
}

/* BEFORE STATEMENT trigger of tables that we made: refuses what others write. */
Datum
weir_guard_upsert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_upsert() can only be called as a trigger")));
	if (!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) &&
		weir_merger_in_progress(RelationGetRelid(trigger->tg_relation)))
		PG_RETURN_POINTER(NULL);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s \"%s\" directly: it keeps the latest events of a stream",
					verb(trigger->tg_event), RelationGetRelationName(trigger->tg_relation)),
			 errhint("Send an event that says so, or have weir.create_upsert write into a table of your own with into_table. A dump of data alone is restored with --disable-triggers.")));
}
