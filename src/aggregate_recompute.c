/*
 * aggregate_recompute.c
 *	  The query that gives a continuous aggregate's rows from scratch.
 *
 * The user's query as PostgreSQL has analysed it, with the windows of each
 * event joined to its stream:
 *
 *		SELECT site, avg(temp), w.window_start, w.window_end, count(*)
 *		FROM s JOIN d ..., windows_of(spec, ts, _watermark, lateness) w
 *		WHERE ... AND NOT w.late
 *		GROUP BY site, w.window_start, w.window_end
 *
 * Which session an event is in, the events of its group say: a window
 * function does, over the rows from which the query is grouped then.
 *
 *		SELECT site, avg(temp), i.session_start, max(i.ts), count(*)
 *		FROM (SELECT site, temp, ts, session_start(ts, gap) OVER (PARTITION BY site ORDER BY ts)
 *			  FROM s JOIN d ..., windows_of(...) w WHERE ... AND NOT w.late) i
 *		GROUP BY site, i.session_start
 *
 * Nothing of it goes by partial states, panes or merging.
 */
#include "postgres.h"

#include "aggregate_recompute.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "derived_define.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "windowapi.h"

PG_FUNCTION_INFO_V1(weir_session_start);
PG_FUNCTION_INFO_V1(weir_is_at_fault);

/* Columns of windows_of(). */
enum
{
	OF_START = 1, OF_END, OF_LATE
};

/* What the making of a query knows. */
typedef struct Making
{
	const WeirAggregate *aggregate;
	Query	   *query;
	Index		source;
	Index		windows;		/* windows_of() in the range table; 0: no windows */
	Expr	   *event_time;
	List	   *vars;			/* session: columns of the inner query */
	int			sublevels_up;
} Making;

/* Returns a call of a function of weir_internal. */
static FuncExpr *
call(const char *function, Oid result, List *args, int ntypes, const Oid *types)
{
	List	   *name = list_make2(makeString("weir_internal"), makeString(pstrdup(function)));

	return makeFuncExpr(LookupFuncName(name, ntypes, types, false), result, args, InvalidOid, InvalidOid,
						COERCE_EXPLICIT_CALL);
}

static Const *
interval_const(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval), PointerGetDatum(interval), false, false);
}

static Expr *
coalesce(Expr *a, Expr *b)
{
	CoalesceExpr *expr = makeNode(CoalesceExpr);

	expr->coalescetype = TIMESTAMPTZOID;
	expr->args = list_make2(a, b);
	expr->location = -1;
	return (Expr *) expr;
}

static Expr *
column_of_source(const Making *making, AttrNumber attribute)
{
	return (Expr *) makeVar(making->source, attribute, TIMESTAMPTZOID, -1, InvalidOid, 0);
}

static Expr *
column_of_windows(const Making *making, AttrNumber attribute)
{
	return (Expr *) makeVar(making->windows, attribute, attribute == OF_LATE ? BOOLOID : TIMESTAMPTZOID, -1,
							InvalidOid, 0);
}

/* Adds a condition. */
static void
add_condition(Query *query, Expr *condition)
{
	Node	   *quals = query->jointree->quals;

	query->jointree->quals = quals == NULL ? (Node *) condition :
		(Node *) makeBoolExpr(AND_EXPR, list_make2(quals, condition), -1);
}

/* Joins the windows of each event to it, and leaves out those for which it comes too late. */
static void
join_windows(Making *making)
{
	const WeirAggregate *aggregate = making->aggregate;
	Oid			spec_type = aggregate->row->spec_type;
	Oid			types[] = {spec_type, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID};
	Const	   *never = makeConst(TIMESTAMPTZOID, -1, InvalidOid, sizeof(TimestampTz),
								  TimestampTzGetDatum(DT_NOBEGIN), false, FLOAT8PASSBYVAL);
	Const	   *spec = makeConst(spec_type, -1, InvalidOid, -1, aggregate->row->spec, false, false);
	List	   *args = list_make4(spec, making->event_time,
								  coalesce(column_of_source(making, aggregate->source->columns.watermark), (Expr *) never),
								  interval_const(aggregate->row->lateness));
	FuncExpr   *windows_of = call("windows_of", RECORDOID, args, lengthof(types), types);
	RangeTblFunction *function = makeNode(RangeTblFunction);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);

	windows_of->funcretset = true;
	function->funcexpr = (Node *) windows_of;
	function->funccolcount = OF_LATE;
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(function);
	rte->lateral = true;
	rte->inFromCl = true;
	rte->eref = makeAlias("weir_windows", list_make3(makeString("window_start"), makeString("window_end"), makeString("late")));
	making->query->rtable = lappend(making->query->rtable, rte);
	making->windows = list_length(making->query->rtable);
	ref->rtindex = making->windows;
	making->query->jointree->fromlist = lappend(making->query->jointree->fromlist, ref);
	add_condition(making->query, makeBoolExpr(NOT_EXPR, list_make1(column_of_windows(making, OF_LATE)), -1));
}

/* Leaves out the events of groups at fault. */
static void
leave_out_faults(Making *making)
{
	Expr	   *when = making->windows == 0 ? (Expr *) makeNullConst(TIMESTAMPTZOID, -1, InvalidOid) :
		making->aggregate->row->window.kind == WEIR_WINDOW_SESSION ? copyObject(making->event_time) :
		column_of_windows(making, OF_START);
	List	   *args = list_make1(when);
	List	   *name = list_make2(makeString("weir_internal"), makeString("is_at_fault"));
	Oid			types[] = {TIMESTAMPTZOID, ANYOID};
	ListCell   *cell;

	foreach(cell, making->aggregate->query->keys)
		args = lappend(args, copyObject(((TargetEntry *) lfirst(cell))->expr));
	if (list_length(args) == 1)
		args = lappend(args, makeBoolConst(true, false));
	add_condition(making->query,
				  makeBoolExpr(NOT_EXPR,
							   list_make1(makeFuncExpr(LookupFuncName(name, lengthof(types), types, false), BOOLOID, args,
													   InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL)), -1));
}

/* Adds a column to a query; returns its number. */
static int
add_column(Query *query, Expr *expr, const char *name)
{
	TargetEntry *entry = makeTargetEntry(expr, list_length(query->targetList) + 1, pstrdup(name), false);

	query->targetList = lappend(query->targetList, entry);
	return entry->resno;
}

/* Returns a clause that sorts or groups by a column. */
static SortGroupClause *
clause_for(Query *query, int column)
{
	TargetEntry *entry = list_nth(query->targetList, column - 1);
	SortGroupClause *clause = makeNode(SortGroupClause);

	clause->tleSortGroupRef = assignSortGroupRef(entry, query->targetList);
	get_sort_group_operators(exprType((Node *) entry->expr), true, true, false, &clause->sortop, &clause->eqop,
							 NULL, &clause->hashable);
	return clause;
}

/* Adds a column to group by; returns its number. */
static int
add_grouped(Query *query, Expr *expr, const char *name)
{
	int			column = add_column(query, expr, name);

	query->groupClause = lappend(query->groupClause, clause_for(query, column));
	return column;
}

/* Returns a call of one of PostgreSQL's aggregates. */
static Expr *
aggregate_call(const char *name, Expr *argument)
{
	Aggref	   *aggref = makeNode(Aggref);
	Oid			type = argument == NULL ? InvalidOid : exprType((Node *) argument);

	aggref->aggfnoid = LookupFuncName(list_make2(makeString("pg_catalog"), makeString(pstrdup(name))),
									  argument == NULL ? 0 : 1, &type, false);
	aggref->aggtype = get_func_rettype(aggref->aggfnoid);
	if (argument != NULL)
	{
		aggref->aggargtypes = list_make1_oid(type);
		aggref->args = list_make1(makeTargetEntry(argument, 1, NULL, false));
	}
	aggref->aggstar = argument == NULL;
	aggref->aggkind = 'n';
	aggref->aggno = aggref->aggtransno = -1;
	aggref->location = -1;
	return (Expr *) aggref;
}

/* Groups by window, too. */
static void
group_by_window(Making *making, WeirRecompute *recompute)
{
	recompute->window_start = add_grouped(making->query, column_of_windows(making, OF_START), "window_start");
	recompute->window_end = add_grouped(making->query, column_of_windows(making, OF_END), "window_end");
}

/* Puts columns of the inner query in the place of columns of tables. */
static Node *
onto_inner(Node *node, Making *making)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == making->sublevels_up)
	{
		ListCell   *cell;

		foreach(cell, making->vars)
		{
			Var		   *var = lfirst(cell);

			if (var->varno == ((Var *) node)->varno && var->varattno == ((Var *) node)->varattno)
				return (Node *) makeVar(1, foreach_current_index(cell) + 1, var->vartype, var->vartypmod,
										var->varcollid, making->sublevels_up);
		}
		elog(ERROR, "column %d of relation %d is missing", ((Var *) node)->varattno, ((Var *) node)->varno);
	}
	if (IsA(node, Query))
	{
		Node	   *result;

		making->sublevels_up++;
		result = (Node *) query_tree_mutator((Query *) node, onto_inner, making, 0);
		making->sublevels_up--;
		return result;
	}
	return expression_tree_mutator(node, onto_inner, making);
}

/* Notes the columns that a query's expressions read, each once. */
static void
collect_vars(Making *making)
{
	List	   *vars = list_concat(pull_vars_of_level((Node *) making->query->targetList, 0),
								   pull_vars_of_level(making->query->havingQual, 0));
	ListCell   *cell;

	foreach(cell, vars)
	{
		Var		   *var = copyObject(lfirst(cell));
		ListCell   *known;
		bool		found = false;

		/* the inner query has it at its own level, even where a subquery reads it */
		var->varlevelsup = 0;
		foreach(known, making->vars)
			found = found || (((Var *) lfirst(known))->varno == var->varno && ((Var *) lfirst(known))->varattno == var->varattno);
		if (!found)
			making->vars = lappend(making->vars, var);
	}
}

/* Adds the window function that tells when an event's session starts; returns its column. */
static int
add_session_start(Making *making, Query *inner)
{
	Oid			types[] = {TIMESTAMPTZOID, INTERVALOID};
	List	   *args = list_make2(copyObject(making->event_time), interval_const(making->aggregate->row->window.gap));
	FuncExpr   *function = call("session_start", TIMESTAMPTZOID, args, lengthof(types), types);
	WindowFunc *session_start = makeNode(WindowFunc);
	WindowClause *window = makeNode(WindowClause);
	ListCell   *cell;

	foreach(cell, making->aggregate->query->keys)
		window->partitionClause = lappend(window->partitionClause,
										  clause_for(inner, add_column(inner, copyObject(((TargetEntry *) lfirst(cell))->expr), "k")));
	window->orderClause = list_make1(clause_for(inner, list_length(making->vars) + 1));
	window->frameOptions = FRAMEOPTION_DEFAULTS;
	window->winref = 1;
	inner->windowClause = list_make1(window);
	inner->hasWindowFuncs = true;
	session_start->winfnoid = function->funcid;
	session_start->wintype = TIMESTAMPTZOID;
	session_start->args = args;
	session_start->winref = 1;
	session_start->location = -1;
	return add_column(inner, (Expr *) session_start, "session_start");
}

/* Puts the query onto one that tells each event's session. */
static void
group_by_session(Making *making, WeirRecompute *recompute)
{
	Query	   *inner = copyObject(making->query);
	Query	   *outer = making->query;
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	int			start;
	ListCell   *cell;

	collect_vars(making);
	inner->targetList = inner->groupClause = NIL;
	inner->havingQual = NULL;
	inner->hasAggs = false;
	foreach(cell, making->vars)
		(void) add_column(inner, (Expr *) copyObject(lfirst(cell)), "v");
	(void) add_column(inner, copyObject(making->event_time), "event_time");
	start = add_session_start(making, inner);

	outer->targetList = (List *) onto_inner((Node *) outer->targetList, making);
	outer->havingQual = onto_inner(outer->havingQual, making);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = inner;
	rte->inFromCl = true;
	rte->eref = makeAlias("weir_events", NIL);
	foreach(cell, inner->targetList)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(((TargetEntry *) lfirst(cell))->resname));
	ref->rtindex = 1;
	outer->rtable = list_make1(rte);
#if PG_VERSION_NUM >= 160000
	outer->rteperminfos = NIL;
#endif
	outer->jointree = makeFromExpr(list_make1(ref), NULL);
	recompute->window_start = add_grouped(outer, (Expr *) makeVar(1, start, TIMESTAMPTZOID, -1, InvalidOid, 0), "window_start");
	recompute->window_end = add_column(outer,
									   aggregate_call("max", (Expr *) makeVar(1, list_length(making->vars) + 1, TIMESTAMPTZOID, -1, InvalidOid, 0)),
									   "last_event");
}

/* Returns a column by the mark that GROUP BY has put on it. */
static int
grouped_column(const Query *query, Index ref)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		if (((TargetEntry *) lfirst(cell))->ressortgroupref == ref)
			return ((TargetEntry *) lfirst(cell))->resno;
	}
	elog(ERROR, "GROUP BY has no column %u", ref);
}

/* Notes what the user's columns and keys are, and makes all of them columns. */
static void
note_columns(Query *query, WeirRecompute *recompute)
{
	ListCell   *cell;

	foreach(cell, query->groupClause)
		recompute->keys = lappend_int(recompute->keys,
									  grouped_column(query, lfirst_node(SortGroupClause, cell)->tleSortGroupRef));
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk)
			recompute->columns = lappend_int(recompute->columns, entry->resno);
		else
			entry->resname = pstrdup("k");
		entry->resjunk = false;
	}
}

/* Makes the query. */
WeirRecompute *
weir_recompute_make(const WeirAggregate *aggregate, bool faults)
{
	WeirRecompute *recompute = palloc0(sizeof(WeirRecompute));
	Making		making = {.aggregate = aggregate, .query = weir_define_query_of(aggregate->row->query),
	.source = aggregate->query->source};

	making.event_time = column_of_source(&making, aggregate->source->columns.event_time);
	/* a tombstone has no columns: Kafka's time is its time */
	if (aggregate->source->columns.event_time != aggregate->source->columns.kafka_time)
		making.event_time = coalesce(making.event_time, column_of_source(&making, aggregate->source->columns.kafka_time));
	note_columns(making.query, recompute);
	if (aggregate->row->window.kind != WEIR_WINDOW_NONE)
		join_windows(&making);
	if (faults)
		leave_out_faults(&making);
	if (aggregate->row->window.kind == WEIR_WINDOW_SESSION)
		group_by_session(&making, recompute);
	else if (aggregate->row->window.kind != WEIR_WINDOW_NONE)
		group_by_window(&making, recompute);
	recompute->count = add_column(making.query, aggregate_call("count", NULL), "events");
	making.query->hasAggs = true;
	recompute->query = making.query;
	return recompute;
}

/* What a window function remembers of the rows before. */
typedef struct SessionMemory
{
	bool		begun;
	TimestampTz start;
	TimestampTz last;
} SessionMemory;

/* weir_internal.session_start(t, gap): over the events of a group in order. */
Datum
weir_session_start(PG_FUNCTION_ARGS)
{
	WindowObject window = PG_WINDOW_OBJECT();
	SessionMemory *memory = WinGetPartitionLocalMemory(window, sizeof(SessionMemory));
	bool		isnull;
	TimestampTz t = DatumGetTimestampTz(WinGetFuncArgCurrent(window, 0, &isnull));
	Interval   *gap;

	if (isnull)
		PG_RETURN_NULL();
	gap = DatumGetIntervalP(WinGetFuncArgCurrent(window, 1, &isnull));
	if (!memory->begun || t - memory->last > gap->time)
		memory->start = t;
	memory->begun = true;
	memory->last = t;
	PG_RETURN_TIMESTAMPTZ(memory->start);
}

/* The groups to leave out. */
static const WeirBadGroups *current = NULL;

/* Makes is_at_fault() answer for these. */
const WeirBadGroups *
weir_recompute_leave_out(const WeirBadGroups *faults)
{
	const WeirBadGroups *before = current;

	current = faults;
	return before;
}

/* Is this the group and the window, or a time in it? */
static bool
is_fault(const WeirBadGroup *fault, WeirUnpack key, bool timed, TimestampTz when)
{
	if (timed && current->aggregate->row->window.kind == WEIR_WINDOW_SESSION
		? when < fault->window_start || when >= fault->window_end
		: timed && when != fault->window_start)
		return false;
	return weir_keys_equal(current->aggregate->keys, fault->key, key);
}

/* Returns the first fault of a hash, or where it would be. */
static int
first_fault(uint32 hash)
{
	int			low = 0;
	int			high = current->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (current->faults[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* weir_internal.is_at_fault(when, VARIADIC keys) */
Datum
weir_is_at_fault(PG_FUNCTION_ARGS)
{
	Datum		values[FUNC_MAX_ARGS];
	bool		nulls[FUNC_MAX_ARGS];
	StringInfoData bytes;
	WeirUnpack	key;
	uint32		hash;

	if (current == NULL)
		PG_RETURN_BOOL(false);
	for (int i = 1; i < PG_NARGS(); i++)
	{
		values[i - 1] = PG_GETARG_DATUM(i);
		nulls[i - 1] = PG_ARGISNULL(i);
	}
	initStringInfo(&bytes);
	hash = weir_keys_pack(current->aggregate->keys, values, nulls, &bytes);
	key = (WeirUnpack) {bytes.data, bytes.data + bytes.len};
	for (int i = first_fault(hash); i < current->n && current->faults[i].hash == hash; i++)
	{
		if (is_fault(&current->faults[i], key, !PG_ARGISNULL(0), PG_ARGISNULL(0) ? 0 : PG_GETARG_TIMESTAMPTZ(0)))
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}
