/*
 * derived_define.c
 *	  What the making of relations of derived objects has in common.
 *
 * The user's query is kept as a view in weir_internal: a view keeps it as
 * PostgreSQL has analysed it, follows renamed tables and columns, holds on to
 * what it needs, and is dumped as text.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog_aggregate.h"
#include "commands/tablecmds.h"
#include "commands/view.h"
#include "compat.h"
#include "derived_define.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define INTERNAL "weir_internal"

/* Runs a statement with the superuser's rights. */
void
weir_define_run(const char *sql)
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

/* Returns a relation's OID. */
Oid
weir_define_named(const char *schema, const char *name)
{
	return get_relname_relid(name, get_namespace_oid(schema, false));
}

/* Returns a name of weir_internal. */
char *
weir_define_internal_name(const WeirPlace *place, const char *part)
{
	return psprintf("%s_" INT64_FORMAT "_%s", place->kind, place->number, part);
}

static char *
qualified(const char *schema, const char *name)
{
	return quote_qualified_identifier(schema, name);
}

/* Gives a relation to the owner. */
Oid
weir_define_give(const WeirPlace *place, const char *kind, const char *schema, const char *name)
{
	weir_define_run(psprintf("ALTER %s %s OWNER TO %s", kind, qualified(schema, name),
				 quote_identifier(GetUserNameFromId(place->owner, false))));
	return weir_define_named(schema, name);
}

/* Says where an object of this name is to be made. */
void
weir_define_place(WeirPlace *place, const char *kind, const char *label, text *name)
{
	RangeVar   *range = makeRangeVarFromNameList(textToQualifiedNameList(name));
	Oid			namespace = RangeVarGetCreationNamespace(range);

	if (isTempNamespace(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("%s \"%s\" cannot be temporary", label, range->relname)));
	memset(place, 0, sizeof(*place));
	place->kind = kind;
	place->label = label;
	place->schema = get_namespace_name(namespace);
	place->name = range->relname;
	place->owner = GetUserId();
}

/* Handles a name that is taken. */
bool
weir_define_exists(const WeirPlace *place, bool alike)
{
	if (!OidIsValid(weir_define_named(place->schema, place->name)))
		return false;
	if (!alike)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", place->name)));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("%s \"%s\" already exists, skipping", place->label, place->name)));
	return true;
}

/* Makes a view of a query, with the user's own rights, and puts it away. */
static Oid
define_view(const WeirPlace *place, const char *part, const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_DEFAULT);
	ViewStmt   *stmt = makeNode(ViewStmt);
	RawStmt    *raw;
	char	   *name = weir_define_internal_name(place, part);
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
	weir_define_run(psprintf("ALTER VIEW %s SET SCHEMA " INTERNAL, qualified(place->schema, name)));
	(void) weir_define_give(place, "VIEW", INTERNAL, name);
	return view;
}

/* Makes a view of what has become of the user's query. */
Oid
weir_define_view(const WeirPlace *place, const char *part, const char *text)
{
	int			level = NewGUCNestLevel();
	Oid			view;

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	view = define_view(place, part, text);
	AtEOXact_GUC(false, level);
	return view;
}

/* Returns the query of such a view. */
Query *
weir_define_query_of(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));

	weir_flatten_groups(query);
	table_close(rel, NoLock);
	return query;
}

/* Begins with a derived object: its query is kept, its source found. */
Query *
weir_define_begin(WeirPlace *place, const char *text, Oid *view, WeirSource **source)
{
	Query	   *query;

	place->number = weir_catalog_next_derived();
	*view = define_view(place, "query", text);
	query = weir_define_query_of(*view);
	*source = weir_source_of_query(query, place->name);
	/* batches run as the stream's owner */
	place->owner = weir_relation_owner((*source)->stream);
	if (place->owner != GetUserId())
		ATExecChangeOwner(*view, place->owner, true, AccessExclusiveLock);
	weir_fence_exclusive((*source)->stream);
	return query;
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
void
weir_define_add_column(StringInfo sql, const char *name, Oid type, int32 typmod, Oid collation)
{
	appendStringInfo(sql, ", %s %s", name, format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation) && collation != get_typcollation(type))
		appendStringInfo(sql, " COLLATE %s", collation_name(collation));
}

/* Makes the trigger that takes batches. */
char *
weir_define_trigger(const WeirPlace *place, Oid source, const char *function)
{
	char	   *name = psprintf("weir_%s_" INT64_FORMAT, place->kind, place->number);
	char	   *table = qualified(get_namespace_name(get_rel_namespace(source)), get_rel_name(source));

	weir_define_run(psprintf("CREATE TRIGGER %s AFTER INSERT ON %s REFERENCING NEW TABLE AS weir_new"
				 " FOR EACH STATEMENT EXECUTE FUNCTION " INTERNAL ".%s()", name, table, function));
	weir_define_run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, name));
	return name;
}

/* Raises an error if a table, or a partition of it, is not logged: PostgreSQL empties it after a crash. */
void
weir_define_check_logged(Oid relid)
{
	bool		is_partitioned = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;
	ListCell   *cell;

	foreach(cell, is_partitioned ? find_all_inheritors(relid, AccessShareLock, NULL) : list_make1_oid(relid))
	{
		if (get_rel_persistence(lfirst_oid(cell)) != RELPERSISTENCE_PERMANENT)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("table \"%s\" is not logged", get_rel_name(lfirst_oid(cell))),
					 errdetail("A crash would empty it, and the stream would go on."),
					 errhint("ALTER TABLE %s SET LOGGED.", weir_relation_name(lfirst_oid(cell)))));
	}
}
