/*
 * api_states.c
 *	  The foreign data wrapper of states tables: the groups of a continuous
 *	  aggregate's open windows as rows of a table that nothing is stored in.
 *
 * Conditions on the window's start, and equality with all keys, decide where
 * the store is looked into.  All conditions are checked on the rows again.
 * What the rows are is aggregate_scan.c's business.
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate_scan.h"
#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "commands/explain.h"
#include "compat.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(weir_states_handler);

/* A condition that the scan uses: column operator expression. */
typedef struct UsedCondition
{
	AttrNumber	column;
	int			strategy;		/* of btree */
	Expr	   *expression;
	Expr	   *clause;			/* all of it */
} UsedCondition;

/* A scan while it runs. */
typedef struct StatesScan
{
	WeirAggregate *aggregate;
	List	   *columns;		/* of each condition; lists of int */
	List	   *strategies;
	List	   *expressions;	/* of ExprState */
	WeirAggregateScan *scan;	/* NULL: not begun, or nothing can match */
	bool		begun;
	TupleDesc	desc;
} StatesScan;

/* Returns the aggregate of a states table. */
static WeirAggregate *
aggregate_of(Oid relid)
{
	WeirAggregate *aggregate = weir_aggregate_get(WEIR_AGGREGATE_STATES, relid);

	if (aggregate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" does not belong to a continuous aggregate", get_rel_name(relid)),
				 errhint("Such tables come and go with weir.create_continuous_aggregate and weir.drop.")));
	return aggregate;
}

/* Returns the strategy by which an operator compares values of a type, or 0. */
static int
strategy_of(Oid operator, Oid type)
{
	Oid			opclass = GetDefaultOpClass(type, BTREE_AM_OID);

	return OidIsValid(opclass) ? get_op_opfamily_strategy(operator, get_opclass_family(opclass)) : 0;
}

/* Does an expression stay the same during a scan? */
static bool
is_steady(Expr *expression, Index relid)
{
	return !bms_is_member(relid, pull_varnos(NULL, (Node *) expression)) &&
		bms_is_empty(pull_varnos(NULL, (Node *) expression)) &&
		!contain_volatile_functions((Node *) expression) &&
		!contain_subplans((Node *) expression);
}

/* Reads "column operator expression", either way round; NULL if a condition is something else. */
static UsedCondition *
read_condition(Expr *clause, Index relid)
{
	OpExpr	   *op = (OpExpr *) clause;
	UsedCondition *condition;
	Expr	   *left;
	Expr	   *right;
	Oid			operator;

	/* under a collation that takes different strings for equal, hashes say nothing */
	if (!IsA(op, OpExpr) || list_length(op->args) != 2 ||
		(OidIsValid(op->inputcollid) && !get_collation_isdeterministic(op->inputcollid)))
		return NULL;
	left = linitial(op->args);
	right = lsecond(op->args);
	operator = op->opno;
	if (IsA(right, Var) && is_steady(left, relid))
	{
		left = lsecond(op->args);
		right = linitial(op->args);
		operator = get_commutator(operator);
	}
	if (!IsA(left, Var) || ((Var *) left)->varno != relid || !is_steady(right, relid))
		return NULL;
	condition = palloc(sizeof(UsedCondition));
	condition->column = ((Var *) left)->varattno;
	condition->strategy = OidIsValid(operator) ? strategy_of(operator, getBaseType(((Var *) left)->vartype)) : 0;
	condition->expression = right;
	condition->clause = clause;
	/* the same type, so that hashes are alike */
	if (condition->strategy == 0 || getBaseType(exprType((Node *) right)) != getBaseType(((Var *) left)->vartype))
		return NULL;
	return condition;
}

/* Returns the conditions of a scan that it can use. */
static List *
used_conditions(RelOptInfo *rel, const WeirAggregate *aggregate)
{
	List	   *used = NIL;
	ListCell   *cell;

	foreach(cell, rel->baserestrictinfo)
	{
		UsedCondition *condition = read_condition(lfirst_node(RestrictInfo, cell)->clause, rel->relid);

		if (condition == NULL)
			continue;
		if (condition->column == WEIR_STATES_WINDOW_START ||
			(condition->strategy == BTEqualStrategyNumber && condition->column >= WEIR_STATES_FIRST &&
			 condition->column < WEIR_STATES_FIRST + aggregate->keys->n))
			used = lappend(used, condition);
	}
	return used;
}

/* Are all keys equated with something? */
static bool
has_all_keys(List *used, const WeirAggregate *aggregate)
{
	Bitmapset  *columns = NULL;
	ListCell   *cell;

	foreach(cell, used)
	{
		UsedCondition *condition = lfirst(cell);

		if (condition->column >= WEIR_STATES_FIRST)
			columns = bms_add_member(columns, condition->column);
	}
	return aggregate->keys->n > 0 && bms_num_members(columns) == aggregate->keys->n;
}

/* Estimates how many rows a scan gives. */
static void
get_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	WeirAggregate *aggregate = aggregate_of(relid);
	Snapshot	snapshot = RegisterSnapshot(GetTransactionSnapshot());

	rel->tuples = Max(weir_aggregate_scan_size(aggregate, snapshot), 1);
	UnregisterSnapshot(snapshot);
	rel->rows = clamp_row_est(rel->tuples * clauselist_selectivity(root, rel->baserestrictinfo, 0, JOIN_INNER, NULL));
	if (has_all_keys(used_conditions(rel, aggregate), aggregate))
		rel->rows = Min(rel->rows, 10);
	weir_aggregate_release(aggregate);
}

/* Adds the one way to scan. */
static void
get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	WeirAggregate *aggregate = aggregate_of(relid);
	bool		keyed = has_all_keys(used_conditions(rel, aggregate), aggregate);
	Cost		cost = keyed ? 10 * random_page_cost : rel->tuples * (cpu_tuple_cost + 10 * cpu_operator_cost);

	weir_aggregate_release(aggregate);
	add_path(rel, (Path *) create_foreignscan_path(root, rel, NULL, rel->rows,
#if PG_VERSION_NUM >= 180000
												   0,
#endif
												   0, cost, NIL, NULL, NULL,
#if PG_VERSION_NUM >= 170000
												   NIL,
#endif
												   NIL));
}

/* Makes the plan of a scan: conditions to use go with it as lists. */
static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist, List *clauses, Plan *outer)
{
	WeirAggregate *aggregate = aggregate_of(relid);
	List	   *columns = NIL;
	List	   *strategies = NIL;
	List	   *expressions = NIL;
	List	   *used = NIL;
	ListCell   *cell;

	foreach(cell, used_conditions(rel, aggregate))
	{
		UsedCondition *condition = lfirst(cell);

		columns = lappend_int(columns, condition->column);
		strategies = lappend_int(strategies, condition->strategy);
		expressions = lappend(expressions, condition->expression);
		used = lappend(used, condition->clause);
	}
	weir_aggregate_release(aggregate);
	/* EXPLAIN shows those used: as conditions that are checked again they are kept as the plan needs them */
	return make_foreignscan(tlist, extract_actual_clauses(clauses, false), rel->relid, expressions,
							list_make2(columns, strategies), NIL, used, outer);
}

/* Prepares a scan. */
static void
begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	StatesScan *state = palloc0(sizeof(StatesScan));
	Relation	rel = node->ss.ss_currentRelation;

	node->fdw_state = state;
	state->aggregate = aggregate_of(RelationGetRelid(rel));
	state->columns = linitial(plan->fdw_private);
	state->strategies = lsecond(plan->fdw_private);
	state->expressions = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	state->desc = RelationGetDescr(rel);
}

/* Narrows the windows to read by one condition. */
static void
narrow(WeirScanBounds *bounds, int strategy, TimestampTz value)
{
	if (strategy == BTLessStrategyNumber || strategy == BTLessEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->to = Min(bounds->to, value);
	if (strategy == BTGreaterStrategyNumber || strategy == BTGreaterEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->from = Max(bounds->from, value);
}

/* Finds out where to look; false if no row can match. */
static bool
find_bounds(ForeignScanState *node, StatesScan *state, WeirScanBounds *bounds)
{
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	const WeirKeySet *keys = state->aggregate->keys;
	Datum	   *values = palloc0(sizeof(Datum) * Max(keys->n, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(keys->n, 1));
	bool		missing = false;
	StringInfoData bytes;

	memset(nulls, true, sizeof(bool) * keys->n);
	*bounds = (WeirScanBounds) {PG_INT64_MIN, PG_INT64_MAX, false, 0};
	for (int i = 0; i < list_length(state->columns); i++)
	{
		int			column = list_nth_int(state->columns, i);
		bool		isnull;
		Datum		value = ExecEvalExpr(list_nth(state->expressions, i), econtext, &isnull);

		if (isnull)
			return false;
		if (column == WEIR_STATES_WINDOW_START)
			narrow(bounds, list_nth_int(state->strategies, i), DatumGetTimestampTz(value));
		else
		{
			values[column - WEIR_STATES_FIRST] = value;
			nulls[column - WEIR_STATES_FIRST] = false;
		}
	}
	for (int i = 0; i < keys->n; i++)
		missing = missing || nulls[i];
	bounds->keyed = keys->n > 0 && !missing;
	initStringInfo(&bytes);
	if (bounds->keyed)
		bounds->hash = weir_keys_pack(keys, values, nulls, &bytes);
	return bounds->from <= bounds->to;
}

/* Returns the next row. */
static TupleTableSlot *
iterate(ForeignScanState *node)
{
	StatesScan *state = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	EState	   *estate = node->ss.ps.state;
	WeirScanBounds bounds;

	ExecClearTuple(slot);
	if (!state->begun)
	{
		MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);

		if (find_bounds(node, state, &bounds))
			state->scan = weir_aggregate_scan_begin(state->aggregate, estate->es_snapshot, &bounds);
		state->begun = true;
		MemoryContextSwitchTo(old);
	}
	if (state->scan != NULL && weir_aggregate_scan_next(state->scan, slot->tts_values, slot->tts_isnull))
		ExecStoreVirtualTuple(slot);
	return slot;
}

/* Forgets how far a scan is. */
static void
rescan(ForeignScanState *node)
{
	StatesScan *state = node->fdw_state;

	if (state->scan != NULL)
		weir_aggregate_scan_end(state->scan);
	state->scan = NULL;
	state->begun = false;
}

static void
end_scan(ForeignScanState *node)
{
	StatesScan *state = node->fdw_state;

	if (state == NULL)
		return;
	rescan(node);
	weir_aggregate_release(state->aggregate);
}

/* Shows conditions, if there are any. */
static void
explain_conditions(const char *label, List *conditions, Plan *plan, ExplainState *es)
{
	List	   *context;

	if (conditions == NIL)
		return;
	context = set_deparse_context_plan(es->deparse_cxt, plan, NIL);
	ExplainPropertyText(label, deparse_expression((Node *) make_ands_explicit(conditions), context, es->verbose, false), es);
}

/* Says where a scan looks: by conditions on the window, and for one group where all its keys are given. */
static void
explain_scan(ForeignScanState *node, ExplainState *es)
{
	StatesScan *state = node->fdw_state;
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	List	   *window = NIL;
	List	   *group = NIL;
	Bitmapset  *keys = NULL;
	ListCell   *column;
	ListCell   *clause;

	forboth(column, state->columns, clause, plan->fdw_recheck_quals)
	{
		if (lfirst_int(column) == WEIR_STATES_WINDOW_START)
			window = lappend(window, lfirst(clause));
		else
		{
			group = lappend(group, lfirst(clause));
			keys = bms_add_member(keys, lfirst_int(column));
		}
	}
	explain_conditions("Window", window, &plan->scan.plan, es);
	if (bms_num_members(keys) == state->aggregate->keys->n)
		explain_conditions("Group", group, &plan->scan.plan, es);
}

/* The foreign data wrapper's functions. */
Datum
weir_states_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = iterate;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
	routine->ExplainForeignScan = explain_scan;
	PG_RETURN_POINTER(routine);
}
