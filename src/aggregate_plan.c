/*
 * aggregate_plan.c
 *	  The grouping of a batch for a continuous aggregate, planned.
 *
 * The planner knows no partial aggregation that is not below a parallel one:
 * its plan is told afterwards to stop at the states.
 */
#include "postgres.h"

#include "aggregate_plan.h"
#include "batch_plan.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "partial.h"

/* How many columns of windows stand before the keys. */
int
weir_aggregate_plan_bins(WeirWindowKind kind)
{
	return kind == WEIR_WINDOW_NONE ? 0 : kind == WEIR_WINDOW_HOP ? 2 : 1;
}

/* Returns a call of one of the functions of aggregate_bin.c. */
static Expr *
bin_call(const char *function, Index source, const WeirEventColumns *columns)
{
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT8OID};
	AttrNumber	numbers[] = {columns->event_time, columns->kafka_time, columns->watermark,
	columns->partition, columns->offset};
	List	   *name = list_make2(makeString("weir_internal"), makeString(pstrdup(function)));
	List	   *args = NIL;

	for (int i = 0; i < lengthof(types); i++)
		args = lappend(args, makeVar(source, numbers[i], types[i], -1, InvalidOid, 0));
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
		add_bin(query, bin_call("bin", aggregate->source, columns));
	if (kind == WEIR_WINDOW_HOP)
		add_bin(query, bin_call("bin_first", aggregate->source, columns));
	add_keys_and_aggregates(query, aggregate);
	return query;
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

/* Plans the query over a batch. */
PlannedStmt *
weir_aggregate_plan_make(const WeirAggregateQuery *aggregate, WeirWindowKind kind,
						 const WeirEventColumns *columns, double rows)
{
	PlannedStmt *plan = weir_batch_plan_make(weir_aggregate_plan_query(aggregate, kind, columns),
											 aggregate->source, rows);

	if (aggregate->aggrefs != NIL)
		stop_at_states(plan);
	return plan;
}
