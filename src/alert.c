/*
 * alert.c
 *	  Alerts over streams: what a query gives of a batch, folded by key.
 *
 *		SELECT key, count, first message, first row FROM (the user's query) GROUP BY key
 *
 * is run over the batch with the rights of the stream's owner; weir_internal
 * keeps what comes out.  All of it is in the transaction of the batch.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "alert.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "derived_define.h"
#include "derived_query.h"
#include "executor/tuptable.h"
#include "executor/tstoreReceiver.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Columns of the folding query. */
enum
{
	F_KEY = 1, F_COUNT, F_MESSAGE, F_DETAIL
};

/* What alerts are looked for by. */
typedef struct AlertKey
{
	Oid			source;
	const char *trigger_name;
} AlertKey;

/* Raises 42703 unless the query has a column of this name. */
static void
check_column(const Query *query, const char *column, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk && strcmp(entry->resname, column) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("query of \"%s\" has no column \"%s\"", name, column),
			 errhint("key names a column of the query; so do names in braces in message. Double a brace that means itself.")));
}

/* Appends a message as an SQL expression over q: names in braces are columns.  With a query it is checked. */
static void
add_message(StringInfo sql, const char *message, const Query *query, const char *name)
{
	StringInfoData literal;

	initStringInfo(&literal);
	appendStringInfoString(sql, "pg_catalog.concat(");
	for (const char *p = message; *p != '\0'; p++)
	{
		const char *end = strchr(p, '}');

		if (*p != '{' || p[1] == '{' || end == NULL)
		{
			p += (*p == '{' || *p == '}') && p[1] == *p;
			appendStringInfoChar(&literal, *p);
			continue;
		}
		if (query != NULL)
			check_column(query, pnstrdup(p + 1, end - p - 1), name);
		appendStringInfo(sql, "%s, q.%s::pg_catalog.text, ", quote_literal_cstr(literal.data),
						 quote_identifier(pnstrdup(p + 1, end - p - 1)));
		resetStringInfo(&literal);
		p = end;
	}
	appendStringInfo(sql, "%s)", quote_literal_cstr(literal.data));
}

/* Checks a query, its key and message. */
Index
weir_alert_check(Query *query, const WeirSource *source, const WeirAlertRow *row)
{
	const char *hint = "An alert is raised for each row: make an aggregate, and check that.";
	const WeirDerivedClause clauses[] = {
		{query->setOperations != NULL, "a set operation", "Make an alert for each part."},
		{query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL,
		"an aggregate or GROUP BY", hint},
		{query->distinctClause != NIL, "a DISTINCT", "Rows of one key are folded."},
		{query->hasWindowFuncs, "a window function", hint},
	};
	StringInfoData message;

	if (row->key != NULL)
		check_column(query, row->key, row->name);
	initStringInfo(&message);
	add_message(&message, row->message, query, row->name);
	return weir_derived_query_check(query, source->relid, row->name, clauses, lengthof(clauses));
}

/* Returns the query that folds what another gives. */
static Query *
make_fold(const WeirAlertRow *row, Query *query)
{
	StringInfoData sql;
	Query	   *fold;

	initStringInfo(&sql);
	if (row->key == NULL)
		appendStringInfoString(&sql, "SELECT NULL::pg_catalog.text");
	else
		appendStringInfo(&sql, "SELECT q.%s::pg_catalog.text", quote_identifier(row->key));
	appendStringInfoString(&sql, ", pg_catalog.count(*), (pg_catalog.array_agg(");
	add_message(&sql, row->message, NULL, row->name);
	/* in one order everywhere, so that two batches that raise alerts of the same keys do not wait in a circle */
	appendStringInfo(&sql, "))[1], (pg_catalog.array_agg(pg_catalog.to_jsonb(q)))[1] FROM (SELECT * FROM %s) q GROUP BY 1 ORDER BY 1",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(row->query)), get_rel_name(row->query)));
	fold = parse_analyze_fixedparams(linitial_node(RawStmt, raw_parser(sql.data, RAW_PARSE_DEFAULT)), sql.data, NULL, 0, NULL);
	Assert(rt_fetch(1, fold->rtable)->rtekind == RTE_SUBQUERY);
	rt_fetch(1, fold->rtable)->subquery = query;
	return fold;
}

static bool
matches(const WeirCompiled *compiled, const void *arg)
{
	const WeirAlertRow *row = ((const WeirAlert *) compiled)->row;
	const AlertKey *key = arg;

	return row->source == key->source && strcmp(row->trigger_name, key->trigger_name) == 0;
}

/* Compiles an alert. */
static WeirCompiled *
build(const void *arg)
{
	const AlertKey *key = arg;
	WeirAlertRow *row = weir_catalog_alert_of_trigger(key->source, key->trigger_name);
	WeirAlert  *alert;
	Query	   *query;

	if (row == NULL)
		return NULL;
	alert = palloc0(sizeof(WeirAlert));
	alert->row = row;
	alert->base.name = row->name;
	alert->source = weir_source_load(row->source);
	query = weir_define_query_of(row->query);
	alert->position = weir_alert_check(query, alert->source, row);
	alert->fold = make_fold(row, query);
	alert->plans.context = CurrentMemoryContext;
	return &alert->base;
}

static const WeirCompiledKind alerts = {"alert", matches, build};

/* Returns the alert of a trigger. */
WeirAlert *
weir_alert_of_trigger(Oid source, const char *trigger_name)
{
	AlertKey	key = {source, trigger_name};

	return (WeirAlert *) weir_compiled_get(&alerts, &key);
}

/* Lets an alert go. */
void
weir_alert_release(WeirAlert *alert)
{
	weir_compiled_release(&alert->base);
}

/* Plans the folding query. */
static PlannedStmt *
make_plan(const void *arg, double rows)
{
	const WeirAlert *alert = arg;
	Query	   *query = copyObject(alert->fold);

	AcquireRewriteLocks(query, true, false);
	weir_batch_plan_bind(rt_fetch(1, query->rtable)->subquery, alert->position, rows);
	return planner(linitial_node(Query, QueryRewrite(query)), NULL, 0, NULL);
}

/* Runs it over a batch; returns a row per key. */
static Tuplestorestate *
fold_batch(WeirAlert *alert, Tuplestorestate *batch)
{
	PlannedStmt *plan = weir_batch_plan_for(&alert->plans, tuplestore_tuple_count(batch), &alert->base.valid, make_plan, alert);
	Tuplestorestate *folded = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);

	SetTuplestoreDestReceiverParams(receiver, folded, CurrentMemoryContext, true, NULL, NULL);
	weir_batch_plan_run(plan, alert->source->relid, batch, receiver);
	receiver->rDestroy(receiver);
	return folded;
}

/* Returns the columns of the folding query. */
static TupleDesc
fold_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(F_DETAIL);

	TupleDescInitEntry(desc, F_KEY, "key", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, F_COUNT, "count", INT8OID, -1, 0);
	TupleDescInitEntry(desc, F_MESSAGE, "message", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, F_DETAIL, "detail", JSONBOID, -1, 0);
	return desc;
}

/* Raises the alert of each row. */
static void
raise_all(WeirAlert *alert, Tuplestorestate *folded)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(fold_desc(), &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(folded, true, false, slot))
	{
		bool		no_key;
		bool		isnull;
		Datum		key = slot_getattr(slot, F_KEY, &no_key);

		weir_catalog_raise_alert(alert->row, no_key ? NULL : TextDatumGetCString(key),
								 TextDatumGetCString(slot_getattr(slot, F_MESSAGE, &isnull)),
								 slot_getattr(slot, F_DETAIL, &isnull),
								 DatumGetInt64(slot_getattr(slot, F_COUNT, &isnull)));
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Raises it for what the query gives of a batch. */
void
weir_alert_take_batch(WeirAlert *alert, Tuplestorestate *batch)
{
	ErrorContextCallback position = {error_context_stack, weir_compiled_describe, &alert->base};
	int			settings = weir_settings_enter(alert->row->settings);
	Tuplestorestate *folded;

	error_context_stack = &position;
	(void) weir_fence_derived(alert->row->query, false, true);
	folded = fold_batch(alert, batch);
	raise_all(alert, folded);
	tuplestore_end(folded);
	error_context_stack = position.previous;
	weir_settings_leave(settings);
}
