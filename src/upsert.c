/*
 * upsert.c
 *	  Upserts made ready to run, and batches taken into them.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog.h"
#include "catalog_aggregate.h"
#include "derived_define.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "settings.h"
#include "upsert.h"
#include "upsert_define.h"
#include "upsert_query.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* What upserts are looked for by: a table, or a trigger of their source. */
typedef struct UpsertKey
{
	Oid			relid;
	const char *trigger_name;	/* or NULL */
} UpsertKey;

static bool
matches(const WeirCompiled *compiled, const void *arg)
{
	const WeirUpsertRow *row = ((const WeirUpsert *) compiled)->row;
	const UpsertKey *key = arg;

	if (key->trigger_name == NULL)
		return row->target == key->relid;
	return row->source == key->relid && strcmp(row->trigger_name, key->trigger_name) == 0;
}

/* Raises an error where an index that rows are found by is gone unnoticed, as in a restore that was broken off. */
static void
check_key(Relation target, List *key)
{
	if (!weir_upsert_has_key(target, key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no unique constraint or index on its key any more", RelationGetRelationName(target)),
				 errhint("Create one on exactly the columns that weir.create_upsert was given.")));
}

/* Returns the collations of the key's columns in the table. */
static Oid *
key_collations(const WeirUpsertRow *row)
{
	Oid		   *collations = palloc(sizeof(Oid) * list_length(row->key));
	Relation	target = table_open(row->target, AccessShareLock);
	ListCell   *cell;

	foreach(cell, row->key)
	{
		AttrNumber	column = get_attnum(row->target, strVal(lfirst(cell)));

		if (column == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s\" has no column \"%s\"", RelationGetRelationName(target), strVal(lfirst(cell)))));
		collations[foreach_current_index(cell)] = TupleDescAttr(RelationGetDescr(target), column - 1)->attcollation;
	}
	check_key(target, row->key);
	table_close(target, NoLock);
	return collations;
}

/* Frees what is not in the memory context of an upsert. */
static void
free_plans(void *merger)
{
	weir_merger_free(merger);
}

/* Makes the statements; they are freed with the upsert. */
static void
add_merger(WeirUpsert *upsert, TupleDesc desc)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	upsert->merger = weir_merger_create(upsert->row, desc);
	callback->func = free_plans;
	callback->arg = upsert->merger;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/* Compiles an upsert. */
static WeirCompiled *
build(const void *arg)
{
	const UpsertKey *key = arg;
	WeirUpsertRow *row = key->trigger_name == NULL ? weir_catalog_load_upsert(key->relid) :
		weir_catalog_upsert_of_trigger(key->relid, key->trigger_name);
	WeirUpsert *upsert;
	char	   *name;
	TupleDesc	desc;

	if (row == NULL)
		return NULL;
	upsert = palloc0(sizeof(WeirUpsert));
	name = row->name != NULL ? row->name : get_rel_name(row->target);
	upsert->base.name = name;
	upsert->row = row;
	upsert->query = weir_define_query_of(row->query);
	upsert->position = weir_upsert_query_check(upsert->query, row->source, name);
	upsert->plans.context = CurrentMemoryContext;
	desc = ExecTypeFromTL(upsert->query->targetList);
	upsert->collapser = weir_collapser_create(name, desc, row->key, key_collations(row),
											  row->order_by != NULL ? row->order_by : "event time", row->tombstone_ttl);
	add_merger(upsert, desc);
	upsert->pruned = DT_NOBEGIN;
	return &upsert->base;
}

static const WeirCompiledKind upserts = {"upsert", matches, build};

/* Returns the upsert of a table. */
WeirUpsert *
weir_upsert_get(Oid target)
{
	UpsertKey	key = {target, NULL};

	AcceptInvalidationMessages();
	return (WeirUpsert *) weir_compiled_get(&upserts, &key);
}

/* Returns the upsert of a trigger. */
WeirUpsert *
weir_upsert_of_trigger(Oid source, const char *trigger_name)
{
	UpsertKey	key = {source, trigger_name};

	return (WeirUpsert *) weir_compiled_get(&upserts, &key);
}

/* Lets an upsert go. */
void
weir_upsert_release(WeirUpsert *upsert)
{
	weir_compiled_release(&upsert->base);
}

static PlannedStmt *
make_plan(const void *arg, double rows)
{
	const WeirUpsert *upsert = arg;

	return weir_batch_plan_make(copyObject(upsert->query), upsert->position, rows);
}

/* Returns the plan for a batch. */
PlannedStmt *
weir_upsert_plan_for(WeirUpsert *upsert, int64 rows)
{
	return weir_batch_plan_for(&upsert->plans, rows, &upsert->base.valid, make_plan, upsert);
}

/* Logs the events that came too late. */
static void
log_late(const WeirUpsert *upsert, List *late)
{
	ListCell   *cell;

	foreach(cell, late)
	{
		const WeirLateUpsert *event = lfirst(cell);

		weir_catalog_add_late_event(upsert->row->target, event->event_time, event->event_time + upsert->row->tombstone_ttl,
									event->partition, event->offset);
	}
}

/* Forgets deletes that no event can come before any more, every now and then. */
static void
forget_deletes(WeirUpsert *upsert)
{
	int64		ttl = upsert->row->tombstone_ttl;
	TimestampTz watermark;

	if (ttl < 0)
		return;
	watermark = weir_catalog_stream_watermark(upsert->row->stream);
	if (watermark == DT_NOBEGIN || (upsert->pruned != DT_NOBEGIN && watermark - upsert->pruned < Max(ttl / 8, 1)))
		return;
	if (weir_merger_forget(upsert->merger, watermark - ttl))
		upsert->pruned = watermark;
}

/* Brings what is left of a batch into the table. */
static void
merge(WeirUpsert *upsert, WeirCollapse *collapse)
{
	Tuplestorestate *latest = weir_collapse_end(collapse);

	if (collapse->rows > 0)
		weir_merger_merge(upsert->merger, latest, collapse->deletes);
	tuplestore_end(latest);
}

/* Takes a batch in. */
void
weir_upsert_take_batch(WeirUpsert *upsert, Tuplestorestate *batch)
{
	ErrorContextCallback callback = {error_context_stack, weir_compiled_describe, upsert};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir upsert batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			settings = weir_settings_enter(upsert->row->settings);
	WeirCollapse *collapse = weir_collapse_begin(upsert->collapser);

	error_context_stack = &callback;
	weir_batch_plan_run(weir_upsert_plan_for(upsert, tuplestore_tuple_count(batch)), upsert->row->source, batch,
						&collapse->pub);
	merge(upsert, collapse);
	log_late(upsert, collapse->late);
	forget_deletes(upsert);
	error_context_stack = callback.previous;
	weir_settings_leave(settings);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

static void
take_batch(void *arg, Tuplestorestate *batch)
{
	weir_upsert_take_batch(arg, batch);
}

/* Takes in the rows that its source has. */
void
weir_upsert_backfill(WeirUpsert *upsert)
{
	weir_source_backfill(weir_source_load(upsert->row->source), take_batch, upsert);
}

/* Plans all that a batch takes. */
void
weir_upsert_try(WeirUpsert *upsert)
{
	Tuplestorestate *nothing = tuplestore_begin_heap(false, false, work_mem);
	int			settings = weir_settings_enter(upsert->row->settings);

	(void) weir_upsert_plan_for(upsert, 0);
	weir_merger_merge(upsert->merger, nothing, true);
	weir_settings_leave(settings);
	tuplestore_end(nothing);
}
