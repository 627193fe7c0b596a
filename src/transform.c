/*
 * transform.c
 *	  Transforms: what a query gives of each batch, appended to a table.
 *
 *		trigger of the source ─▶ plan over the batch ─▶ transform_write.c ─▶ triggers of what reads the table
 *
 * All of it is in the transaction of the batch.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog_aggregate.h"
#include "commands/trigger.h"
#include "derived_define.h"
#include "executor/spi.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "settings.h"
#include "transform.h"
#include "transform_query.h"
#include "transform_write.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* At least so many old rows leave with a batch, if there are as many, and twice as many as come. */
#define LEAST_EXPIRED 1000

/* What transforms are looked for by: their target, or a trigger of their source. */
typedef struct TransformKey
{
	Oid			relid;			/* with a trigger, the source */
	const char *trigger_name;	/* or NULL */
} TransformKey;

static bool
matches(const WeirCompiled *compiled, const void *arg)
{
	const WeirTransformRow *row = ((const WeirTransform *) compiled)->row;
	const TransformKey *key = arg;

	if (key->trigger_name == NULL)
		return row->target == key->relid;
	return row->source == key->relid && strcmp(row->trigger_name, key->trigger_name) == 0;
}

/* Rewrites the INSERT: defaults come in. */
static Query *
rewrite(const WeirTransform *transform, Query *insert)
{
	List	   *rewritten = QueryRewrite(insert);

	if (list_length(rewritten) != 1 || linitial_node(Query, rewritten)->commandType != CMD_INSERT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has rules on INSERT", get_rel_name(transform->row->target)),
				 errhint("Use triggers.")));
	return linitial(rewritten);
}

/* Makes of an INSERT, rewritten, the SELECT of its rows; returns the columns of the table that it gives. */
static List *
select_rows(Query *query)
{
	List	   *columns = NIL;
	ListCell   *cell;

	query->commandType = CMD_SELECT;
	query->resultRelation = 0;
	query->override = OVERRIDING_NOT_SET;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		columns = lappend_int(columns, entry->resno);
		entry->resno = foreach_current_index(cell) + 1;
	}
	return columns;
}

/* Has a column that is not given a type whose NULL may be refused? */
static bool
leaves_out_domain(Relation target, List *columns)
{
	TupleDesc	desc = RelationGetDescr(target);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && get_typtype(att->atttypid) == TYPTYPE_DOMAIN && !list_member_int(columns, i + 1))
			return true;
	}
	return false;
}

/* Refuses a table whose constraints would only be looked at when the batch commits. */
static void
check_deferred(Relation target)
{
	TriggerDesc *desc = target->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		if (desc->triggers[i].tginitdeferred)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" has constraints that are initially deferred", RelationGetRelationName(target)),
					 errdetail("Nobody could tell which event violates them."),
					 errhint("Make them INITIALLY IMMEDIATE.")));
	}
}

/* Finds out how rows get into the target. */
static void
look_at_target(WeirTransform *transform)
{
	Relation	target = table_open(transform->row->target, RowExclusiveLock);
	Query	   *insert = copyObject(transform->insert);

	check_deferred(target);
	AcquireRewriteLocks(insert, true, false);
	transform->columns = select_rows(rewrite(transform, insert));
	transform->direct = weir_transform_may_write(target) && !leaves_out_domain(target, transform->columns);
	table_close(target, NoLock);
}

/* Compiles a transform. */
static WeirCompiled *
build(const void *arg)
{
	const TransformKey *key = arg;
	WeirTransformRow *row = key->trigger_name == NULL ? weir_catalog_load_transform(key->relid) :
		weir_catalog_transform_of_trigger(key->relid, key->trigger_name);
	WeirTransform *transform;

	if (row == NULL)
		return NULL;
	weir_catalog_check_triggers(row->target);
	transform = palloc0(sizeof(WeirTransform));
	transform->row = row;
	transform->name = transform->base.name = get_rel_name(row->target);
	transform->source = weir_source_load(row->source);
	transform->query = weir_define_query_of(row->query);
	transform->position = weir_transform_query_check(transform->query, transform->source, transform->name);
	weir_transform_query_place(transform->query, transform->position, transform->source, row->target);
	transform->insert = weir_transform_query_insert(transform->query, row->target, row->query);
	transform->plans.context = CurrentMemoryContext;
	transform->event_time = row->event_time == NULL ? InvalidAttrNumber : get_attnum(row->target, row->event_time);
	transform->expired = DT_NOBEGIN;
	look_at_target(transform);
	return &transform->base;
}

static const WeirCompiledKind transforms = {"transform", matches, build};

/* Returns the transform with this target. */
WeirTransform *
weir_transform_get(Oid target)
{
	TransformKey key = {target, NULL};

	AcceptInvalidationMessages();
	return (WeirTransform *) weir_compiled_get(&transforms, &key);
}

/* Returns the transform of a trigger. */
WeirTransform *
weir_transform_of_trigger(Oid source, const char *trigger_name)
{
	TransformKey key = {source, trigger_name};

	return (WeirTransform *) weir_compiled_get(&transforms, &key);
}

/* Lets a transform go. */
void
weir_transform_release(WeirTransform *transform)
{
	weir_compiled_release(&transform->base);
}

/* Plans the query, or the INSERT of what it gives. */
static PlannedStmt *
make_plan(const void *arg, double rows)
{
	const WeirTransform *transform = arg;
	Query	   *query = copyObject(transform->insert);

	AcquireRewriteLocks(query, true, false);
	weir_batch_plan_bind(rt_fetch(2, query->rtable)->subquery, transform->position, rows);
	query = rewrite(transform, query);
	if (transform->direct)
		(void) select_rows(query);
	return planner(query, NULL, 0, NULL);
}

/* Returns the plan for a batch of so many rows. */
PlannedStmt *
weir_transform_plan_for(WeirTransform *transform, int64 rows)
{
	return weir_batch_plan_for(&transform->plans, rows, &transform->base.valid, make_plan, transform);
}

/* Returns the statement that deletes old rows: those from one time up to another, so many of them. */
static char *
expire_sql(const WeirTransform *transform)
{
	const WeirTransformRow *row = transform->row;
	const char *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(row->target)),
												   get_rel_name(row->target));
	const char *column = quote_identifier(row->event_time);

	/* whoever is deleting the same rows elsewhere is not waited for */
	return psprintf("WITH old AS (SELECT ctid, %s AS t FROM %s WHERE %s >= $1 AND %s < $2 ORDER BY %s LIMIT $3"
					" FOR UPDATE SKIP LOCKED), d AS (DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)))"
					" SELECT count(*), max(t) FROM old", column, table, column, column, column, table);
}

/* Deletes old rows, so many at most; returns up to when none is left. */
static TimestampTz
delete_old(const WeirTransform *transform, TimestampTz until, int64 limit)
{
	char	   *sql = expire_sql(transform);
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	Datum		values[] = {TimestampTzGetDatum(transform->expired), TimestampTzGetDatum(until), Int64GetDatum(limit)};
	TimestampTz last;
	int64		count;
	bool		isnull;
	int			rc;

	SPI_connect();
	rc = SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	last = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	return count < limit ? until : last;
}

/* Lets rows leave that are past retention; those of this batch among them, which begin at least. */
static void
expire(WeirTransform *transform, TimestampTz least, int64 rows)
{
	const WeirTransformRow *row = transform->row;
	TimestampTz watermark;

	/* who sees the past only may not delete what others have deleted since */
	if (row->retention < 0 || IsolationUsesXactSnapshot())
		return;
	transform->expired = transform->as_of == weir_compiled_aborts() ? Min(transform->expired, least) : DT_NOBEGIN;
	transform->as_of = weir_compiled_aborts();
	watermark = weir_catalog_stream_watermark_at(row->stream, GetLatestSnapshot());
	if (watermark <= MIN_TIMESTAMP + row->retention || watermark - row->retention <= transform->expired)
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	transform->expired = delete_old(transform, watermark - row->retention, Max(LEAST_EXPIRED, rows * 2));
	PopActiveSnapshot();
}

/* Appends what the query gives of a batch. */
void
weir_transform_take_batch(WeirTransform *transform, Tuplestorestate *batch)
{
	ErrorContextCallback position = {error_context_stack, weir_compiled_describe, &transform->base};
	int			settings = weir_settings_enter(transform->row->settings);
	int64		rows = tuplestore_tuple_count(batch);
	TimestampTz least;

	error_context_stack = &position;
	least = weir_transform_write(transform, weir_transform_plan_for(transform, rows), batch);
	expire(transform, least, rows);
	error_context_stack = position.previous;
	weir_settings_leave(settings);
}

static void
take_rows(void *arg, Tuplestorestate *rows)
{
	weir_transform_take_batch(arg, rows);
}

/* Appends what it gives of the rows that its source has. */
void
weir_transform_backfill(WeirTransform *transform)
{
	weir_source_backfill(transform->source, take_rows, transform);
}

/* Empties the target of a transform. */
static void
empty(const WeirTransformRow *row)
{
	char	   *sql = psprintf("DELETE FROM %s", quote_qualified_identifier(get_namespace_name(get_rel_namespace(row->target)),
																		get_rel_name(row->target)));
	int			rc;

	if (!row->owns_target)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot empty stream \"%s\" while a transform writes into table \"%s\"",
						get_rel_name(row->stream), get_rel_name(row->target)),
				 errdetail("The table is your own: its rows stay, and would come again."),
				 errhint("Drop the transform with weir.drop('%s'), which leaves the table, and create it again afterwards.",
						 get_rel_name(row->target))));
	weir_catalog_reset_transform(row->target);
	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	SPI_finish();
}

/* Empties the transforms of a stream. */
void
weir_transform_reset(Oid stream)
{
	ListCell   *cell;

	foreach(cell, weir_catalog_transforms(stream))
		empty(weir_catalog_load_transform(lfirst_oid(cell)));
}
