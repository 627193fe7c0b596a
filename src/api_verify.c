/*
 * api_verify.c
 *	  weir.verify, weir.explain and weir_internal.errors_of: is what is derived
 *	  from a stream right, how does it come about, and what is in error.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "aggregate_verify.h"
#include "catalog.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "owner.h"
#include "settings.h"
#include "transform.h"
#include "transform_verify.h"
#include "upsert.h"
#include "upsert_verify.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(weir_verify);
PG_FUNCTION_INFO_V1(weir_explain);
PG_FUNCTION_INFO_V1(weir_errors_of);

/* Refuses who may not read a relation. */
static void
check_readable(Oid relid)
{
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
}

/* What is derived: that of the three which is not NULL. */
typedef struct Derived
{
	WeirAggregate *aggregate;
	WeirTransform *transform;
	WeirUpsert *upsert;
	Oid			stream;
	WeirSource *source;
	List	   *settings;
} Derived;

/* Finds what is derived, whatever its kind. */
static bool
find_derived(Oid relid, Derived *derived)
{
	memset(derived, 0, sizeof(*derived));
	derived->aggregate = weir_aggregate_get(WEIR_AGGREGATE_VIEW, relid);
	if (derived->aggregate != NULL)
	{
		derived->stream = derived->aggregate->row->stream;
		derived->source = derived->aggregate->source;
		derived->settings = derived->aggregate->row->settings;
		return true;
	}
	derived->transform = weir_transform_get(relid);
	if (derived->transform != NULL)
	{
		derived->stream = derived->transform->row->stream;
		derived->source = derived->transform->source;
		derived->settings = derived->transform->row->settings;
		return true;
	}
	derived->upsert = weir_upsert_get(relid);
	if (derived->upsert == NULL)
		return false;
	derived->stream = derived->upsert->row->stream;
	derived->source = weir_source_load(derived->upsert->row->source);
	derived->settings = derived->upsert->row->settings;
	return true;
}

static void
release(Derived *derived)
{
	if (derived->aggregate != NULL)
		weir_aggregate_release(derived->aggregate);
	else if (derived->transform != NULL)
		weir_transform_release(derived->transform);
	else
		weir_upsert_release(derived->upsert);
}

/* Finds what is derived, which the caller may read; raises an error if it is something else. */
static void
get_derived(Oid relid, Derived *derived)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!find_derived(relid, derived))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not derived from a stream", name)));
	check_readable(relid);
	check_readable(derived->source->relid);
}

/* Acts as the stream's owner, with the settings of when the object was created; returns what undoes the latter. */
static int
enter(Oid stream_id, List *settings, WeirOwnerSession *session)
{
	WeirStream *stream = weir_catalog_load_stream(stream_id, false);

	weir_owner_enter(stream->owner, stream->search_path, session);
	return weir_settings_enter(settings);
}

static void
leave(int settings, WeirOwnerSession *session)
{
	weir_settings_leave(settings);
	weir_owner_leave(session);
}

/* Returns a row that differs. */
static void
put_difference(void *arg, const char *side, Datum data)
{
	ReturnSetInfo *result = arg;
	Datum		values[] = {CStringGetTextDatum(side), data};
	bool		nulls[lengthof(values)] = {false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* weir.verify(object) */
Datum
weir_verify(PG_FUNCTION_ARGS)
{
	Derived		derived;
	WeirOwnerSession session;
	int			settings;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"object\" must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	get_derived(PG_GETARG_OID(0), &derived);
	/* what the snapshot will see of coverage stays true */
	weir_source_lock(derived.source);
	weir_source_check_complete(derived.source, "Wait until weir.status shows no refill.");
	PushActiveSnapshot(GetLatestSnapshot());
	settings = enter(derived.stream, derived.settings, &session);
	if (derived.aggregate != NULL)
		weir_aggregate_verify(derived.aggregate, put_difference, fcinfo->resultinfo);
	else if (derived.transform != NULL)
		weir_transform_verify(derived.transform, put_difference, fcinfo->resultinfo);
	else
		weir_upsert_verify(derived.upsert, put_difference, fcinfo->resultinfo);
	leave(settings, &session);
	PopActiveSnapshot();
	release(&derived);
	return (Datum) 0;
}

/* Returns text line by line. */
static void
put_lines(ReturnSetInfo *result, char *text)
{
	char	   *rest = text;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		Datum		values[] = {CStringGetTextDatum(line)};
		bool		nulls[] = {false};

		if (line[0] != '\0' || rest != NULL)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* A batch that counts as large for the planner. */
#define LARGE 10000

/* Returns the query that is run on each batch, its source in the place of the batch, and its plan. */
static Query *
batch_query(Derived *derived, PlannedStmt **plan)
{
	WeirAggregate *aggregate = derived->aggregate;

	if (derived->transform != NULL)
	{
		*plan = weir_transform_plan_for(derived->transform, LARGE);
		return copyObject(derived->transform->query);
	}
	if (derived->upsert != NULL)
	{
		*plan = weir_upsert_plan_for(derived->upsert, LARGE);
		return copyObject(derived->upsert->query);
	}
	*plan = weir_aggregate_plan_for(aggregate, LARGE, false);
	return weir_aggregate_plan_query(aggregate->query, aggregate->row->window.kind, &aggregate->source->columns);
}

/* weir.explain(object) */
Datum
weir_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Derived		derived;
	WeirOwnerSession session;
	PlannedStmt *plan;
	int			settings;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	get_derived(PG_GETARG_OID(0), &derived);
	settings = enter(derived.stream, derived.settings, &session);
	put_lines(result, pg_get_querydef(batch_query(&derived, &plan), true));
	put_lines(result, pstrdup(""));
	put_lines(result, weir_batch_plan_explain(plan, derived.source->relid));
	leave(settings, &session);
	release(&derived);
	return (Datum) 0;
}

/* What weir_internal.errors_of works on. */
typedef struct ErrorsOf
{
	const WeirAggregate *aggregate;
	SPIPlanPtr	to_jsonb;
	ReturnSetInfo *result;
} ErrorsOf;

/* Returns what a key is called: as the view's column, or k1, k2 and so on. */
static const char *
key_name(const WeirAggregate *aggregate, int key)
{
	const TargetEntry *entry = list_nth(aggregate->query->keys, key);

	return entry->resjunk ? psprintf("k%d", key + 1) : entry->resname;
}

/* Prepares what makes jsonb of the keys of a group. */
static SPIPlanPtr
prepare_keys_to_jsonb(const WeirAggregate *aggregate)
{
	int			n = aggregate->keys->n;
	Oid		   *types = palloc(sizeof(Oid) * Max(n, 1));
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT pg_catalog.jsonb_build_object(");
	for (int i = 0; i < n; i++)
	{
		types[i] = aggregate->keys->keys[i].type;
		appendStringInfo(&sql, "%s%s, $%d", i > 0 ? ", " : "", quote_literal_cstr(key_name(aggregate, i)), i + 1);
	}
	appendStringInfoChar(&sql, ')');
	return SPI_prepare(sql.data, n, types);
}

/* Returns the keys of a group as jsonb. */
static Datum
keys_to_jsonb(const ErrorsOf *errors, bytea *packed)
{
	int			n = errors->aggregate->keys->n;
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(n, 1));
	char	   *nulls = palloc(Max(n, 1));
	bool		none;

	weir_keys_unpack(errors->aggregate->keys,
					 (WeirUnpack) {VARDATA_ANY(packed), VARDATA_ANY(packed) + VARSIZE_ANY_EXHDR(packed)}, values, isnull);
	for (int i = 0; i < n; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';
	if (SPI_execute_plan(errors->to_jsonb, values, nulls, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not make jsonb of a group");
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
}

/* Returns the query for the groups in error. */
static char *
errors_query(const WeirAggregateRow *row)
{
	static const char *const part =
		"SELECT window_start, window_end, _key, _error->>'sqlstate', _error->>'message',"
		" (_error->>'seen_at')::timestamptz FROM %s WHERE _error IS NOT NULL";
	char	   *open = psprintf(part, weir_relation_name(row->states));

	return !OidIsValid(row->results) ? open :
		psprintf("%s UNION ALL %s", open, psprintf(part, weir_relation_name(row->results)));
}

/* Returns the groups in error, as an SQL query gives them. */
static void
put_errors(ErrorsOf *errors)
{
	char	   *sql = errors_query(errors->aggregate->row);
	SPITupleTable *table;

	SPI_connect();
	errors->to_jsonb = prepare_keys_to_jsonb(errors->aggregate);
	if (errors->to_jsonb == NULL || SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	table = SPI_tuptable;
	for (uint64 i = 0; i < table->numvals; i++)
	{
		Datum		values[6];
		bool		nulls[6];

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		values[2] = keys_to_jsonb(errors, DatumGetByteaPP(values[2]));
		tuplestore_putvalues(errors->result->setResult, errors->result->setDesc, values, nulls);
	}
	SPI_finish();
}

/* weir_internal.errors_of(view) */
Datum
weir_errors_of(PG_FUNCTION_ARGS)
{
	WeirAggregate *aggregate;
	WeirOwnerSession session;
	int			settings;

	InitMaterializedSRF(fcinfo, 0);
	aggregate = weir_aggregate_get(WEIR_AGGREGATE_VIEW, PG_GETARG_OID(0));
	if (aggregate == NULL)
		return (Datum) 0;
	if (has_privs_of_role(GetUserId(), weir_relation_owner(aggregate->row->view)))
	{
		ErrorsOf	errors = {aggregate, NULL, (ReturnSetInfo *) fcinfo->resultinfo};

		settings = enter(aggregate->row->stream, aggregate->row->settings, &session);
		put_errors(&errors);
		leave(settings, &session);
	}
	weir_aggregate_release(aggregate);
	return (Datum) 0;
}
