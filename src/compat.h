/*
 * compat.h
 *	  What differs between PostgreSQL 15, 16, 17 and 18.  Only here.
 *
 * Floor 1.
 */
#ifndef WEIR_COMPAT_H
#define WEIR_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_weir needs PostgreSQL 15 to 18"
#endif

#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "commands/defrem.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
#include "executor/execdesc.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "storage/latch.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/wait_event.h"

/* Does this role own this relation, this database? */
#if PG_VERSION_NUM >= 160000
#define weir_is_database_owner(dboid, roleid) \
	object_ownercheck(DatabaseRelationId, dboid, roleid)
#define weir_is_owner(relid, roleid) \
	object_ownercheck(RelationRelationId, relid, roleid)
#else
#define weir_is_owner(relid, roleid) pg_class_ownercheck(relid, roleid)
#define weir_is_database_owner(dboid, roleid) pg_database_ownercheck(dboid, roleid)
#endif

/* Is this process a background worker? */
#if PG_VERSION_NUM >= 170000
#define weir_is_background_worker() AmBackgroundWorkerProcess()
#else
#define weir_is_background_worker() IsBackgroundWorker
#endif

/*
 * Lets expressions of an analysed query say themselves what they group by.
 * From 18 on they say it by way of a range table entry, the last one.
 */
static inline void
weir_flatten_groups(Query *query)
{
#if PG_VERSION_NUM >= 180000
	if (!query->hasGroupRTE)
		return;
	query->targetList = (List *) flatten_group_exprs(NULL, query, (Node *) query->targetList);
	query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
	query->hasGroupRTE = false;
	if (llast_node(RangeTblEntry, query->rtable)->rtekind == RTE_GROUP)
		query->rtable = list_truncate(query->rtable, list_length(query->rtable) - 1);
#endif
}

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

/* Begins to read a table in the order of an index. */
#if PG_VERSION_NUM >= 180000
#define weir_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), NULL, (nkeys), 0)
#else
#define weir_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), (nkeys), 0)
#endif

/* Maps columns of one table to those of another by their names. */
#if PG_VERSION_NUM >= 160000
#define weir_attrmap_by_name(from, to) build_attrmap_by_name((from), (to), false)
#else
#define weir_attrmap_by_name(from, to) build_attrmap_by_name((from), (to))
#endif

/* Adds a CHECK constraint to a table that binds neither its children nor, as it is empty, anybody else. */
static inline void
weir_add_check(Relation relation, const char *name, Node *condition)
{
	Constraint *constraint = makeNode(Constraint);

	constraint->contype = CONSTR_CHECK;
	constraint->conname = pstrdup(name);
	constraint->location = -1;
	constraint->cooked_expr = nodeToString(condition);
	constraint->is_no_inherit = true;
	constraint->initially_valid = true;
#if PG_VERSION_NUM >= 180000
	constraint->is_enforced = true;
#endif
	AddRelationNewConstraints(relation, NIL, list_make1(constraint), false, true, false, NULL);
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

/* Makes the executor not ask for rights on something that is no table. */
static inline void
weir_rte_clear_permissions(RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
#else
	rte->requiredPerms = 0;
#endif
}

/* Makes a plan ready to be run once. */
static inline QueryDesc *
weir_create_query_desc(PlannedStmt *plan, Snapshot snapshot, DestReceiver *receiver, QueryEnvironment *env)
{
	return CreateQueryDesc(plan, "", snapshot, InvalidSnapshot, receiver, NULL, env, 0);
}

/* Puts the columns of the tables joined in the place of a join's. */
#if PG_VERSION_NUM >= 160000
#define weir_flatten_join_alias_vars(query, node) flatten_join_alias_vars(NULL, (query), (node))
#else
#define weir_flatten_join_alias_vars(query, node) flatten_join_alias_vars((query), (node))
#endif

/* Runs it to its end. */
static inline void
weir_executor_run(QueryDesc *desc)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(desc, ForwardScanDirection, 0);
#else
	ExecutorRun(desc, ForwardScanDirection, 0, true);
#endif
}

/* Runs a portal to its end, as a client's statement. */
static inline void
weir_portal_run(Portal portal, DestReceiver *receiver, QueryCompletion *qc)
{
#if PG_VERSION_NUM >= 180000
	(void) PortalRun(portal, FETCH_ALL, true, receiver, receiver, qc);
#else
	(void) PortalRun(portal, FETCH_ALL, true, true, receiver, receiver, qc);
#endif
}

#endif							/* WEIR_COMPAT_H */
