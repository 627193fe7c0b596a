/*
 * derived_source.c
 *	  What a derived object reads: a stream's staging table, or the table of a
 *	  transform.
 *
 * Which windows a table of a transform covers, the stream's event time says: the
 * greatest one before the first staged event is known when the transform
 * begins.  Where its own event time is another one, nobody knows of what time
 * the rows are that it did not make; unless it has made them all.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog_aggregate.h"
#include "catalog_refill.h"
#include "catalog_transform.h"
#include "compat.h"
#include "derived_source.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Returns a source with this column for its event time; NULL: Kafka's. */
static WeirSource *
make_source(Oid relid, Oid stream, const char *event_time)
{
	WeirSource *source = palloc0(sizeof(WeirSource));

	source->relid = relid;
	source->stream = stream;
	source->complete_since = DT_NOBEGIN;
	source->retention = -1;
	source->columns.kafka_time = get_attnum(relid, "_timestamp");
	source->columns.event_time = event_time == NULL ? source->columns.kafka_time : get_attnum(relid, event_time);
	source->columns.watermark = get_attnum(relid, "_watermark");
	source->columns.partition = get_attnum(relid, "_partition");
	source->columns.offset = get_attnum(relid, "_offset");
	return source;
}

/* Returns the source that is the table of a transform. */
static WeirSource *
transform_source(const WeirTransformRow *row)
{
	WeirSource *source = make_source(row->target, row->stream, row->event_time);

	source->same_time = row->same_time;
	source->complete_since = row->complete_since;
	source->retention = row->retention;
	return source;
}

/* Returns a source. */
WeirSource *
weir_source_load(Oid relid)
{
	WeirStream *stream = weir_catalog_load_stream(relid, true);
	WeirTransformRow *row;
	WeirSource *source;

	if (stream != NULL)
	{
		source = make_source(relid, relid, stream->event_time);
		source->same_time = true;
		return source;
	}
	row = weir_catalog_load_transform(relid);
	return row != NULL && row->owns_target ? transform_source(row) : NULL;
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
	TimestampTz seen;
	TimestampTz watermark;

	if (source->relid == source->stream)
		return weir_catalog_seen_at(source->stream, backfill, snapshot);
	seen = backfill ? source->complete_since : weir_catalog_seen_at(source->stream, false, snapshot);
	if (seen != DT_NOBEGIN && !source->same_time)
		return DT_NOEND;
	if (!backfill || source->retention < 0)
		return seen;
	/* rows leave by their own event time, and none that is not past retention */
	watermark = weir_catalog_stream_watermark_at(source->stream, snapshot);
	return watermark > MIN_TIMESTAMP + source->retention ? Max(seen, watermark - source->retention) : seen;
}

/* Raises an error if nobody knows. */
void
weir_source_check_known(const WeirSource *source, TimestampTz seen, const char *name)
{
	if (seen == DT_NOEND)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nobody knows which windows of \"%s\" the rows of \"%s\" cover", name, get_rel_name(source->relid)),
				 errdetail("Its event time is not the stream's, and events were applied that it has no rows of."),
				 errhint("Let the transform pass on the event time of stream \"%s\" as it is, or create both before the first event.",
						 get_rel_name(source->stream))));
}

/* Raises an error if rows of it are lost and not yet back. */
void
weir_source_check_complete(const WeirSource *source, const char *hint)
{
	/* tables of transforms are logged */
	if (source->relid == source->stream && weir_catalog_refill_is_due(source->stream))
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
