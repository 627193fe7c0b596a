/*
 * derived_query.c
 *	  What the query of a derived object may be, whatever its kind.
 *
 * The source, a stream, stands once in FROM itself, and every row of the query
 * comes of one of its rows; the same rows give the same again.  What each kind
 * asks besides is in a file of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "derived_query.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "steady.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* What the walks over a query know. */
typedef struct Walk
{
	Query	   *query;			/* NULL: within a view */
	Oid			relid;			/* the source */
	Index		source;			/* where it stands in FROM; 0: not found */
	const char *name;			/* the derived object */
	int			found;			/* how often the source was met */
	bool		nullable;		/* on an outer join's nullable side */
	struct Walk *outermost;		/* of the query, within its views */
} Walk;

/* Raises an error about a construct. */
void
weir_derived_refuse(const char *name, const char *construct, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("query of \"%s\" cannot be maintained incrementally", name),
			 errdetail("It has %s.", construct),
			 hint ? errhint("%s", hint) : 0));
}

static void
refuse(const Walk *walk, const char *construct, const char *hint)
{
	weir_derived_refuse(walk->name, construct, hint);
}

/* Refuses the first clause that is there. */
static void
refuse_clauses(const char *name, const WeirDerivedClause *clauses, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (clauses[i].there)
			weir_derived_refuse(name, clauses[i].construct, clauses[i].hint);
	}
}

/* Refuses clauses that fit no kind. */
static void
check_clauses(const char *name, const Query *query)
{
	const WeirDerivedClause clauses[] = {
		{query->commandType != CMD_SELECT || query->hasModifyingCTE, "a command that changes data", "Write a SELECT."},
		{query->limitCount != NULL || query->limitOffset != NULL, "a LIMIT or OFFSET", "Use LIMIT on reading."},
		{query->sortClause != NIL, "an ORDER BY", "Use ORDER BY on reading."},
		{query->rowMarks != NIL, "a locking clause", NULL},
		{query->hasRecursive, "a recursive query", NULL},
	};

	refuse_clauses(name, clauses, lengthof(clauses));
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
			if (walk->query != NULL)
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
		RangeTblEntry *rte = rt_fetch(index, walk->query->rtable);

		if (rte->rtekind != RTE_RELATION || rte->relid != walk->relid)
			return;
		walk->source = index;
		walk->nullable = nullable;
	}
}

/* Finds where the stream stands: once, in FROM, in every row. */
static void
locate_stream(Walk *walk)
{
	(void) find_stream((Node *) walk->query, walk);
	find_in_from((Node *) walk->query->jointree, false, walk);
	if (walk->found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("query of \"%s\" reads no stream", walk->name),
				 errhint("Name a stream in FROM.")));
	if (walk->found > 1)
		refuse(walk, "the stream more than once", "A batch can be joined with tables, not with the rest of its stream.");
	if (walk->source == 0)
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
	List	   *vars = pull_vars_of_level((Node *) walk->query->targetList, 0);
	ListCell   *cell;

	vars = list_concat(vars, pull_vars_of_level((Node *) walk->query->jointree, 0));
	vars = list_concat(vars, pull_vars_of_level(walk->query->havingQual, 0));
	foreach(cell, vars)
	{
		Var		   *var = lfirst(cell);

		if (IsA(var, Var) && var->varno == walk->source && var->varattno < 0)
			refuse(walk, "a system column of the stream", "Use _partition and _offset.");
	}
	if (rt_fetch(walk->source, walk->query->rtable)->tablesample != NULL)
		refuse(walk, "a TABLESAMPLE of the stream", NULL);
}

/* Checks what holds for all kinds. */
Index
weir_derived_query_check(Query *query, Oid source, const char *name, const WeirDerivedClause *clauses, int n)
{
	Walk		walk = {.query = query, .relid = source, .name = name};

	check_clauses(name, query);
	refuse_clauses(name, clauses, n);
	locate_stream(&walk);
	(void) query_tree_walker(query, check_expressions, &walk, 0);
	check_stream_use(&walk);
	return walk.source;
}
