/*
 * aggregate_define.c
 *	  The relations of a continuous aggregate, made.
 *
 *		view          what users read: finish UNION ALL results
 *		  results     table of closed windows, beside the view
 *		  finish      view: the query's columns over states
 *		    states    foreign table: the groups of open windows, finished
 *		      store   table: what those are made of
 *		query         view: the user's query; a trigger of the stream runs it
 *
 * A view keeps the query as PostgreSQL has analysed it: it follows renamed
 * tables and columns, holds on to what it needs, and is dumped as text.  All
 * but view and results are in weir_internal.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "aggregate_define.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "commands/defrem.h"
#include "commands/view.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#define INTERNAL "weir_internal"

/* Runs a statement with the superuser's rights. */
static void
run(const char *sql)
{
	WeirCatalogSession session;
	int			rc;

	weir_catalog_enter(&session);
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	weir_catalog_leave(&session);
	CommandCounterIncrement();
}

/* Returns the OID of a relation that was just made. */
static Oid
relation_named(const char *schema, const char *name)
{
	return get_relname_relid(name, get_namespace_oid(schema, false));
}

/* Returns a name of weir_internal. */
static char *
internal_name(const WeirAggregatePlace *place, const char *kind)
{
	return psprintf("aggregate_" INT64_FORMAT "_%s", place->number, kind);
}

static char *
qualified(const char *schema, const char *name)
{
	return quote_qualified_identifier(schema, name);
}

/* Gives a relation to the owner. */
static void
give(const WeirAggregatePlace *place, const char *kind, const char *schema, const char *name)
{
	run(psprintf("ALTER %s %s OWNER TO %s", kind, qualified(schema, name),
				 quote_identifier(GetUserNameFromId(place->owner, false))));
}

/* Makes a view of the user's query, and puts it away. */
Oid
weir_define_query(const WeirAggregatePlace *place, const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_DEFAULT);
	ViewStmt   *stmt = makeNode(ViewStmt);
	RawStmt    *raw;
	char	   *name = internal_name(place, "query");
	Oid			view;

	if (list_length(statements) != 1 || !IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("query of \"%s\" must be one SELECT", place->name)));
	raw = linitial(statements);
	stmt->view = makeRangeVar(pstrdup(place->schema), name, -1);
	stmt->query = raw->stmt;
	view = DefineView(stmt, text, raw->stmt_location, raw->stmt_len).objectId;
	CommandCounterIncrement();
	run(psprintf("ALTER VIEW %s SET SCHEMA " INTERNAL, qualified(place->schema, name)));
	give(place, "VIEW", INTERNAL, name);
	return view;
}

/* Returns a collation's name, qualified and quoted. */
static char *
collation_name(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = qualified(get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
	return name;
}

/* Appends a column definition. */
static void
add_column(StringInfo sql, const char *name, Oid type, int32 typmod, Oid collation)
{
	appendStringInfo(sql, ", %s %s", name, format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation) && collation != get_typcollation(type))
		appendStringInfo(sql, " COLLATE %s", collation_name(collation));
}

/* Makes the states table. */
static Oid
define_states(const WeirAggregatePlace *place, const WeirAggregateQuery *query)
{
	char	   *name = internal_name(place, "states");
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE FOREIGN TABLE " INTERNAL ".%s (window_start timestamptz, window_end timestamptz,"
					 " is_final boolean, _key bytea, _error jsonb", name);
	foreach(cell, query->keys)
	{
		Node	   *expr = (Node *) ((TargetEntry *) lfirst(cell))->expr;

		add_column(&sql, psprintf("k%d", foreach_current_index(cell) + 1),
				   exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
	foreach(cell, query->aggrefs)
	{
		Node	   *expr = lfirst(cell);

		add_column(&sql, psprintf("a%d", foreach_current_index(cell) + 1),
				   exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
	appendStringInfoString(&sql, ") SERVER weir_states");
	run(sql.data);
	give(place, "FOREIGN TABLE", INTERNAL, name);
	return relation_named(INTERNAL, name);
}

/* Makes the store. */
static Oid
define_store(const WeirAggregatePlace *place)
{
	char	   *name = internal_name(place, "store");

	run(psprintf("CREATE TABLE " INTERNAL ".%s (lane int NOT NULL, run bigint NOT NULL, first bytea NOT NULL,"
				 " page int NOT NULL, runs bytea, entries bytea NOT NULL)", name));
	/* packed already */
	run(psprintf("ALTER TABLE " INTERNAL ".%s ALTER COLUMN entries SET STORAGE EXTERNAL", name));
	run(psprintf("CREATE UNIQUE INDEX ON " INTERNAL ".%s (lane, run, first, page)", name));
	return relation_named(INTERNAL, name);
}

/* Makes the view that puts the query's columns over the states. */
static Oid
define_finish(const WeirAggregatePlace *place, const WeirAggregateQuery *query, Oid states)
{
	char	   *name = internal_name(place, "finish");
	Query	   *finish = weir_aggregate_query_finish(query, states, WEIR_STATES_FIRST);
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	char	   *text;

	weir_catalog_enter(&session);
	text = MemoryContextStrdup(context, pg_get_querydef(finish, false));
	weir_catalog_leave(&session);
	run(psprintf("CREATE VIEW " INTERNAL ".%s AS %s", name, text));
	give(place, "VIEW", INTERNAL, name);
	return relation_named(INTERNAL, name);
}

/* Returns the names of the query's columns, each after a comma. */
static char *
query_columns(const WeirAggregateQuery *query)
{
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, query->query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		if (!entry->resjunk)
			appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(entry->resname));
	}
	return columns.data;
}

/* Makes the table of closed windows. */
static Oid
define_results(const WeirAggregatePlace *place, const char *columns)
{
	char	   *name = makeObjectName(place->name, NULL, "results");

	if (OidIsValid(relation_named(place->schema, name)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name),
				 errdetail("The results of continuous aggregate \"%s\" are kept in a table of that name.", place->name),
				 errhint("Rename the other one, or choose another name for the aggregate.")));
	run(psprintf("CREATE TABLE %s AS SELECT window_start, window_end, %s, _key, _having, _error FROM " INTERNAL ".%s WITH NO DATA",
				 qualified(place->schema, name), columns, internal_name(place, "finish")));
	run(psprintf("ALTER TABLE %s ADD PRIMARY KEY (window_start, _key)", qualified(place->schema, name)));
	run(psprintf("CREATE INDEX ON %s (window_start) WHERE _error IS NOT NULL", qualified(place->schema, name)));
	give(place, "TABLE", place->schema, name);
	return relation_named(place->schema, name);
}

/* Makes the view that users read. */
static Oid
define_view(const WeirAggregatePlace *place, const char *columns, Oid results)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE VIEW %s AS SELECT %s%s%s FROM " INTERNAL ".%s WHERE _having IS NOT FALSE",
					 qualified(place->schema, place->name), OidIsValid(results) ? "window_start, window_end, " : "",
					 columns, OidIsValid(results) ? ", is_final" : "", internal_name(place, "finish"));
	if (OidIsValid(results))
		appendStringInfo(&sql, " UNION ALL SELECT window_start, window_end, %s, true FROM %s WHERE _having IS NOT FALSE",
						 columns, qualified(place->schema, get_rel_name(results)));
	run(sql.data);
	give(place, "VIEW", place->schema, place->name);
	return relation_named(place->schema, place->name);
}

/* Makes the trigger that takes batches. */
static char *
define_trigger(const WeirAggregatePlace *place, Oid stream)
{
	char	   *name = psprintf("weir_aggregate_" INT64_FORMAT, place->number);
	char	   *table = qualified(get_namespace_name(get_rel_namespace(stream)), get_rel_name(stream));

	run(psprintf("CREATE TRIGGER %s AFTER INSERT ON %s REFERENCING NEW TABLE AS weir_new"
				 " FOR EACH STATEMENT EXECUTE FUNCTION " INTERNAL ".aggregate_batch()", name, table));
	run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, name));
	return name;
}

/* Makes all the rest. */
void
weir_define_relations(const WeirAggregatePlace *place, const WeirAggregateQuery *query, WeirAggregateRow *row)
{
	char	   *columns = query_columns(query);

	row->states = define_states(place, query);
	row->store = define_store(place);
	row->finish = define_finish(place, query, row->states);
	row->results = row->window.kind == WEIR_WINDOW_NONE ? InvalidOid : define_results(place, columns);
	row->view = define_view(place, columns, row->results);
	row->trigger_name = define_trigger(place, row->stream);
}
