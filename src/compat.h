/*
 * compat.h
 *	  What differs between PostgreSQL 15, 16, 17 and 18.  Only here.
 */
#ifndef WEIR_COMPAT_H
#define WEIR_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_weir needs PostgreSQL 15 to 18"
#endif

#include "catalog/pg_foreign_server.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "utils/acl.h"

#if PG_VERSION_NUM >= 160000
#define weir_is_owner(relid, roleid) \
	object_ownercheck(RelationRelationId, relid, roleid)
#define weir_server_acl(serverid, roleid) \
	object_aclcheck(ForeignServerRelationId, serverid, roleid, ACL_USAGE)
#else
#define weir_is_owner(relid, roleid) pg_class_ownercheck(relid, roleid)
#define weir_server_acl(serverid, roleid) \
	pg_foreign_server_aclcheck(serverid, roleid, ACL_USAGE)
#endif

/* Enters a row into its table's indexes. */
static inline List *
weir_insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot, EState *estate)
{
	return ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
								 ,false
#endif
		);
}

/* Builds an index on a table as part of another command. */
static inline ObjectAddress
weir_define_index(Oid relid, IndexStmt *stmt)
{
	return DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid,
#if PG_VERSION_NUM >= 160000
					   -1,
#endif
					   false, false, false, false, true);
}

#endif							/* WEIR_COMPAT_H */
