/*
 * api_transform.c
 *	  weir.create_transform, and the trigger functions of transforms.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "derived_define.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "owner.h"
#include "settings.h"
#include "transform.h"
#include "transform_query.h"
#include "transform_write.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_create_transform);
PG_FUNCTION_INFO_V1(weir_transform_batch);
PG_FUNCTION_INFO_V1(weir_guard_transform);

/* Arguments of weir.create_transform, in order. */
enum
{
	A_NAME, A_QUERY, A_EVENT_TIME, A_RETENTION, A_INTO_TABLE, A_BACKFILL, A_IF_NOT_EXISTS, A_COUNT
};

static const char *const names[A_COUNT] = {
	"name", "query", NULL, NULL, NULL, "backfill", "if_not_exists"
};

static void
refuse_option(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

/* Refuses NULL where a value is needed, and options that do not fit. */
static void
check_options(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < A_COUNT; i++)
	{
		if (PG_ARGISNULL(i) && names[i] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"%s\" must not be null", names[i])));
	}
	if (!PG_ARGISNULL(A_RETENTION) && weir_window_duration("retention", PG_GETARG_INTERVAL_P(A_RETENTION)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"retention\" must not be negative")));
	if (PG_ARGISNULL(A_INTO_TABLE))
		return;
	if (!PG_ARGISNULL(A_RETENTION))
		refuse_option("retention is for tables that a transform makes", "Rows of your own table are yours to delete.");
	if (!PG_ARGISNULL(A_EVENT_TIME))
		refuse_option("event_time is for tables that a transform makes", "What reads your own table does not follow the stream.");
}

/* Is there a table of this name that a transform of this kind has made? */
static bool
is_alike(Oid relid)
{
	return OidIsValid(relid) && weir_catalog_load_transform(relid) != NULL;
}

/* Refuses a table that rows cannot go to. */
static void
check_table(Oid relid, Oid owner)
{
	char		relkind = get_rel_relkind(relid);
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", name)));
	if (weir_source_load(relid) != NULL || weir_catalog_load_transform(relid) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" takes the rows of something else", name),
				 errdetail("It is a stream, or a transform writes into it.")));
	weir_define_check_logged(relid);
	if (pg_class_aclcheck(relid, owner, ACL_INSERT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, owner, ACL_INSERT, ACLMASK_ANY) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", name),
				 errdetail("Batches run as the owner of the stream, %s.", GetUserNameFromId(owner, false)),
				 errhint("GRANT INSERT ON %s TO %s.", quote_identifier(name),
						 quote_identifier(GetUserNameFromId(owner, false)))));
}

/* Raises an error unless the query has such a column of type timestamptz. */
static void
check_time(const Query *query, const char *event_time, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);

		if (strcmp(entry->resname, event_time) != 0)
			continue;
		if (exprType((Node *) entry->expr) != TIMESTAMPTZOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("event time \"%s\" of \"%s\" is not of type timestamptz", event_time, name)));
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("query of \"%s\" has no column \"%s\"", name, event_time),
			 errhint("event_time names a column of the query.")));
}

/* Finds out by which column windows over the rows go. */
static void
choose_time(WeirTransformRow *row, Query *query, Index position, const WeirSource *source, const char *name,
			const char *wanted)
{
	const char *passed = weir_transform_query_time(query, position, source);

	if (wanted != NULL && strcmp(wanted, weir_place_names[WEIR_PLACE_TIMESTAMP]) != 0)
		check_time(query, wanted, name);
	row->event_time = pstrdup(wanted != NULL ? wanted : passed != NULL ? passed : weir_place_names[WEIR_PLACE_TIMESTAMP]);
	row->same_time = (passed != NULL && strcmp(passed, row->event_time) == 0) ||
		(source->columns.event_time == source->columns.kafka_time &&
		 strcmp(row->event_time, weir_place_names[WEIR_PLACE_TIMESTAMP]) == 0);
	row->same_time = row->same_time && source->same_time;
}

/* Makes the table of a transform. */
static Oid
define_table(const WeirPlace *place, const Query *query, const WeirTransformRow *row)
{
	char	   *name = quote_qualified_identifier(place->schema, place->name);
	StringInfoData sql;
	ListCell   *cell;
	Oid			relid;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", name);
	foreach(cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);
		Node	   *expr = (Node *) entry->expr;

		weir_define_add_column(&sql, quote_identifier(entry->resname), exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
	for (int i = 0; i < WEIR_PLACE_COLUMNS; i++)
		appendStringInfo(&sql, ", %s %s", weir_place_names[i], weir_place_types[i]);
	appendStringInfoChar(&sql, ')');
	/* columns come each after a comma */
	memset(strchr(sql.data + strlen("CREATE TABLE ") + strlen(name), ','), ' ', 1);
	weir_define_run(sql.data);
	if (row->retention >= 0)
		weir_define_run(psprintf("CREATE INDEX ON %s (%s)", name, quote_identifier(row->event_time)));
	relid = weir_define_give(place, "TABLE", place->schema, place->name);
	weir_define_run(psprintf("CREATE TRIGGER weir_guard BEFORE INSERT OR TRUNCATE ON %s"
							 " FOR EACH STATEMENT EXECUTE FUNCTION weir_internal.guard_transform()", name));
	weir_define_run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER weir_guard", name));
	return relid;
}

/* Begins with what the source has, as the stream's owner. */
static void
begin(const WeirTransformRow *row, bool backfill)
{
	WeirStream *stream = weir_catalog_load_stream(row->stream, false);
	WeirTransform *transform;
	WeirOwnerSession session;

	weir_owner_enter(stream->owner, stream->search_path, &session);
	transform = weir_transform_get(row->target);
	if (backfill)
		weir_transform_backfill(transform);
	weir_transform_release(transform);
	weir_owner_leave(&session);
}

/* Makes a transform of a query that is kept and checked. */
static void
create(FunctionCallInfo fcinfo, WeirPlace *place, WeirTransformRow *row, WeirSource *source, Query *query)
{
	bool		backfill = PG_GETARG_BOOL(A_BACKFILL);
	Index		position = weir_transform_query_check(query, source, place->name);

	row->stream = source->stream;
	row->source = source->relid;
	row->settings = weir_settings_note();
	row->retention = PG_ARGISNULL(A_RETENTION) ? -1 : weir_window_duration("retention", PG_GETARG_INTERVAL_P(A_RETENTION));
	row->owns_target = PG_ARGISNULL(A_INTO_TABLE);
	if (backfill)
		weir_source_check_complete(source, psprintf("Wait until weir.status shows no refill, or create \"%s\" with backfill => false.",
													place->name));
	row->complete_since = weir_source_seen(source, backfill, GetLatestSnapshot());
	if (row->owns_target)
	{
		choose_time(row, query, position, source, place->name,
					PG_ARGISNULL(A_EVENT_TIME) ? NULL : NameStr(*PG_GETARG_NAME(A_EVENT_TIME)));
		row->target = define_table(place, query, row);
	}
	else
	{
		row->target = PG_GETARG_OID(A_INTO_TABLE);
		check_table(row->target, place->owner);
		weir_transform_query_fits(query, row->target, place->name);
	}
	row->trigger_name = weir_define_trigger(place, row->source, "transform_batch");
	weir_catalog_add_transform(row, PG_GETARG_DATUM(A_RETENTION), PG_ARGISNULL(A_RETENTION), backfill);
	weir_catalog_touch(row->stream);
	CommandCounterIncrement();
	begin(row, backfill);
}

/* weir.create_transform */
Datum
weir_create_transform(PG_FUNCTION_ARGS)
{
	WeirTransformRow row = {0};
	WeirPlace	place;
	WeirSource *source;
	Query	   *query;
	Oid			existing;

	check_options(fcinfo);
	weir_arg_check_server(fcinfo);
	weir_define_place(&place, "transform", "transform", PG_GETARG_TEXT_PP(A_NAME));
	existing = PG_ARGISNULL(A_INTO_TABLE) ? weir_define_named(place.schema, place.name) : PG_GETARG_OID(A_INTO_TABLE);
	if (PG_GETARG_BOOL(A_IF_NOT_EXISTS) && is_alike(existing))
	{
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("transform \"%s\" already exists, skipping", get_rel_name(existing))));
		PG_RETURN_OID(existing);
	}
	if (PG_ARGISNULL(A_INTO_TABLE))
		(void) weir_define_exists(&place, false);
	query = weir_define_begin(&place, text_to_cstring(PG_GETARG_TEXT_PP(A_QUERY)), &row.query, &source);
	create(fcinfo, &place, &row, source, query);
	PG_RETURN_OID(row.target);
}

/* Statement trigger of sources: appends what the query gives of a batch. */
Datum
weir_transform_batch(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	WeirTransform *transform;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("transform_batch() can only be called by the triggers of transforms")));
	transform = weir_transform_of_trigger(RelationGetRelid(trigger->tg_relation), trigger->tg_trigger->tgname);
	if (transform == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("trigger \"%s\" of \"%s\" belongs to no transform",
						trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation))));
	weir_transform_take_batch(transform, trigger->tg_newtable);
	weir_transform_release(transform);
	PG_RETURN_POINTER(NULL);
}

/* BEFORE STATEMENT trigger of tables that transforms have made. */
Datum
weir_guard_transform(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_transform() can only be called as a trigger")));
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && weir_transform_is_writing(RelationGetRelid(trigger->tg_relation)))
		PG_RETURN_POINTER(NULL);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s transform \"%s\" directly", TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? "insert into" : "truncate",
					RelationGetRelationName(trigger->tg_relation)),
			 errhint("Its rows come from its stream. A dump of data alone is restored with --disable-triggers.")));
}
