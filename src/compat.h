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
#include "utils/acl.h"
#include "utils/datetime.h"

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

/* Since 16 the date parser takes one more argument, for details of an error. */
static inline int
weir_decode_datetime(char **field, int *type, int nfields, int *kind,
					 struct pg_tm *tm, fsec_t *fsec, int *zone)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(field, type, nfields, kind, tm, fsec, zone, &extra);
#else
	return DecodeDateTime(field, type, nfields, kind, tm, fsec, zone);
#endif
}

#endif							/* WEIR_COMPAT_H */
