/*
 * transform_query.c
 *	  The query of a transform: what it may be, and the INSERT made of it.
 *
 *		SELECT s.sensor_id, d.site FROM sensors s JOIN devices d USING (sensor_id)
 *
 * becomes
 *
 *		INSERT INTO t (sensor_id, site, _partition, _offset, ...)
 *		SELECT s.sensor_id, d.site, s._partition, s._offset, ... FROM ...
 *
 * on PostgreSQL's own trees of analysed queries.  PostgreSQL's parser makes the
 * INSERT, with conversions as on assignment and the right to insert.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "derived_query.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "transform_query.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

const char *const weir_place_names[WEIR_PLACE_COLUMNS] = {"_partition", "_offset", "_timestamp", "_watermark"};
const char *const weir_place_types[WEIR_PLACE_COLUMNS] = {"int", "bigint", "timestamptz", "timestamptz"};

static bool
is_place_name(const char *name)
{
	for (int i = 0; i < WEIR_PLACE_COLUMNS; i++)
	{
		if (strcmp(name, weir_place_names[i]) == 0)
			return true;
	}
	return false;
}

/* Refuses columns whose names are taken. */
static void
check_names(const Query *query, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk && is_place_name(entry->resname))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("query of \"%s\" has a column \"%s\"", name, entry->resname),
					 errdetail("A transform adds a column of that name, which says where a row is from."),
					 errhint("Leave it out, or give it another name. Name the columns in place of *.")));
	}
}

/* Checks a query. */
Index
weir_transform_query_check(Query *query, const WeirSource *source, const char *name)
{
	const WeirDerivedClause clauses[] = {
		{query->setOperations != NULL, "a set operation", "Make a transform for each part, and a view over them."},
		{query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL,
		"an aggregate or GROUP BY", "Use weir.create_continuous_aggregate, which may read the table of a transform."},
		{query->distinctClause != NIL, "a DISTINCT", "Rows are made of one event each: use weir.create_upsert to keep one row per key."},
		{query->hasWindowFuncs, "a window function", "Use window functions on reading."},
	};
	Index		position = weir_derived_query_check(query, source->relid, name, clauses, lengthof(clauses));

	check_names(query, name);
	return position;
}

/* Returns the query's column that is the source's event time. */
const char *
weir_transform_query_time(Query *query, Index position, const WeirSource *source)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);
		const Var  *var = (const Var *) weir_flatten_join_alias_vars(query, (Node *) copyObject(entry->expr));

		if (!entry->resjunk && IsA(var, Var) && var->varno == position && var->varlevelsup == 0 &&
			var->varattno == source->columns.event_time)
			return entry->resname;
	}
	return NULL;
}

/* Returns a column of the source. */
static Var *
column_of_source(Index position, const WeirSource *source, WeirPlaceColumn column)
{
	switch (column)
	{
		case WEIR_PLACE_PARTITION:
			return makeVar(position, source->columns.partition, INT4OID, -1, InvalidOid, 0);
		case WEIR_PLACE_OFFSET:
			return makeVar(position, source->columns.offset, INT8OID, -1, InvalidOid, 0);
		case WEIR_PLACE_TIMESTAMP:
			return makeVar(position, source->columns.kafka_time, TIMESTAMPTZOID, -1, InvalidOid, 0);
		default:
			return makeVar(position, source->columns.watermark, TIMESTAMPTZOID, -1, InvalidOid, 0);
	}
}

/* Adds the columns that say where a row is from. */
void
weir_transform_query_place(Query *query, Index position, const WeirSource *source, Oid target)
{
	for (int i = 0; i < WEIR_PLACE_COLUMNS; i++)
	{
		if (get_attnum(target, weir_place_names[i]) != InvalidAttrNumber)
			query->targetList = lappend(query->targetList,
										makeTargetEntry((Expr *) column_of_source(position, source, i),
														list_length(query->targetList) + 1,
														pstrdup(weir_place_names[i]), false));
	}
}

/* Raises an error if a column of the target cannot take one of the query. */
static void
check_column(const TargetEntry *entry, Oid target, const char *name)
{
	AttrNumber	attnum = get_attnum(target, entry->resname);
	Oid			type = exprType((Node *) entry->expr);
	Oid			wanted;
	int32		typmod;
	Oid			collation;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"", get_rel_name(target), entry->resname),
				 errdetail("The query of \"%s\" gives a column of that name.", name),
				 errhint("Columns are matched by name: use AS in the query, or add the column to the table.")));
	get_atttypetypmodcoll(target, attnum, &wanted, &typmod, &collation);
	if (!can_coerce_type(1, &type, &wanted, COERCION_ASSIGNMENT))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is of type %s but the query of \"%s\" gives %s",
						entry->resname, get_rel_name(target), format_type_be(wanted), name, format_type_be(type)),
				 errhint("Use a cast in the query.")));
}

/* Raises an error if the target cannot take the columns of a query. */
void
weir_transform_query_fits(const Query *query, Oid target, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
		check_column(lfirst_node(TargetEntry, cell), target, name);
}

/* Returns the text of an INSERT with the columns of a query, and NULLs for those that the view does not have. */
static char *
insert_text(const Query *query, Oid target, Oid view)
{
	StringInfoData columns;
	StringInfoData values;
	ListCell   *cell;

	initStringInfo(&columns);
	initStringInfo(&values);
	foreach(cell, query->targetList)
	{
		const TargetEntry *entry = lfirst(cell);
		const char *comma = columns.len > 0 ? ", " : "";

		appendStringInfo(&columns, "%s%s", comma, quote_identifier(entry->resname));
		if (is_place_name(entry->resname))
			appendStringInfo(&values, "%sNULL::%s", comma, format_type_be_qualified(exprType((Node *) entry->expr)));
		else
			appendStringInfo(&values, "%sq.%s", comma, quote_identifier(entry->resname));
	}
	return psprintf("INSERT INTO %s (%s) SELECT %s FROM %s q",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(target)), get_rel_name(target)),
					columns.data, values.data,
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)), get_rel_name(view)));
}

/* Returns INSERT INTO target of what the query gives. */
Query *
weir_transform_query_insert(Query *query, Oid target, Oid view)
{
	char	   *sql = insert_text(query, target, view);
	Query	   *insert = parse_analyze_fixedparams(linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT)),
												   sql, NULL, 0, NULL);

	Assert(rt_fetch(2, insert->rtable)->rtekind == RTE_SUBQUERY);
	rt_fetch(2, insert->rtable)->subquery = query;
	return insert;
}
