/*
 * api_aggregate.c
 *	  weir.create_continuous_aggregate, and the trigger function of continuous
 *	  aggregates.
 */
#include "postgres.h"

#include "access/xact.h"
#include "aggregate.h"
#include "aggregate_define.h"
#include "arguments.h"
#include "catalog.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "owner.h"
#include "settings.h"
#include "span.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_create_continuous_aggregate);
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

/*
 * Finds out from where on staging, or with !backfill what is yet to come, has
 * all events of a window.
 */
static TimestampTz
covered_since(const WeirAggregateRow *row, const WeirSource *source, const char *name, bool backfill)
{
	TimestampTz since;

	if (backfill)
		weir_source_check_complete(source, psprintf("Wait until weir.status shows no refill, or create \"%s\" with backfill => false.", name));
	since = weir_source_seen(source, backfill, GetLatestSnapshot());
	if (row->window.kind != WEIR_WINDOW_NONE)
	{
		weir_source_check_known(source, since, name);
		return since;
	}
	if (backfill && since != DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s does not hold all events of stream \"%s\"",
						row->source == row->stream ? "staging" : psprintf("\"%s\"", get_rel_name(row->source)),
						get_rel_name(row->stream)),
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
	weir_aggregate_begin_totals(aggregate);
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
	WeirPlace	place;
	WeirSource *source;
	Query	   *query;
	Oid			existing;

	check_nulls(fcinfo);
	read_options(fcinfo, &row);
	weir_define_place(&place, "aggregate", "continuous aggregate", PG_GETARG_TEXT_PP(A_NAME));
	existing = weir_define_named(place.schema, place.name);
	if (weir_define_exists(&place, PG_GETARG_BOOL(A_IF_NOT_EXISTS) &&
						   weir_catalog_load_aggregate(WEIR_AGGREGATE_VIEW, existing) != NULL))
		PG_RETURN_OID(existing);

	query = weir_define_begin(&place, text_to_cstring(PG_GETARG_TEXT_PP(A_QUERY)), &row.query, &source);
	row.stream = source->stream;
	row.source = source->relid;
	row.settings = weir_settings_note();
	row.complete_since = covered_since(&row, source, place.name, PG_GETARG_BOOL(A_BACKFILL));
	weir_define_relations(&place, weir_aggregate_query_read(query, row.source, place.name), &row);
	weir_catalog_add_aggregate(&row, PG_GETARG_DATUM(A_WINDOW), PG_ARGISNULL(A_WINDOW),
							   PG_GETARG_DATUM(A_LATENESS), PG_GETARG_DATUM(A_RETENTION),
							   PG_ARGISNULL(A_RETENTION));
	weir_catalog_touch(row.stream);
	CommandCounterIncrement();
	begin(&row, PG_GETARG_BOOL(A_BACKFILL));
	PG_RETURN_OID(row.view);
}

/* Statement trigger of sources: takes a batch in. */
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
	weir_aggregate_take_batch(aggregate, trigger->tg_newtable, weir_span_of(RelationGetRelid(trigger->tg_relation)));
	weir_aggregate_release(aggregate);
	PG_RETURN_POINTER(NULL);
}
