/*
 * compat.h
 *	  What differs between PostgreSQL 15 and 18.
 *
 * Floor 1.
 */
#ifndef WEIR_COMPAT_H
#define WEIR_COMPAT_H

#include "postgres.h"

#include "catalog/pg_foreign_server.h"
#include "pgstat.h"
#include "storage/latch.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#include "utils/acl.h"
#include "utils/wait_event.h"

/* Wait events of extensions have names of their own from 17 on. */
#if PG_VERSION_NUM >= 170000
#define weir_wait_event(name) WaitEventExtensionNew(name)
#else
#define weir_wait_event(name) PG_WAIT_EXTENSION
#endif

/* A wait event set that lives as long as its process. */
#if PG_VERSION_NUM >= 170000
#define weir_create_wait_event_set(n) CreateWaitEventSet(NULL, (n))
#else
#define weir_create_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* May this role use this foreign server? */
#if PG_VERSION_NUM >= 160000
#define weir_may_use_server(serverid, roleid) \
	(object_aclcheck(ForeignServerRelationId, (serverid), (roleid), ACL_USAGE) == ACLCHECK_OK)
#else
#define weir_may_use_server(serverid, roleid) \
	(pg_foreign_server_aclcheck((serverid), (roleid), ACL_USAGE) == ACLCHECK_OK)
#endif

#endif							/* WEIR_COMPAT_H */
