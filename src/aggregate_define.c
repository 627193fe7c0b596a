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

#include "aggregate_define.h"
#include "catalog.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#define INTERNAL "weir_internal"

static char *
qualified(const char *schema, const char *name)
{
	return quote_qualified_identifier(schema, name);
}

/* Makes the states table. */
static Oid
define_states(const WeirPlace *place, const WeirAggregateQuery *query)
{
	char	   *name = weir_define_internal_name(place, "states");
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE FOREIGN TABLE " INTERNAL ".%s (window_start timestamptz, window_end timestamptz,"
					 " is_final boolean, _key bytea, _error jsonb", name);
	foreach(cell, query->keys)
	{
		Node	   *expr = (Node *) ((TargetEntry *) lfirst(cell))->expr;

		weir_define_add_column(&sql, psprintf("k%d", foreach_current_index(cell) + 1),
				   exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
	foreach(cell, query->aggrefs)
	{
		Node	   *expr = lfirst(cell);

		weir_define_add_column(&sql, psprintf("a%d", foreach_current_index(cell) + 1),
				   exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
	appendStringInfoString(&sql, ") SERVER weir_states");
	weir_define_run(sql.data);
	return weir_define_give(place, "FOREIGN TABLE", INTERNAL, name);
}

/* Makes the store. */
static Oid
define_store(const WeirPlace *place)
{
	char	   *name = weir_define_internal_name(place, "store");

	weir_define_run(psprintf("CREATE TABLE " INTERNAL ".%s (lane int NOT NULL, run bigint NOT NULL, first bytea NOT NULL,"
				 " page int NOT NULL, runs bytea, entries bytea NOT NULL)", name));
	/* packed already */
	weir_define_run(psprintf("ALTER TABLE " INTERNAL ".%s ALTER COLUMN entries SET STORAGE EXTERNAL", name));
	weir_define_run(psprintf("CREATE UNIQUE INDEX ON " INTERNAL ".%s (lane, run, first, page)", name));
	return weir_define_named(INTERNAL, name);
}

/* Makes the view that puts the query's columns over the states. */
static Oid
define_finish(const WeirPlace *place, const WeirAggregateQuery *query, Oid states)
{
	Query	   *finish = weir_aggregate_query_finish(query, states, WEIR_STATES_FIRST);
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	char	   *text;

	weir_catalog_enter(&session);
	text = MemoryContextStrdup(context, pg_get_querydef(finish, false));
	weir_catalog_leave(&session);
	return weir_define_view(place, "finish", text);
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
define_results(const WeirPlace *place, const char *columns)
{
	char	   *name = makeObjectName(place->name, NULL, "results");

	if (OidIsValid(weir_define_named(place->schema, name)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name),
				 errdetail("The results of continuous aggregate \"%s\" are kept in a table of that name.", place->name),
				 errhint("Rename the other one, or choose another name for the aggregate.")));
	weir_define_run(psprintf("CREATE TABLE %s AS SELECT window_start, window_end, %s, _key, _having, _error FROM " INTERNAL ".%s WITH NO DATA",
				 qualified(place->schema, name), columns, weir_define_internal_name(place, "finish")));
	weir_define_run(psprintf("ALTER TABLE %s ADD PRIMARY KEY (window_start, _key)", qualified(place->schema, name)));
	weir_define_run(psprintf("CREATE INDEX ON %s (window_start) WHERE _error IS NOT NULL", qualified(place->schema, name)));
	return weir_define_give(place, "TABLE", place->schema, name);
}

/* Makes the view that users read. */
static Oid
define_view(const WeirPlace *place, const char *columns, Oid results)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE VIEW %s AS SELECT %s%s%s FROM " INTERNAL ".%s WHERE _having IS NOT FALSE",
					 qualified(place->schema, place->name), OidIsValid(results) ? "window_start, window_end, " : "",
					 columns, OidIsValid(results) ? ", is_final" : "", weir_define_internal_name(place, "finish"));
	if (OidIsValid(results))
		appendStringInfo(&sql, " UNION ALL SELECT window_start, window_end, %s, true FROM %s WHERE _having IS NOT FALSE",
						 columns, qualified(place->schema, get_rel_name(results)));
	weir_define_run(sql.data);
	return weir_define_give(place, "VIEW", place->schema, place->name);
}

/* Makes all the rest. */
void
weir_define_relations(const WeirPlace *place, const WeirAggregateQuery *query, WeirAggregateRow *row)
{
	char	   *columns = query_columns(query);

	row->states = define_states(place, query);
	row->store = define_store(place);
	row->finish = define_finish(place, query, row->states);
	row->results = row->window.kind == WEIR_WINDOW_NONE ? InvalidOid : define_results(place, columns);
	row->view = define_view(place, columns, row->results);
	row->trigger_name = weir_define_trigger(place, row->source, "aggregate_batch");
}
