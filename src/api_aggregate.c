/*
 * api_aggregate.c
 *	  weir.create_continuous_aggregate, weir.drop, and the trigger function of
 *	  continuous aggregates.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "aggregate.h"
#include "aggregate_define.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog_refill.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "owner.h"
#include "rewrite/rewriteHandler.h"
#include "settings.h"
#include "span.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_create_continuous_aggregate);
PG_FUNCTION_INFO_V1(weir_drop_derived);
PG_FUNCTION_INFO_V1(weir_aggregate_batch);

/* Arguments of weir.create_continuous_aggregate, in order. */
enum
{
	A_NAME, A_QUERY, A_WINDOW, A_LATENESS, A_RETENTION, A_BACKFILL, A_IF_NOT_EXISTS, A_COUNT
};

static const char *const names[A_COUNT] = {
	"name", "query", NULL, "allowed_lateness", NULL, "backfill", "if_not_exists"
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

static bool
is_negative(const Interval *interval)
{
	Interval	zero = {0};

	return DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(interval), IntervalPGetDatum(&zero)));
}

/* Reads window, lateness and retention. */
static void
read_options(FunctionCallInfo fcinfo, WeirAggregateRow *row)
{
	row->lateness = weir_window_duration("allowed_lateness", PG_GETARG_INTERVAL_P(A_LATENESS));
	if (row->lateness < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"allowed_lateness\" must not be negative")));
	if (!PG_ARGISNULL(A_RETENTION) &&
		is_negative(PG_GETARG_INTERVAL_P(A_RETENTION)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"retention\" must not be negative")));
	if (!PG_ARGISNULL(A_WINDOW))
		weir_window_spec_read(PG_GETARG_DATUM(A_WINDOW), &row->window);
	else if (row->lateness > 0 || !PG_ARGISNULL(A_RETENTION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("allowed_lateness and retention need a time_window"),
				 errdetail("Without one there are running totals, for which nothing is late and nothing is over.")));
}

/* Handles a name that is taken: true if that is fine. */
static bool
exists_already(const char *name, Oid namespace, bool if_not_exists)
{
	Oid			relid = get_relname_relid(name, namespace);

	if (!OidIsValid(relid))
		return false;
	if (!if_not_exists || weir_catalog_load_aggregate(WEIR_AGGREGATE_VIEW, relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name)));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("continuous aggregate \"%s\" already exists, skipping", name)));
	return true;
}

/* Finds a stream anywhere in a query, also where it must not be. */
static bool
find_any_stream(Node *node, Oid *stream)
{
	RangeTblEntry *rte = (RangeTblEntry *) node;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_any_stream, stream, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, find_any_stream, stream);
	if (rte->rtekind != RTE_RELATION || !rte->inFromCl)
		return false;
	if (weir_catalog_load_stream(rte->relid, true) != NULL)
		*stream = rte->relid;
	else if (rte->relkind == RELKIND_VIEW)
	{
		Relation	view = table_open(rte->relid, AccessShareLock);

		(void) find_any_stream((Node *) get_view_query(view), stream);
		table_close(view, NoLock);
	}
	return OidIsValid(*stream);
}

/* Returns the stream that a query reads; raises an error if there is none, or it is not the caller's. */
static Oid
stream_of(const Query *query, const char *name)
{
	Oid			stream = InvalidOid;

	(void) find_any_stream((Node *) query, &stream);
	if (!OidIsValid(stream))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("query of \"%s\" reads no stream", name),
				 errhint("Name a stream in FROM.")));
	if (!weir_is_owner(stream, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(stream));
	return stream;
}

/*
 * Finds out from where on staging, or with !backfill what is yet to come, has
 * all events of a window.
 */
static TimestampTz
covered_since(const WeirAggregateRow *row, const char *name, bool backfill)
{
	TimestampTz since;

	if (backfill && weir_catalog_refill_is_due(row->stream))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("staged rows of stream \"%s\" are not all back yet", get_rel_name(row->stream)),
				 errhint("Wait until weir.status shows no refill, or create \"%s\" with backfill => false.", name)));
	since = weir_catalog_seen(row->stream, backfill);
	if (row->window.kind != WEIR_WINDOW_NONE)
		return since;
	if (backfill && since != DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("staging does not hold all events of stream \"%s\"", get_rel_name(row->stream)),
				 errdetail("Running totals would miss those that are past retention."),
				 errhint("Give a time_window, or count from now on with backfill => false.")));
	return since;
}

/* Begins with what is staged, as the stream's owner. */
static void
begin(const WeirAggregateRow *row, bool backfill)
{
	WeirStream *stream = weir_catalog_load_stream(row->stream, false);
	WeirAggregate *aggregate = weir_aggregate_get(WEIR_AGGREGATE_VIEW, row->view);
	WeirOwnerSession session;

	weir_owner_enter(stream->owner, stream->search_path, &session);
	if (backfill)
		weir_aggregate_backfill(aggregate);
	if (row->window.kind != WEIR_WINDOW_NONE)
		weir_aggregate_close_windows(aggregate);
	weir_owner_leave(&session);
	weir_aggregate_release(aggregate);
}

/* weir.create_continuous_aggregate */
Datum
weir_create_continuous_aggregate(PG_FUNCTION_ARGS)
{
	WeirAggregateRow row = {0};
	WeirAggregatePlace place;
	RangeVar   *name;
	Oid			namespace;
	Relation	view;
	Query	   *query;

	check_nulls(fcinfo);
	read_options(fcinfo, &row);
	name = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(A_NAME)));
	namespace = RangeVarGetCreationNamespace(name);
	if (isTempNamespace(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("continuous aggregates cannot be temporary")));
	if (exists_already(name->relname, namespace, PG_GETARG_BOOL(A_IF_NOT_EXISTS)))
		PG_RETURN_OID(get_relname_relid(name->relname, namespace));

	place = (WeirAggregatePlace) {get_namespace_name(namespace), name->relname, GetUserId(), weir_catalog_next_aggregate()};
	row.query = weir_define_query(&place, text_to_cstring(PG_GETARG_TEXT_PP(A_QUERY)));
	view = table_open(row.query, AccessShareLock);
	query = copyObject(get_view_query(view));
	table_close(view, NoLock);
	row.stream = stream_of(query, place.name);
	/* batches run as the stream's owner */
	place.owner = weir_relation_owner(row.stream);
	if (place.owner != GetUserId())
		ATExecChangeOwner(row.query, place.owner, true, AccessExclusiveLock);
	weir_fence_exclusive(row.stream);
	row.settings = weir_settings_note();
	row.complete_since = covered_since(&row, place.name, PG_GETARG_BOOL(A_BACKFILL));
	weir_define_relations(&place, weir_aggregate_query_read(query, row.stream, place.name), &row);
	weir_catalog_add_aggregate(&row, PG_GETARG_DATUM(A_WINDOW), PG_ARGISNULL(A_WINDOW),
							   PG_GETARG_DATUM(A_LATENESS), PG_GETARG_DATUM(A_RETENTION),
							   PG_ARGISNULL(A_RETENTION));
	weir_catalog_touch(row.stream);
	CommandCounterIncrement();
	begin(&row, PG_GETARG_BOOL(A_BACKFILL));
	PG_RETURN_OID(row.view);
}

/* weir.drop */
Datum
weir_drop_derived(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	int			rc;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"object\" must not be null")));
	if (weir_catalog_load_aggregate(WEIR_AGGREGATE_VIEW, relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not derived from a stream", get_rel_name(relid)),
				 errhint("weir.drop_stream drops streams.")));
	SPI_connect();
	rc = SPI_execute(psprintf("DROP VIEW %s", quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
																		 get_rel_name(relid))), false, 0);
	if (rc < 0)
		elog(ERROR, "could not drop: %s", SPI_result_code_string(rc));
	SPI_finish();
	PG_RETURN_VOID();
}

/* Statement trigger of staging tables: takes a batch in. */
Datum
weir_aggregate_batch(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	WeirAggregate *aggregate;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("aggregate_batch() can only be called by the triggers of continuous aggregates")));
	aggregate = weir_aggregate_of_trigger(RelationGetRelid(trigger->tg_relation), trigger->tg_trigger->tgname);
	if (aggregate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("trigger \"%s\" of stream \"%s\" belongs to no continuous aggregate",
						trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation))));
	weir_aggregate_take_batch(aggregate, trigger->tg_newtable, weir_span_of(aggregate->row->stream));
	weir_aggregate_release(aggregate);
	PG_RETURN_POINTER(NULL);
}
