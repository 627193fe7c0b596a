/*
 * batch_plan.c
 *	  A query over a batch: planned, and run.
 *
 * The source in the user's query is replaced by the transition table, in the
 * analysed tree, so that nothing depends on how the query spells its name.
 */
#include "postgres.h"

#include "batch_plan.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* What the transition table is called in plans. */
#define BATCH_NAME "weir_batch"

/* Batches of up to so many rows take the plan for small ones; each is planned for a size of its kind. */
#define SMALL_BATCH 100
#define SMALL_PLANNED 10
#define LARGE_PLANNED 10000

/* Puts the transition table in the source's place. */
void
weir_batch_plan_bind(Query *query, Index source, double rows)
{
	RangeTblEntry *rte = rt_fetch(source, query->rtable);
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

/* Plans a query with a batch in the place of one of its relations. */
PlannedStmt *
weir_batch_plan_make(Query *query, Index relation, double rows)
{
	PlannedStmt *plan;

	AcquireRewriteLocks(query, true, false);
	weir_batch_plan_bind(query, relation, rows);
	plan = planner(linitial_node(Query, QueryRewrite(query)), NULL, 0, NULL);
	/* compiled for each batch anew, it would cost more than it saves however large the tables joined with */
	plan->jitFlags = 0;
	return plan;
}

/* Locks the tables that a plan reads. */
static void
lock_tables(PlannedStmt *plan)
{
	ListCell   *cell;

	foreach(cell, plan->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		if (rte->rtekind == RTE_RELATION)
			LockRelationOid(rte->relid, rte->rellockmode);
	}
}

/* Returns the plan for a batch of this size. */
PlannedStmt *
weir_batch_plan_for(WeirBatchPlans *plans, int64 rows, const bool *valid, WeirBatchPlanner make, const void *arg)
{
	PlannedStmt **plan = rows <= SMALL_BATCH ? &plans->small : &plans->large;

	if (*plan != NULL)
		lock_tables(*plan);
	if (*plan == NULL || !*valid)
	{
		MemoryContext old = MemoryContextSwitchTo(plans->context);

		*plan = make(arg, rows <= SMALL_BATCH ? SMALL_PLANNED : LARGE_PLANNED);
		MemoryContextSwitchTo(old);
	}
	return *plan;
}

/* Begins to run a plan over a batch. */
static QueryDesc *
start(PlannedStmt *plan, Oid source, Tuplestorestate *batch, DestReceiver *receiver, int eflags)
{
	QueryEnvironment *env = create_queryEnv();
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	QueryDesc  *desc;

	enr->md.name = BATCH_NAME;
	enr->md.reliddesc = source;
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
weir_batch_plan_run(PlannedStmt *plan, Oid source, Tuplestorestate *batch, DestReceiver *receiver)
{
	QueryDesc  *desc = start(plan, source, batch, receiver, 0);

	weir_executor_run(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

/* Shows a plan as EXPLAIN does. */
char *
weir_batch_plan_explain(PlannedStmt *plan, Oid source)
{
	ExplainState *es = NewExplainState();
	Tuplestorestate *batch = tuplestore_begin_heap(false, false, work_mem);
	QueryDesc  *desc = start(plan, source, batch, None_Receiver, EXEC_FLAG_EXPLAIN_ONLY);

	ExplainBeginOutput(es);
	ExplainPrintPlan(es, desc);
	ExplainEndOutput(es);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	tuplestore_end(batch);
	return es->str->data;
}
