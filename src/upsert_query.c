/*
 * upsert_query.c
 *	  The query of an upsert: what it may be, and the columns that are added
 *	  to it.
 *
 *		SELECT sensor, temp FROM s WHERE temp > 0		-- delete_when: temp > 99
 *
 * becomes
 *
 *		SELECT sensor, temp, COALESCE(ts, _timestamp) AS _weir_order, _partition AS _weir_partition,
 *			_offset AS _weir_offset, COALESCE(temp > 99, false) OR _tombstone AS _weir_deleted,
 *			_watermark AS _weir_watermark
 *		FROM s WHERE temp > 0 OR _tombstone
 *
 * so that batches and weir.verify run the very same text.  A tombstone has no
 * values that WHERE could judge: it passes, and deletes its key.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "compat.h"
#include "derived_query.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "upsert_query.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

const char *const weir_upsert_column_names[WEIR_UPSERT_COLUMNS] = {
	[WEIR_UPSERT_ORDER] = "_weir_order",
	[WEIR_UPSERT_PARTITION] = "_weir_partition",
	[WEIR_UPSERT_OFFSET] = "_weir_offset",
	[WEIR_UPSERT_DELETED] = "_weir_deleted",
	[WEIR_UPSERT_WATERMARK] = "_weir_watermark"
};

/* Checks a query. */
Index
weir_upsert_query_check(Query *query, Oid source, const char *name)
{
	const WeirDerivedClause clauses[] = {
		{query->hasAggs || query->groupClause != NIL || query->havingQual != NULL || query->groupingSets != NIL,
		"an aggregate or GROUP BY", "Use weir.create_continuous_aggregate."},
		{query->distinctClause != NIL, "a DISTINCT", "The key says which rows are one: the latest stays."},
		{query->setOperations != NULL, "a set operation", "Make an upsert for each part, and a view over them."},
		{query->hasWindowFuncs, "a window function", "Use window functions on reading."},
		{query->hasTargetSRFs, "a set-returning function in SELECT", "Call it in FROM, with LATERAL."},
	};

	return weir_derived_query_check(query, source, name, clauses, lengthof(clauses));
}

/* Do events of a source delete by having no value? */
bool
weir_upsert_has_tombstones(const WeirSource *source)
{
	return get_attnum(source->relid, "_tombstone") != InvalidAttrNumber;
}

/* Returns a column of a query. */
TargetEntry *
weir_upsert_query_column(const Query *query, const char *column, const char *parameter, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk && strcmp(entry->resname, column) == 0)
			return entry;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("parameter \"%s\" names \"%s\", which is no column of the query of \"%s\"", parameter, column, name)));
}

/* Returns where a relation stands in FROM. */
static Index
find_source(const Query *query, Oid relid)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		if (rte->rtekind == RTE_RELATION && rte->relid == relid)
			return foreach_current_index(cell) + 1;
	}
	return 0;
}

/* Is an expression nothing but a column of the source?  A column of a join stands for one of a table. */
static bool
is_source_column(Query *query, const WeirSource *source, Expr *expr, AttrNumber column)
{
	Var		   *var = (Var *) weir_flatten_join_alias_vars(query, (Node *) expr);

	return IsA(var, Var) && var->varlevelsup == 0 && var->varno == find_source(query, source->relid) &&
		var->varattno == column;
}

/* Is what is ordered by nothing but the event time? */
bool
weir_upsert_by_event_time(const Query *query, const WeirSource *source, const char *order_by)
{
	ListCell   *cell;

	if (order_by == NULL)
		return true;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk && strcmp(entry->resname, order_by) == 0)
			return is_source_column((Query *) query, source, entry->expr, source->columns.event_time);
	}
	return false;
}

/* Is a column of the source part of the key? */
bool
weir_upsert_key_has(Query *query, const WeirSource *source, List *key, const char *column)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk && list_member(key, makeString(entry->resname)) &&
			is_source_column(query, source, entry->expr, get_attnum(source->relid, column)))
			return true;
	}
	return false;
}

/* Returns a column of the source. */
static Expr *
source_column(const Query *query, Index source, AttrNumber number)
{
	RangeTblEntry *rte = rt_fetch(source, query->rtable);

	return (Expr *) makeVar(source, number, get_atttype(rte->relid, number), -1, InvalidOid, 0);
}

/* Returns the first of these that is not null. */
static Expr *
first_of(Expr *first, Expr *second)
{
	CoalesceExpr *coalesce = makeNode(CoalesceExpr);

	coalesce->coalescetype = exprType((Node *) first);
	coalesce->coalescecollid = exprCollation((Node *) first);
	coalesce->args = list_make2(first, second);
	coalesce->location = -1;
	return (Expr *) coalesce;
}

/* Returns what orders the events of a key. */
static Expr *
order_column(const Query *query, Index source, const WeirUpsertSpec *spec)
{
	const WeirEventColumns *columns = &spec->source->columns;

	if (!weir_upsert_by_event_time(query, spec->source, spec->order_by))
		return copyObject(weir_upsert_query_column(query, spec->order_by, "order_by", spec->name)->expr);
	if (columns->event_time == columns->kafka_time)
		return source_column(query, source, columns->event_time);
	/* a tombstone has no columns: Kafka's time is its time */
	return first_of(source_column(query, source, columns->event_time),
					source_column(query, source, columns->kafka_time));
}

/* Puts the query's expressions in the place of its columns. */
static Node *
replace_columns(Node *node, void *query)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return copyObject((Node *) get_tle_by_resno(((Query *) query)->targetList, ((Var *) node)->varattno)->expr);
	return expression_tree_mutator(node, replace_columns, query);
}

/* Returns the raw tree of an expression, and of nothing more. */
static Node *
parse_expression(const char *text)
{
	List	   *parsed = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *stmt = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
	SelectStmt *bare = makeNode(SelectStmt);

	bare->targetList = stmt->targetList;
	bare->limitOption = stmt->limitOption;
	if (!equal(stmt, bare) || list_length(stmt->targetList) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("parameter \"delete_when\" must be one expression")));
	return linitial_node(ResTarget, stmt->targetList)->val;
}

/* Says of an error where in delete_when it is, which is not the statement that the client has sent. */
static void
point_into(void *text)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(text);
}

/* Returns the condition for deletes over what the query reads. */
static Expr *
delete_condition(Query *query, const char *text)
{
	ErrorContextCallback callback = {error_context_stack, point_into, (void *) text};
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item = addRangeTableEntryForSubquery(pstate, copyObject(query), makeAlias("query", NIL), false, true);
	Node	   *expr;

	error_context_stack = &callback;
	pstate->p_sourcetext = text;
	addNSItemToQuery(pstate, item, false, false, true);
	expr = transformExpr(pstate, parse_expression(text), EXPR_KIND_WHERE);
	expr = coerce_to_boolean(pstate, expr, "delete_when");
	assign_expr_collations(pstate, expr);
	if (pstate->p_hasSubLinks)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("parameter \"delete_when\" cannot have a subquery"),
				 errhint("Join with the table in the query.")));
	free_parsestate(pstate);
	error_context_stack = callback.previous;
	return (Expr *) replace_columns(expr, query);
}

/* Returns whether an event deletes; a tombstone does, and passes WHERE. */
static Expr *
deleted_column(Query *query, Index source, const WeirUpsertSpec *spec)
{
	Expr	   *condition = (Expr *) makeBoolConst(false, false);
	Expr	   *tombstone;

	if (spec->delete_when != NULL)
		condition = first_of(delete_condition(query, spec->delete_when), condition);
	if (!weir_upsert_has_tombstones(spec->source))
		return condition;
	tombstone = source_column(query, source, get_attnum(spec->source->relid, "_tombstone"));
	if (query->jointree->quals != NULL)
		query->jointree->quals = (Node *) makeBoolExpr(OR_EXPR, list_make2(query->jointree->quals, copyObject(tombstone)), -1);
	return spec->delete_when == NULL ? tombstone : makeBoolExpr(OR_EXPR, list_make2(condition, tombstone), -1);
}

/* Raises the error of a column that the user's table does not have, or not so. */
static void
refuse_column(const WeirUpsertSpec *spec, const TargetEntry *entry, const Form_pg_attribute att)
{
	ereport(ERROR,
			(errcode(att == NULL ? ERRCODE_UNDEFINED_COLUMN : ERRCODE_DATATYPE_MISMATCH),
			 att == NULL ?
			 errmsg("table that \"%s\" writes into has no column \"%s\"", spec->name, entry->resname) :
			 att->attgenerated != '\0' || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ?
			 errmsg("column \"%s\" of the table that \"%s\" writes into is generated", entry->resname, spec->name) :
			 errmsg("column \"%s\" of the table that \"%s\" writes into is of type %s, but the query gives %s",
					entry->resname, spec->name, format_type_be(att->atttypid), format_type_be(exprType((Node *) entry->expr))),
			 errhint("The query's columns go to those of the same names.")));
}

/* Gives a column of the query the type it has in the user's table. */
static void
assign_type(const WeirUpsertSpec *spec, TargetEntry *entry)
{
	Form_pg_attribute att = NULL;
	Node	   *expr;

	for (int i = 0; i < spec->target->natts && att == NULL; i++)
	{
		if (!TupleDescAttr(spec->target, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(spec->target, i)->attname), entry->resname) == 0)
			att = TupleDescAttr(spec->target, i);
	}
	if (att == NULL || att->attgenerated != '\0' || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
		refuse_column(spec, entry, att);
	expr = coerce_to_target_type(NULL, (Node *) entry->expr, exprType((Node *) entry->expr), att->atttypid, att->atttypmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (expr == NULL)
		refuse_column(spec, entry, att);
	entry->expr = (Expr *) expr;
}

/* Adds a column. */
static void
add_column(Query *query, WeirUpsertColumn column, Expr *expr)
{
	query->targetList = lappend(query->targetList,
								makeTargetEntry(expr, list_length(query->targetList) + 1,
												pstrdup(weir_upsert_column_names[column]), false));
}

/* Refuses names of our own. */
static void
check_names(const Query *query, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		if (strncmp(lfirst_node(TargetEntry, cell)->resname, "_weir_", 6) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("column \"%s\" of the query of \"%s\" has a name that is reserved",
							lfirst_node(TargetEntry, cell)->resname, name)));
	}
}

/* Returns a query as text in which every name is qualified. */
static char *
deparse(Query *query)
{
	int			level = NewGUCNestLevel();
	char	   *text;

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	text = pg_get_querydef(query, false);
	AtEOXact_GUC(false, level);
	return text;
}

/* Checks a query, and returns it with the columns added. */
char *
weir_upsert_query_extend(Query *query, const WeirUpsertSpec *spec)
{
	Index		source = weir_upsert_query_check(query, spec->source->relid, spec->name);
	const WeirEventColumns *columns = &spec->source->columns;
	Expr	   *order;
	Expr	   *deleted;
	ListCell   *cell;

	check_names(query, spec->name);
	/* by what the query says, not by what becomes of it in the user's table */
	order = order_column(query, source, spec);
	deleted = deleted_column(query, source, spec);
	foreach(cell, query->targetList)
	{
		if (spec->target != NULL)
			assign_type(spec, lfirst(cell));
	}
	add_column(query, WEIR_UPSERT_ORDER, order);
	add_column(query, WEIR_UPSERT_PARTITION, source_column(query, source, columns->partition));
	add_column(query, WEIR_UPSERT_OFFSET, source_column(query, source, columns->offset));
	add_column(query, WEIR_UPSERT_DELETED, deleted);
	add_column(query, WEIR_UPSERT_WATERMARK, source_column(query, source, columns->watermark));
	return deparse(query);
}
