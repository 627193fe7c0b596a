/*
 * chunk.c
 *	  The children of a staging table: where the rows are.
 *
 * The staging table itself stays empty and logged; its rows are in UNLOGGED
 * children that hang on it by inheritance, so that old rows can leave by
 * dropping a whole child.  Children live in weir_internal, belong to the
 * stream's owner, and go with the staging table.  Those that come out of a
 * dump are made so when the stream is first used.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/xact.h"
#include "access/table.h"
#include "catalog.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "chunk.h"
#include "compat.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "owner.h"
#include "parser/parse_utilcmd.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static void
run(const char *sql)
{
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
}

/* Returns a relation's name, qualified and quoted. */
static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/* Attaches the guard triggers to a staging table or child. */
void
weir_chunk_guard(Oid relid)
{
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	run(psprintf("CREATE TRIGGER weir_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s"
				 " FOR EACH STATEMENT EXECUTE FUNCTION weir_internal.guard_staging()",
				 qualified_name(relid)));
	run(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER weir_guard", qualified_name(relid)));
	weir_catalog_leave(&session);
}

/* Makes a child go with its parent, as if it were a part of it. */
static void
hang_on_parent(Oid parent, Oid child)
{
	ObjectAddress parent_address;
	ObjectAddress child_address;

	deleteDependencyRecordsForSpecific(RelationRelationId, child, DEPENDENCY_NORMAL,
									   RelationRelationId, parent);
	ObjectAddressSet(parent_address, RelationRelationId, parent);
	ObjectAddressSet(child_address, RelationRelationId, child);
	recordDependencyOn(&child_address, &parent_address, DEPENDENCY_AUTO);
}

/*
 * Does a child go with its parent?  Those that pg_restore has made do not yet:
 * pg_dump knows of inheritance, not of our dependency.
 */
static bool
hangs_on_parent(Oid parent, Oid child)
{
	WeirCatalogSession session;
	bool		hangs;

	weir_catalog_enter(&session);
	run(psprintf("SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::regclass AND objid = %u"
				 " AND refclassid = classid AND refobjid = %u AND deptype = 'a'", child, parent));
	hangs = SPI_processed > 0;
	weir_catalog_leave(&session);
	return hangs;
}

/* Returns the indexes of parent that child has no copy of; a copy depends on its original. */
static List *
missing_indexes(Oid parent, Oid child)
{
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	run(psprintf("SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = %u AND NOT EXISTS"
				 " (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_index c ON c.indexrelid = d.objid"
				 " WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = d.classid"
				 " AND d.refobjid = i.indexrelid AND d.deptype = 'a' AND c.indrelid = %u)"
				 " ORDER BY i.indexrelid", parent, child));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(context);

		result = lappend_oid(result, DatumGetObjectId(value));
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Copies one index of the parent to a child, and makes the copy go with the original. */
static void
copy_index(Relation parent, Relation child, Oid index)
{
	Relation	source = index_open(index, AccessShareLock);
	AttrMap    *attmap = weir_attrmap_by_name(RelationGetDescr(child), RelationGetDescr(parent));
	Oid			constraint;
	IndexStmt  *stmt = generateClonedIndexStmt(NULL, source, attmap, &constraint);
	ObjectAddress original;
	ObjectAddress copy;

	stmt->idxname = NULL;
	copy = weir_define_index(RelationGetRelid(child), stmt);
	ObjectAddressSet(original, RelationRelationId, index);
	recordDependencyOn(&copy, &original, DEPENDENCY_AUTO);
	index_close(source, NoLock);
}

static void
copy_indexes(Oid parent_oid, Oid child_oid)
{
	List	   *indexes = missing_indexes(parent_oid, child_oid);
	Relation	parent;
	Relation	child;
	ListCell   *lc;

	if (indexes == NIL)
		return;
	parent = table_open(parent_oid, AccessShareLock);
	child = table_open(child_oid, ShareLock);
	foreach(lc, indexes)
		copy_index(parent, child, lfirst_oid(lc));
	table_close(child, NoLock);
	table_close(parent, NoLock);
}

/*
 * Copies to every child those indexes of the staging table that it lacks.
 * While a dump is restored, the children's indexes come with the dump.
 */
void
weir_chunk_copy_indexes(Oid stream)
{
	ListCell   *lc;

	foreach(lc, find_inheritance_children(stream, ShareLock))
	{
		if (hangs_on_parent(stream, lfirst_oid(lc)))
			copy_indexes(stream, lfirst_oid(lc));
	}
}

/* Makes the child's index that is like an index of the parent, if there is one, go with it. */
static void
adopt_index(Relation parent, Relation child, Oid index)
{
	Relation	source = index_open(index, AccessShareLock);
	IndexInfo  *source_info = BuildIndexInfo(source);
	AttrMap    *attmap = weir_attrmap_by_name(RelationGetDescr(child), RelationGetDescr(parent));
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(child))
	{
		Relation	candidate = index_open(lfirst_oid(lc), AccessShareLock);
		bool		alike = CompareIndexInfo(BuildIndexInfo(candidate), source_info,
											 candidate->rd_indcollation, source->rd_indcollation,
											 candidate->rd_opfamily, source->rd_opfamily, attmap);
		ObjectAddress original;
		ObjectAddress copy;

		index_close(candidate, NoLock);
		if (!alike)
			continue;
		ObjectAddressSet(original, RelationRelationId, index);
		ObjectAddressSet(copy, RelationRelationId, lfirst_oid(lc));
		recordDependencyOn(&copy, &original, DEPENDENCY_AUTO);
		break;
	}
	index_close(source, NoLock);
}

/* Makes a child that a dump has brought like one of our own making. */
static void
adopt(Oid parent_oid, Oid child_oid)
{
	Relation	parent = table_open(parent_oid, ShareUpdateExclusiveLock);
	Relation	child = table_open(child_oid, ShareUpdateExclusiveLock);
	WeirOwnerSession session;
	ListCell   *lc;

	/* another session may have done it while we waited */
	if (!hangs_on_parent(parent_oid, child_oid))
	{
		/* comparing indexes simplifies their expressions, which calls IMMUTABLE functions */
		weir_owner_enter(parent->rd_rel->relowner, "pg_catalog, pg_temp", &session);
		foreach(lc, missing_indexes(parent_oid, child_oid))
			adopt_index(parent, child, lfirst_oid(lc));
		weir_owner_leave(&session);
		hang_on_parent(parent_oid, child_oid);
		CommandCounterIncrement();
		copy_indexes(parent_oid, child_oid);
	}
	table_close(child, NoLock);
	table_close(parent, NoLock);
}

/* Returns the tablespace of a relation. */
static char *
tablespace_name(Oid relid)
{
	Oid			tablespace = get_rel_tablespace(relid);

	return get_tablespace_name(OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace);
}

/* Makes a new child, in the tablespace of its parent, and registers it. */
Oid
weir_chunk_create(Oid stream)
{
	WeirCatalogSession session;
	Oid			namespace = get_namespace_oid("weir_internal", false);
	char	   *name = ChooseRelationName(get_rel_name(stream), NULL, "chunk", namespace, false);
	Oid			chunk;

	weir_catalog_enter(&session);
	run(psprintf("CREATE UNLOGGED TABLE weir_internal.%s () INHERITS (%s) WITH (autovacuum_enabled = off) TABLESPACE %s",
				 quote_identifier(name), qualified_name(stream), quote_identifier(tablespace_name(stream))));
	chunk = get_relname_relid(name, namespace);
	hang_on_parent(stream, chunk);
	ATExecChangeOwner(chunk, weir_relation_owner(stream), true, AccessExclusiveLock);
	CommandCounterIncrement();
	weir_catalog_leave(&session);

	copy_indexes(stream, chunk);
	weir_chunk_guard(chunk);
	weir_catalog_add_chunk(stream, chunk);
	return chunk;
}

/* Drops a child. */
void
weir_chunk_drop(Oid chunk)
{
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	run(psprintf("DROP TABLE %s", qualified_name(chunk)));
	weir_catalog_leave(&session);
}

/* Drops all children, but for those that users have made. */
void
weir_chunk_drop_all(Oid stream)
{
	List	   *chunks = weir_catalog_chunks(stream);
	ListCell   *lc;

	foreach(lc, chunks)
	{
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			weir_chunk_drop(lfirst_oid(lc));
	}
}

/* Returns the child that takes new rows of a stream, making one if there is none. */
Oid
weir_chunk_current(Oid stream)
{
	Oid			chunk = weir_catalog_current_chunk(stream);
	ListCell   *lc;

	if (!OidIsValid(chunk))
		return weir_chunk_create(stream);
	if (!hangs_on_parent(stream, chunk))
	{
		foreach(lc, find_inheritance_children(stream, AccessShareLock))
			adopt(stream, lfirst_oid(lc));
	}
	return chunk;
}
