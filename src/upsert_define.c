/*
 * upsert_define.c
 *	  The relations of an upsert, made.
 *
 *		target       the latest row of each key, for users to read
 *		  positions  keys that were deleted, or of a user's table all keys, and
 *		             what they were ordered by
 *		query        view: the user's query, and the columns of upsert_query.c;
 *		             a trigger of the source runs it
 *
 * All but the target are in weir_internal.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "derived_define.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "upsert_define.h"
#include "upsert_merge.h"
#include "upsert_query.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define INTERNAL "weir_internal"

/* Makes the view of the query anew. */
void
weir_upsert_define_query(const WeirPlace *place, const char *text, WeirUpsertRow *row)
{
	weir_define_run(psprintf("DROP VIEW " INTERNAL ".%s", weir_define_internal_name(place, "query")));
	row->query = weir_define_view(place, "query", text);
}

/* Returns the list of the key's columns. */
static char *
key_columns(const WeirUpsertRow *row)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, row->key)
		appendStringInfo(&sql, "%s%s", foreach_current_index(cell) > 0 ? ", " : "", quote_identifier(strVal(lfirst(cell))));
	return sql.data;
}

/* Refuses columns that have the names of ours. */
static void
check_names(const WeirPlace *place, TupleDesc desc, bool order)
{
	for (int i = 0; i < desc->natts - WEIR_UPSERT_COLUMNS; i++)
	{
		const char *column = NameStr(TupleDescAttr(desc, i)->attname);

		if (strcmp(column, WEIR_UPSERT_PARTITION_COLUMN) == 0 || strcmp(column, WEIR_UPSERT_OFFSET_COLUMN) == 0 ||
			(order && strcmp(column, WEIR_UPSERT_ORDER_COLUMN) == 0))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of the query of \"%s\" has a name that is reserved", column, place->name),
					 errdetail("The table keeps by it what the row is ordered by."),
					 errhint("Leave it out: the table has it. Or give it another name.")));
	}
}

/* Makes the table. */
static Oid
define_target(const WeirPlace *place, const WeirUpsertRow *row)
{
	Relation	view = table_open(row->query, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(view);
	char	   *name = quote_qualified_identifier(place->schema, place->name);
	StringInfoData sql;

	check_names(place, desc, row->order_by == NULL);
	initStringInfo(&sql);
	for (int i = 0; i < desc->natts - WEIR_UPSERT_COLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		weir_define_add_column(&sql, quote_identifier(NameStr(att->attname)), att->atttypid, att->atttypmod, att->attcollation);
	}
	if (row->order_by == NULL)
		appendStringInfoString(&sql, ", " WEIR_UPSERT_ORDER_COLUMN " pg_catalog.timestamptz NOT NULL");
	table_close(view, NoLock);
	/* room on each page for new versions of its rows, so that no index need know of them */
	weir_define_run(psprintf("CREATE TABLE %s (%s, " WEIR_UPSERT_PARTITION_COLUMN " pg_catalog.int4 NOT NULL, "
							 WEIR_UPSERT_OFFSET_COLUMN " pg_catalog.int8 NOT NULL, PRIMARY KEY (%s)) WITH (fillfactor = 75)",
							 name, sql.data + 2, key_columns(row)));
	weir_define_run(psprintf("CREATE TRIGGER weir_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s"
							 " FOR EACH STATEMENT EXECUTE FUNCTION " INTERNAL ".guard_upsert()", name));
	return weir_define_give(place, "TABLE", place->schema, place->name);
}

/* Makes the table of positions. */
static Oid
define_positions(const WeirPlace *place, const WeirUpsertRow *row)
{
	Relation	view = table_open(row->query, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(view);
	char	   *name = weir_define_internal_name(place, "positions");
	Form_pg_attribute order = TupleDescAttr(desc, desc->natts - WEIR_UPSERT_COLUMNS + WEIR_UPSERT_ORDER);
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, row->key)
	{
		AttrNumber	column = get_attnum(row->target, strVal(lfirst(cell)));
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(row->target, column, &type, &typmod, &collation);
		weir_define_add_column(&sql, quote_identifier(strVal(lfirst(cell))), type, typmod, collation);
	}
	weir_define_add_column(&sql, WEIR_UPSERT_ORDER_COLUMN, order->atttypid, order->atttypmod, order->attcollation);
	table_close(view, NoLock);
	weir_define_run(psprintf("CREATE TABLE " INTERNAL ".%s (%s NOT NULL, " WEIR_UPSERT_PARTITION_COLUMN " pg_catalog.int4 NOT NULL, "
							 WEIR_UPSERT_OFFSET_COLUMN " pg_catalog.int8 NOT NULL, " WEIR_UPSERT_DELETED_COLUMN
							 " pg_catalog.bool NOT NULL, PRIMARY KEY (%s)) WITH (fillfactor = 75)",
							 name, sql.data + 2, key_columns(row)));
	if (row->tombstone_ttl >= 0)
		weir_define_run(psprintf("CREATE INDEX ON " INTERNAL ".%s (" WEIR_UPSERT_ORDER_COLUMN ") WHERE " WEIR_UPSERT_DELETED_COLUMN, name));
	return weir_define_give(place, "TABLE", INTERNAL, name);
}

/* Makes all the rest. */
void
weir_upsert_define_relations(const WeirPlace *place, bool deletes, WeirUpsertRow *row)
{
	if (row->owns_target)
		row->target = define_target(place, row);
	if (deletes || !row->owns_target)
		row->positions = define_positions(place, row);
	row->trigger_name = weir_define_trigger(place, row->source, "upsert_batch");
}

/* Is an index on exactly the key of a table, and says of each row whether it is unique at once? */
static bool
is_on_key(Oid indexid, Oid table, List *key)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);
	bool		matches = form->indisunique && form->indimmediate && form->indisvalid &&
		heap_attisnull(tuple, Anum_pg_index_indexprs, NULL) && heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
		form->indnkeyatts == list_length(key);
	ListCell   *cell;

	foreach(cell, key)
	{
		AttrNumber	column = get_attnum(table, strVal(lfirst(cell)));
		bool		found = false;

		for (int i = 0; i < form->indnkeyatts; i++)
			found = found || form->indkey.values[i] == column;
		matches = matches && found;
	}
	ReleaseSysCache(tuple);
	return matches;
}

/* Has a table an index on exactly its key? */
bool
weir_upsert_has_key(Relation table, List *key)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(table))
	{
		if (is_on_key(lfirst_oid(cell), RelationGetRelid(table), key))
			return true;
	}
	return false;
}

/* Raises an error unless there is such an index. */
static void
check_unique(Relation target, const WeirUpsertRow *row)
{
	if (weir_upsert_has_key(target, row->key))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("table \"%s\" has no unique constraint or index on exactly the key (%s)",
					RelationGetRelationName(target), key_columns(row)),
			 errhint("ALTER TABLE %s ADD PRIMARY KEY (%s), or another one that is neither partial nor deferrable.",
					 weir_relation_name(row->target),
					 key_columns(row))));
}

/* Checks a table of the user's own. */
void
weir_upsert_check_target(const WeirUpsertRow *row, const char *name)
{
	Relation	target = table_open(row->target, RowExclusiveLock);
	char		relkind = target->rd_rel->relkind;
	Oid			owner = weir_relation_owner(row->stream);

	if ((relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE) ||
		target->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table that \"%s\" can write into", RelationGetRelationName(target), name),
				 errhint("Name an ordinary or a partitioned table.")));
	if (weir_catalog_load_stream(row->target, true) != NULL || weir_catalog_load_upsert(row->target) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" belongs to a stream, or to another upsert", RelationGetRelationName(target)),
				 errhint("Give each upsert a table of its own, and join them in a view.")));
	weir_define_check_logged(row->target);
	if (pg_class_aclmask(row->target, owner, ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE, ACLMASK_ALL) !=
		(ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", which owns the stream, may not write into table \"%s\"",
						GetUserNameFromId(owner, false), RelationGetRelationName(target)),
				 errhint("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s.", weir_relation_name(row->target),
						 quote_identifier(GetUserNameFromId(owner, false)))));
	check_unique(target, row);
	table_close(target, NoLock);
}
