/*
 * runtime.c
 *	  A stream's definition compiled for running, kept from batch to batch.
 *
 * One entry per stream and session, and per child that is being refilled.  Whoever changes a definition invalidates
 * the relcache entry of the staging table (catalog.c), as ALTER TABLE does by
 * itself; that is what marks entries as stale here.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog_aggregate.h"
#include "chunk.h"
#include "compat.h"
#include "executor/executor.h"
#include "owner.h"
#include "rewrite/rewriteManip.h"
#include "runtime.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct RuntimeKey
{
	Oid			relid;
	Oid			chunk;			/* InvalidOid: whichever takes new rows */
} RuntimeKey;

typedef struct RuntimeEntry
{
	RuntimeKey	key;
	WeirRuntime *runtime;
} RuntimeEntry;

static HTAB *runtimes = NULL;

/* Counts invalidations, to notice those that come while a runtime is built. */
static uint64 invalidations = 0;

/* Marks entries as stale.  Runs at any time: must not free what may be in use. */
static void
invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	RuntimeEntry *entry;

	invalidations++;
	hash_seq_init(&status, runtimes);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		WeirRuntime *runtime = entry->runtime;

		if (runtime != NULL &&
			(relid == InvalidOid || relid == runtime->relid || relid == runtime->chunk))
			runtime->valid = false;
	}
}

static RuntimeEntry *
find_entry(Oid relid, Oid chunk)
{
	RuntimeKey	key = {relid, chunk};
	bool		found;
	RuntimeEntry *entry;

	if (runtimes == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(RuntimeKey),.entrysize = sizeof(RuntimeEntry),.hcxt = TopMemoryContext};

		runtimes = hash_create("pg_weir streams", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	}
	entry = hash_search(runtimes, &key, HASH_ENTER, &found);
	if (!found)
		entry->runtime = NULL;
	return entry;
}

static WeirTimeUnit
parse_time_unit(const char *word)
{
	if (word == NULL)
		return WEIR_TIME_NONE;
	return strcmp(word, "s") == 0 ? WEIR_TIME_S : strcmp(word, "ms") == 0 ? WEIR_TIME_MS : WEIR_TIME_US;
}

/* Compiles decoder, constraints and expectations anew. */
void
weir_runtime_recompile(WeirRuntime *runtime, Relation child)
{
	WeirStream *stream = runtime->stream;
	WeirDecodeSpec spec = {
		.tupdesc = runtime->tupdesc,
		.stream_name = stream->name,
		.format = stream->format,
		.key_format = stream->key_format,
		.key_columns = stream->key_columns,
		.paths = stream->paths,
		.column_options = stream->column_options,
		.time_unit = parse_time_unit(stream->time_unit)
	};
	MemoryContext old;

	MemoryContextReset(runtime->compiled);
	old = MemoryContextSwitchTo(runtime->compiled);
	runtime->decoder = weir_decoder_create(&spec);
	runtime->constrainer = weir_constrain_create(child);
	runtime->expecter = runtime->expectations == NIL ? NULL :
		weir_expect_create(runtime->expectations, runtime->metadata.attnos[WEIR_COLUMN_VIOLATIONS]);
	MemoryContextSwitchTo(old);
	runtime->may_throw = weir_decoder_may_throw(runtime->decoder) ||
		weir_constrain_may_throw(runtime->constrainer) ||
		(runtime->expecter != NULL && weir_expect_may_throw(runtime->expecter));
}

/* Returns the condition of an expectation: that of the parent's constraint of its name. */
static Node *
find_condition(Relation parent, const char *name)
{
	TupleConstr *constr = RelationGetDescr(parent)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		if (strcmp(constr->check[i].ccname, name) == 0)
			return stringToNode(constr->check[i].ccbin);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("expectation \"%s\" of stream \"%s\" has lost its constraint",
					name, RelationGetRelationName(parent)),
			 errhint("Drop it with weir.drop_expectation.")));
}

/* Loads what is expected of events, in terms of a child's columns. */
static void
load_expectations(WeirRuntime *runtime, Relation child)
{
	Relation	parent;
	AttrMap    *map;
	ListCell   *cell;

	runtime->expectations = weir_catalog_load_expectations(runtime->relid);
	if (runtime->expectations == NIL)
		return;
	parent = table_open(runtime->relid, AccessShareLock);
	map = weir_attrmap_by_name(RelationGetDescr(child), RelationGetDescr(parent));
	foreach(cell, runtime->expectations)
	{
		WeirExpectation *expectation = lfirst(cell);
		bool		whole_row;

		expectation->condition = map_variable_attnos(find_condition(parent, expectation->name), 1, 0, map,
													 InvalidOid, &whole_row);
	}
	table_close(parent, NoLock);
}

/* Makes a runtime; NULL if relid is not a stream.  chunk may be InvalidOid. */
static WeirRuntime *
build(Oid relid, Oid chunk)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir stream",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	WeirRuntime *runtime = palloc0(sizeof(WeirRuntime));
	uint64		before = invalidations;
	WeirOwnerSession session;
	Relation	child;

	runtime->relid = relid;
	runtime->context = context;
	runtime->stream = weir_catalog_load_stream(relid, true);
	if (runtime->stream == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return NULL;
	}
	if (!OidIsValid(chunk))
		weir_catalog_check_triggers(relid);
	runtime->windowed = weir_catalog_aggregates(relid, true);
	runtime->chunk = OidIsValid(chunk) ? chunk : weir_chunk_current(relid);
	child = table_open(runtime->chunk, AccessShareLock);
	runtime->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(child));
	runtime->slot_ops = table_slot_callbacks(child);
	runtime->present = palloc0(sizeof(bool) * runtime->tupdesc->natts);
	runtime->compiled = AllocSetContextCreate(context, "pg_weir compiled", ALLOCSET_DEFAULT_SIZES);
	runtime->lot = AllocSetContextCreate(context, "pg_weir lot", 8 * 1024, 256 * 1024, 8 * 1024 * 1024);
	weir_metadata_find(runtime->tupdesc, runtime->stream->name, &runtime->metadata);
	weir_eventtime_find(runtime->tupdesc, runtime->stream, &runtime->eventtime);
	runtime->dedup = weir_dedup_create(runtime->tupdesc, runtime->stream);
	load_expectations(runtime, child);
	/* the planner calls IMMUTABLE functions that DEFAULTs and constraints name */
	weir_owner_enter(runtime->stream->owner, runtime->stream->search_path, &session);
	weir_runtime_recompile(runtime, child);
	weir_owner_leave(&session);
	table_close(child, NoLock);
	MemoryContextSwitchTo(old);
	runtime->valid = invalidations == before;
	return runtime;
}

/* Returns the runtime of a stream and a child, or NULL. */
WeirRuntime *
weir_runtime_get_for(Oid relid, Oid chunk)
{
	RuntimeEntry *entry = find_entry(relid, chunk);
	WeirRuntime *fresh;

	/* invalidations that were sent while we waited for the fence */
	AcceptInvalidationMessages();
	/* one that a batch is using stays, even stale: its triggers may have brought us here */
	if (entry->runtime != NULL && (entry->runtime->valid || entry->runtime->busy))
		return entry->runtime;

	fresh = build(relid, chunk);
	if (entry->runtime != NULL)
	{
		MemoryContextDelete(entry->runtime->context);
		entry->runtime = NULL;
	}
	if (fresh != NULL)
	{
		MemoryContextSetParent(fresh->context, CacheMemoryContext);
		entry->runtime = fresh;
	}
	return fresh;
}

/* Returns the runtime of a stream, or NULL. */
WeirRuntime *
weir_runtime_get(Oid relid)
{
	return weir_runtime_get_for(relid, InvalidOid);
}

/* Is a batch of a stream being applied, and has called us? */
bool
weir_runtime_is_busy(Oid relid)
{
	HASH_SEQ_STATUS status;
	RuntimeEntry *entry;
	bool		busy = false;

	if (runtimes == NULL)
		return false;
	hash_seq_init(&status, runtimes);
	while ((entry = hash_seq_search(&status)) != NULL)
		busy = busy || (entry->key.relid == relid && entry->runtime != NULL && entry->runtime->busy);
	return busy;
}

/* Forgets that a batch was being applied, and lets go of its rows. */
static void
release(WeirRuntime *runtime)
{
	runtime->busy = false;
	for (int i = 0; i < WEIR_LOT && runtime->slots[i] != NULL; i++)
	{
		if (!TTS_EMPTY(runtime->slots[i]))
			ExecClearTuple(runtime->slots[i]);
	}
	MemoryContextReset(runtime->lot);
}

/* Does so for whatever child it was being applied to. */
void
weir_runtime_release(Oid relid)
{
	HASH_SEQ_STATUS status;
	RuntimeEntry *entry;

	if (runtimes == NULL)
		return;
	hash_seq_init(&status, runtimes);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.relid == relid && entry->runtime != NULL)
			release(entry->runtime);
	}
}

/* Returns the i-th slot of a lot, empty. */
TupleTableSlot *
weir_runtime_slot(WeirRuntime *runtime, int i)
{
	if (runtime->slots[i] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(runtime->context);

		runtime->slots[i] = MakeTupleTableSlot(runtime->tupdesc, runtime->slot_ops);
		/* dropped columns stay NULL: nobody fills them */
		memset(runtime->slots[i]->tts_isnull, true, runtime->tupdesc->natts);
		MemoryContextSwitchTo(old);
	}
	return ExecClearTuple(runtime->slots[i]);
}
