/*
 * derived_source.c
 *	  What a derived object reads: a stream's staging table.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog_aggregate.h"
#include "catalog_refill.h"
#include "compat.h"
#include "derived_source.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Returns a source. */
WeirSource *
weir_source_load(Oid relid)
{
	WeirStream *stream = weir_catalog_load_stream(relid, true);
	WeirSource *source;

	if (stream == NULL)
		return NULL;
	source = palloc0(sizeof(WeirSource));
	source->relid = source->stream = relid;
	source->columns.kafka_time = get_attnum(relid, "_timestamp");
	source->columns.event_time = stream->event_time == NULL ? source->columns.kafka_time :
		get_attnum(relid, stream->event_time);
	source->columns.watermark = get_attnum(relid, "_watermark");
	source->columns.partition = get_attnum(relid, "_partition");
	source->columns.offset = get_attnum(relid, "_offset");
	return source;
}

/* Finds a source anywhere in a query, also where it must not be. */
static bool
find_any(Node *node, WeirSource **source)
{
	RangeTblEntry *rte = (RangeTblEntry *) node;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_any, source, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, find_any, source);
	if (rte->rtekind != RTE_RELATION || !rte->inFromCl)
		return false;
	*source = weir_source_load(rte->relid);
	if (*source == NULL && rte->relkind == RELKIND_VIEW)
	{
		Relation	view = table_open(rte->relid, AccessShareLock);

		(void) find_any((Node *) get_view_query(view), source);
		table_close(view, NoLock);
	}
	return *source != NULL;
}

/* Returns the source that a query reads. */
WeirSource *
weir_source_of_query(const Query *query, const char *name)
{
	WeirSource *source = NULL;

	(void) find_any((Node *) query, &source);
	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("query of \"%s\" reads no stream", name),
				 errhint("Name a stream in FROM.")));
	if (!weir_is_owner(source->stream, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(source->stream));
	return source;
}

/* Returns a time after which it has all events. */
TimestampTz
weir_source_seen(const WeirSource *source, bool backfill, Snapshot snapshot)
{
	return weir_catalog_seen_at(source->stream, backfill, snapshot);
}

/* Raises an error if rows of it are lost and not yet back. */
void
weir_source_check_complete(const WeirSource *source, const char *hint)
{
	if (weir_catalog_refill_is_due(source->stream))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("staged rows of stream \"%s\" are not all back yet", get_rel_name(source->stream)),
				 errhint("%s", hint)));
}

/* Locks what its rows are in: rotation lets go of no child that somebody has locked. */
void
weir_source_lock(const WeirSource *source)
{
	LockRelationOid(source->relid, AccessShareLock);
	(void) find_inheritance_children(source->relid, AccessShareLock);
}
