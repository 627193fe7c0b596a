/*
 * aggregate_plan.c
 *	  The grouping of a batch for a continuous aggregate: planned, and run.
 *
 * The stream in the user's query is replaced by the transition table, in the
 * analysed tree, so that nothing depends on how the query spells its name.
 * The planner knows no partial aggregation that is not below a parallel one:
 * its plan is told afterwards to stop at the states.
 */
#include "postgres.h"

#include "aggregate_plan.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "partial.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/* What the transition table is called in plans. */
#define BATCH_NAME "weir_batch"

/* How many columns of windows stand before the keys. */
int
weir_aggregate_plan_bins(WeirWindowKind kind)
{
	return kind == WEIR_WINDOW_NONE ? 0 : kind == WEIR_WINDOW_HOP ? 2 : 1;
}

/* Returns a call of one of the functions of aggregate_bin.c. */
static Expr *
bin_call(const char *function, Index stream, const WeirEventColumns *columns)
{
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT8OID};
	AttrNumber	numbers[] = {columns->event_time, columns->kafka_time, columns->watermark,
	columns->partition, columns->offset};
	List	   *name = list_make2(makeString("weir_internal"), makeString(pstrdup(function)));
	List	   *args = NIL;

	for (int i = 0; i < lengthof(types); i++)
		args = lappend(args, makeVar(stream, numbers[i], types[i], -1, InvalidOid, 0));
	return (Expr *) makeFuncExpr(LookupFuncName(name, lengthof(types), types, false), TIMESTAMPTZOID,
								 args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* Adds a column to group by. */
static void
add_bin(Query *query, Expr *call)
{
	TargetEntry *entry = makeTargetEntry(call, list_length(query->targetList) + 1, "bin", false);
	SortGroupClause *clause = makeNode(SortGroupClause);

	entry->ressortgroupref = entry->resno;
	clause->tleSortGroupRef = entry->resno;
	get_sort_group_operators(TIMESTAMPTZOID, false, true, false, &clause->sortop, &clause->eqop, NULL,
							 &clause->hashable);
	query->targetList = lappend(query->targetList, entry);
	query->groupClause = lappend(query->groupClause, clause);
}

/* Adds the keys and the aggregates. */
static void
add_keys_and_aggregates(Query *query, const WeirAggregateQuery *aggregate)
{
	ListCell   *cell;

	for (int i = 0; i < list_length(aggregate->keys); i++)
	{
		TargetEntry *key = list_nth(aggregate->keys, i);
		SortGroupClause *clause = copyObject(list_nth(aggregate->query->groupClause, i));
		TargetEntry *entry = makeTargetEntry(copyObject(key->expr), list_length(query->targetList) + 1,
											 psprintf("k%d", i + 1), false);

		entry->ressortgroupref = clause->tleSortGroupRef = entry->resno;
		query->targetList = lappend(query->targetList, entry);
		query->groupClause = lappend(query->groupClause, clause);
	}
	foreach(cell, aggregate->aggrefs)
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) weir_partial_planned(lfirst(cell)),
													list_length(query->targetList) + 1,
													psprintf("a%d", foreach_current_index(cell) + 1), false));
}

/* Returns the query that groups a batch. */
Query *
weir_aggregate_plan_query(const WeirAggregateQuery *aggregate, WeirWindowKind kind, const WeirEventColumns *columns)
{
	Query	   *query = copyObject(aggregate->query);

	query->targetList = NIL;
	query->groupClause = NIL;
	query->havingQual = NULL;
	query->hasAggs = aggregate->aggrefs != NIL;
	if (kind != WEIR_WINDOW_NONE)
		add_bin(query, bin_call("bin", aggregate->stream, columns));
	if (kind == WEIR_WINDOW_HOP)
		add_bin(query, bin_call("bin_first", aggregate->stream, columns));
	add_keys_and_aggregates(query, aggregate);
	return query;
}

/* Puts the transition table in the stream's place. */
static void
bind_batch(Query *query, Index stream, double rows)
{
	RangeTblEntry *rte = rt_fetch(stream, query->rtable);
	Relation	rel = RelationIdGetRelation(rte->relid);
	TupleDesc	desc = RelationGetDescr(rel);

	rte->rtekind = RTE_NAMEDTUPLESTORE;
	rte->enrname = BATCH_NAME;
	rte->enrtuples = rows;
	rte->inh = false;
	weir_rte_clear_permissions(rte);
	rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		rte->coltypes = lappend_oid(rte->coltypes, att->attisdropped ? InvalidOid : att->atttypid);
		rte->coltypmods = lappend_int(rte->coltypmods, att->attisdropped ? 0 : att->atttypmod);
		rte->colcollations = lappend_oid(rte->colcollations, att->attisdropped ? InvalidOid : att->attcollation);
	}
	RelationClose(rel);
}

/* Tells a plan to stop at the states. */
static void
stop_at_states(PlannedStmt *plan)
{
	Agg		   *agg = (Agg *) plan->planTree;
	ListCell   *cell;

	if (!IsA(agg, Agg) || agg->aggsplit != AGGSPLIT_SIMPLE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query cannot be maintained incrementally"),
				 errdetail("PostgreSQL does not plan it as one aggregation.")));
	agg->aggsplit = AGGSPLIT_INITIAL_SERIAL;
	foreach(cell, agg->plan.targetlist)
	{
		Expr	   *expr = ((TargetEntry *) lfirst(cell))->expr;

		if (IsA(expr, Aggref))
			mark_partial_aggref((Aggref *) expr, AGGSPLIT_INITIAL_SERIAL);
	}
}

/* Plans a query with a batch in the place of one of its relations. */
PlannedStmt *
weir_aggregate_plan_over_batch(Query *query, Index relation, double rows)
{
	PlannedStmt *plan;

	AcquireRewriteLocks(query, true, false);
	bind_batch(query, relation, rows);
	plan = planner(linitial_node(Query, QueryRewrite(query)), NULL, 0, NULL);
	/* compiled for each batch anew, it would cost more than it saves however large the tables joined with */
	plan->jitFlags = 0;
	return plan;
}

/* Plans the query over a batch. */
PlannedStmt *
weir_aggregate_plan_make(const WeirAggregateQuery *aggregate, WeirWindowKind kind,
						 const WeirEventColumns *columns, double rows)
{
	PlannedStmt *plan = weir_aggregate_plan_over_batch(weir_aggregate_plan_query(aggregate, kind, columns),
													   aggregate->stream, rows);

	if (aggregate->aggrefs != NIL)
		stop_at_states(plan);
	return plan;
}

/* Locks the tables that a plan reads. */
void
weir_aggregate_plan_lock(PlannedStmt *plan)
{
	ListCell   *cell;

	foreach(cell, plan->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		if (rte->rtekind == RTE_RELATION)
			LockRelationOid(rte->relid, rte->rellockmode);
	}
}

/* Begins to run a plan over a batch. */
static QueryDesc *
start(PlannedStmt *plan, Oid stream, Tuplestorestate *batch, DestReceiver *receiver, int eflags)
{
	QueryEnvironment *env = create_queryEnv();
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	QueryDesc  *desc;

	enr->md.name = BATCH_NAME;
	enr->md.reliddesc = stream;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(batch);
	enr->reldata = batch;
	register_ENR(env, enr);

	desc = weir_create_query_desc(plan, GetActiveSnapshot(), receiver, env);
	ExecutorStart(desc, eflags);
	return desc;
}

/* Runs a plan over a batch. */
void
weir_aggregate_plan_run(PlannedStmt *plan, Oid stream, Tuplestorestate *batch, DestReceiver *receiver)
{
	QueryDesc  *desc = start(plan, stream, batch, receiver, 0);

	weir_executor_run(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

/* Shows a plan as EXPLAIN does. */
char *
weir_aggregate_plan_explain(PlannedStmt *plan, Oid stream)
{
	ExplainState *es = NewExplainState();
	Tuplestorestate *batch = tuplestore_begin_heap(false, false, work_mem);
	QueryDesc  *desc = start(plan, stream, batch, None_Receiver, EXEC_FLAG_EXPLAIN_ONLY);

	ExplainBeginOutput(es);
	ExplainPrintPlan(es, desc);
	ExplainEndOutput(es);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	tuplestore_end(batch);
	return es->str->data;
}
