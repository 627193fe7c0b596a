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
 * All of it happens on PostgreSQL's own trees of analysed queries.  What any
 * derived query may be is derived_query.c's business.
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate_query.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "derived_query.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "partial.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* What the walks over a query know. */
typedef struct Walk
{
	WeirAggregateQuery *aggregate;
	int			first_column;
} Walk;

/* Raises an error about a construct. */
static void
refuse(const Walk *walk, const char *construct, const char *hint)
{
	weir_derived_refuse(walk->aggregate->name, construct, hint);
}

/* Checks what any derived query may be, and refuses clauses that belong to the reading of results or to other kinds. */
static Index
check_query(const char *name, Query *query, Oid source)
{
	const WeirDerivedClause clauses[] = {
		{query->setOperations != NULL, "a set operation", "Make an aggregate for each part, and a view over them."},
		{query->hasWindowFuncs, "a window function", "Use window functions on reading."},
		{query->distinctClause != NIL, "a DISTINCT", "Use GROUP BY."},
		{query->groupingSets != NIL, "grouping sets", "Make an aggregate for each set."},
		{query->hasTargetSRFs, "a set-returning function", "Put it into a transform, and aggregate over that."},
		{!query->hasAggs && query->groupClause == NIL, "no aggregate and no GROUP BY", "Use weir.create_transform."},
	};

	return weir_derived_query_check(query, source, name, clauses, lengthof(clauses));
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
weir_aggregate_query_read(Query *query, Oid source, const char *name)
{
	WeirAggregateQuery *aggregate = palloc0(sizeof(WeirAggregateQuery));
	Walk		walk = {.aggregate = aggregate};

	aggregate->name = name;
	aggregate->query = query;
	aggregate->source = check_query(name, query, source);
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
	Walk		walk = {.aggregate = (WeirAggregateQuery *) aggregate, .first_column = first_column};
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
