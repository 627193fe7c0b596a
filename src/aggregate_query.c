/*
 * aggregate_query.c
 *	  The query of a continuous aggregate: what it may be, the grouping that
 *	  is maintained for it, and the query over that grouping which gives its
 *	  rows.
 *
 *		SELECT site, avg(temp) - 2 FROM s JOIN d ... GROUP BY site HAVING count(*) > 3
 *
 * is taken apart into
 *
 *		keys: site        aggregates: avg(temp), count(*)
 *
 * of which batches are grouped and states are kept, and
 *
 *		SELECT k1, a1 - 2 FROM states, where a2 > 3
 *
 * All of it happens on PostgreSQL's own trees of analysed queries.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "aggregate_query.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "partial.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "steady.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* What the walks over a query know. */
typedef struct Walk
{
	WeirAggregateQuery *aggregate;
	Oid			relid;			/* the stream */
	const char *name;			/* the aggregate */
	int			found;			/* how often the stream was met */
	bool		nullable;		/* on an outer join's nullable side */
	struct Walk *outermost;		/* of the query, within its views */
	Oid			target;			/* what the finishing query reads */
	int			first_column;
} Walk;

/* Raises an error about a construct. */
static void
refuse(const Walk *walk, const char *construct, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("query of \"%s\" cannot be maintained incrementally", walk->name),
			 errdetail("It has %s.", construct),
			 hint ? errhint("%s", hint) : 0));
}

/* Refuses clauses that belong to the reading of results, or to other kinds of objects. */
static void
check_clauses(const Walk *walk, const Query *query)
{
	const struct
	{
		bool		there;
		const char *construct;
		const char *hint;
	}			clauses[] = {
		{query->commandType != CMD_SELECT || query->hasModifyingCTE, "a command that changes data", "Write a SELECT."},
		{query->setOperations != NULL, "a set operation", "Make an aggregate for each part, and a view over them."},
		{query->hasWindowFuncs, "a window function", "Use window functions on reading."},
		{query->limitCount != NULL || query->limitOffset != NULL, "a LIMIT or OFFSET", "Use LIMIT on reading."},
		{query->sortClause != NIL, "an ORDER BY", "Use ORDER BY on reading."},
		{query->distinctClause != NIL, "a DISTINCT", "Use GROUP BY."},
		{query->groupingSets != NIL, "grouping sets", "Make an aggregate for each set."},
		{query->hasTargetSRFs, "a set-returning function", "Put it into a transform, and aggregate over that."},
		{query->rowMarks != NIL, "a locking clause", NULL},
		{query->hasRecursive, "a recursive query", NULL},
		{!query->hasAggs && query->groupClause == NIL, "no aggregate and no GROUP BY", "Use weir.create_transform."},
	};

	for (int i = 0; i < lengthof(clauses); i++)
	{
		if (clauses[i].there)
			refuse(walk, clauses[i].construct, clauses[i].hint);
	}
}

static bool find_stream(Node *node, Walk *walk);
static bool check_expressions(Node *node, Walk *walk);

/* Does a view read the stream?  What it gives must be as steady as what the query itself says. */
static bool
view_reads_stream(Oid view, Walk *walk)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = get_view_query(rel);
	Walk	   *outermost = walk->outermost != NULL ? walk->outermost : walk;
	Walk		inside = {.relid = walk->relid, .outermost = outermost};

	(void) find_stream((Node *) query, &inside);
	(void) query_tree_walker(query, check_expressions, outermost, 0);
	table_close(rel, NoLock);
	return inside.found > 0;
}

/* Counts where the stream stands, anywhere in a query. */
static bool
find_stream(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->relid == walk->relid)
			walk->found++;
		else if (rte->rtekind == RTE_RELATION && rte->inFromCl && rte->relkind == RELKIND_VIEW &&
				 view_reads_stream(rte->relid, walk))
		{
			if (walk->aggregate != NULL)
				refuse(walk, psprintf("the stream behind view \"%s\"", get_rel_name(rte->relid)),
					   "Name the stream itself in FROM.");
			walk->found++;
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_stream, walk, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_stream, walk);
}

/* Finds the stream in the FROM clause itself; notes if an outer join may leave it out. */
static void
find_in_from(Node *node, bool nullable, Walk *walk)
{
	if (IsA(node, FromExpr))
	{
		ListCell   *cell;

		foreach(cell, ((FromExpr *) node)->fromlist)
			find_in_from(lfirst(cell), nullable, walk);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		find_in_from(join->larg, nullable || join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL, walk);
		find_in_from(join->rarg, nullable || join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL, walk);
	}
	else if (IsA(node, RangeTblRef))
	{
		Index		index = ((RangeTblRef *) node)->rtindex;
		RangeTblEntry *rte = rt_fetch(index, walk->aggregate->query->rtable);

		if (rte->rtekind != RTE_RELATION || rte->relid != walk->relid)
			return;
		walk->aggregate->stream = index;
		walk->nullable = nullable;
	}
}

/* Finds where the stream stands: once, in FROM, in every row. */
static void
locate_stream(Walk *walk)
{
	(void) find_stream((Node *) walk->aggregate->query, walk);
	find_in_from((Node *) walk->aggregate->query->jointree, false, walk);
	if (walk->found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("query of \"%s\" reads no stream", walk->name),
				 errhint("Name a stream in FROM.")));
	if (walk->found > 1)
		refuse(walk, "the stream more than once", "A batch can be joined with tables, not with the rest of its stream.");
	if (walk->aggregate->stream == 0)
		refuse(walk, "the stream in a subquery", "Name the stream in FROM itself.");
	if (walk->nullable)
		refuse(walk, "the stream on the nullable side of an outer join",
			   "Every batch would give rows without an event: turn the join around.");
}

/* May a function read tables, and the stream among them?  Those of users in any language but C. */
static bool
may_read_tables(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		may;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	may = function >= FirstNormalObjectId && form->provolatile == PROVOLATILE_STABLE &&
		form->prolang != ClanguageId && form->prolang != INTERNALlanguageId;
	ReleaseSysCache(tuple);
	return may;
}

static bool
is_unsteady(Oid function, void *arg)
{
	Walk	   *walk = arg;

	if (may_read_tables(function))
		refuse(walk, psprintf("function %s, which may read tables", get_func_name(function)),
			   "Join with the tables in FROM. A function that reads none can be declared IMMUTABLE.");
	if (weir_function_is_steady(function))
		return false;
	refuse(walk, psprintf("function %s, whose results change by themselves", get_func_name(function)),
		   "Replaying the stream would give other rows. Use the event's own time.");
	return true;
}

/* Refuses what gives other results when the same events come again, or what only a table has. */
static bool
check_expressions(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction))
		refuse(walk, "CURRENT_TIMESTAMP, CURRENT_USER or the like",
			   "Replaying the stream would give other rows. Use the event's own time.");
	if (IsA(node, NextValueExpr))
		refuse(walk, "a sequence", NULL);
	(void) check_functions_in_node(node, is_unsteady, walk);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_expressions, walk, 0);
	return expression_tree_walker(node, check_expressions, walk);
}

/* Refuses what a batch does not have: system columns, samples. */
static void
check_stream_use(const Walk *walk)
{
	const WeirAggregateQuery *aggregate = walk->aggregate;
	List	   *vars = pull_vars_of_level((Node *) aggregate->query->targetList, 0);
	ListCell   *cell;

	vars = list_concat(vars, pull_vars_of_level((Node *) aggregate->query->jointree, 0));
	vars = list_concat(vars, pull_vars_of_level(aggregate->query->havingQual, 0));
	foreach(cell, vars)
	{
		Var		   *var = lfirst(cell);

		if (IsA(var, Var) && var->varno == aggregate->stream && var->varattno < 0)
			refuse(walk, "a system column of the stream", "Use _partition and _offset.");
	}
	if (rt_fetch(aggregate->stream, aggregate->query->rtable)->tablesample != NULL)
		refuse(walk, "a TABLESAMPLE of the stream", NULL);
}

/* Notes the aggregates of an expression, each once. */
static bool
collect_aggregates(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		Aggref	   *aggref = (Aggref *) node;

		if (aggref->aggkind == AGGKIND_NORMAL && aggref->aggorder != NIL && aggref->aggdistinct == NIL)
			refuse(walk, psprintf("an ORDER BY in %s", get_func_name(aggref->aggfnoid)), NULL);
		weir_partial_check(aggref);
		aggref->aggtranstype = weir_partial_transtype(aggref);
		walk->aggregate->aggrefs = list_append_unique(walk->aggregate->aggrefs, aggref);
		return false;
	}
	return expression_tree_walker(node, collect_aggregates, walk);
}

/* Notes what a query groups by. */
static void
collect_keys(WeirAggregateQuery *aggregate)
{
	ListCell   *cell;

	foreach(cell, aggregate->query->groupClause)
	{
		SortGroupClause *clause = lfirst(cell);

		aggregate->keys = lappend(aggregate->keys,
								  get_sortgroupref_tle(clause->tleSortGroupRef, aggregate->query->targetList));
	}
}

/* Takes a query apart. */
WeirAggregateQuery *
weir_aggregate_query_read(Query *query, Oid stream, const char *name)
{
	WeirAggregateQuery *aggregate = palloc0(sizeof(WeirAggregateQuery));
	Walk		walk = {.aggregate = aggregate, .relid = stream, .name = name};

	aggregate->name = name;
	aggregate->query = query;
	check_clauses(&walk, query);
	locate_stream(&walk);
	(void) query_tree_walker(query, check_expressions, &walk, 0);
	check_stream_use(&walk);
	collect_keys(aggregate);
	(void) collect_aggregates((Node *) query->targetList, &walk);
	(void) collect_aggregates(query->havingQual, &walk);
	return aggregate;
}

/* Returns a column of what the finishing query reads. */
static Var *
column_for(const Walk *walk, int position, Node *expression)
{
	return makeVar(1, walk->first_column + position, exprType(expression), exprTypmod(expression),
				   exprCollation(expression), 0);
}

/* Puts columns in the place of keys and aggregates. */
static Node *
finish_expression(Node *node, Walk *walk)
{
	const WeirAggregateQuery *aggregate = walk->aggregate;
	int			nkeys = list_length(aggregate->keys);

	if (node == NULL)
		return NULL;
	for (int i = 0; i < nkeys; i++)
	{
		if (equal(node, ((TargetEntry *) list_nth(aggregate->keys, i))->expr))
			return (Node *) column_for(walk, i, node);
	}
	for (int i = 0; i < list_length(aggregate->aggrefs); i++)
	{
		if (equal(node, list_nth(aggregate->aggrefs, i)))
			return (Node *) column_for(walk, nkeys + i, node);
	}
	if (IsA(node, Var))
		refuse(walk, "a column that is not in GROUP BY", "Add it to GROUP BY, or put it into an aggregate.");
	if (IsA(node, SubLink))
		refuse(walk, "a subquery in its SELECT or HAVING", "Join with the table in FROM.");
	return expression_tree_mutator(node, finish_expression, walk);
}

/* Makes an expression NULL where the group is in error: coalesce(sum(x), 0) would hide that. */
static Expr *
unless_error(Expr *expr, Index error_column)
{
	NullTest   *test = makeNode(NullTest);
	CaseWhen   *when = makeNode(CaseWhen);
	CaseExpr   *result = makeNode(CaseExpr);

	test->arg = (Expr *) makeVar(1, error_column, JSONBOID, -1, InvalidOid, 0);
	test->nulltesttype = IS_NULL;
	test->location = when->location = result->location = -1;
	when->expr = (Expr *) test;
	when->result = expr;
	result->casetype = exprType((Node *) expr);
	result->casecollid = exprCollation((Node *) expr);
	result->args = list_make1(when);
	result->defresult = (Expr *) makeNullConst(result->casetype, exprTypmod((Node *) expr), result->casecollid);
	return (Expr *) result;
}

/* Returns the expression of a column over what the finishing query reads. */
static Expr *
finish_column(Expr *expr, Walk *walk)
{
	Expr	   *result = (Expr *) finish_expression((Node *) expr, walk);

	if (IsA(expr, Aggref) || !contain_aggs_of_level((Node *) expr, 0))
		return result;
	return unless_error(result, walk->first_column - 1);
}

/* Returns what stands in the place of HAVING: NULL where the group is in error. */
static Expr *
finish_having(Node *having, Walk *walk)
{
	BooleanTest *test;

	if (having == NULL)
		return (Expr *) makeBoolConst(true, false);
	test = makeNode(BooleanTest);
	test->arg = (Expr *) finish_expression(having, walk);
	test->booltesttype = IS_TRUE;
	test->location = -1;
	return unless_error((Expr *) test, walk->first_column - 1);
}

/* Returns the query that gives the rows. */
Query *
weir_aggregate_query_finish(const WeirAggregateQuery *aggregate, Oid relation, int first_column)
{
	Query	   *query = makeNode(Query);
	Walk		walk = {.aggregate = (WeirAggregateQuery *) aggregate, .name = aggregate->name,
	.target = relation, .first_column = first_column};
	Relation	rel = table_open(relation, AccessShareLock);
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true);
	ListCell   *cell;
	int			resno = 0;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(item->p_rte);
	query->jointree = makeFromExpr(list_make1(makeNode(RangeTblRef)), NULL);
	((RangeTblRef *) linitial(query->jointree->fromlist))->rtindex = 1;
	for (int column = 1; column < first_column; column++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), column - 1);

		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) makeVar(1, column, att->atttypid, att->atttypmod, att->attcollation, 0),
													++resno, pstrdup(NameStr(att->attname)), false));
	}
	foreach(cell, aggregate->query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk)
			query->targetList = lappend(query->targetList,
										makeTargetEntry(finish_column(entry->expr, &walk), ++resno, entry->resname, false));
	}
	query->targetList = lappend(query->targetList,
								makeTargetEntry(finish_having(aggregate->query->havingQual, &walk), ++resno, "_having", false));
	table_close(rel, NoLock);
	return query;
}
