/*
 * store.c
 *	  A log-structured store of many small entries in an ordinary table.
 *
 * Updating a row for each key costs an update, an index probe and hundreds of
 * bytes of WAL, and slows down when an old snapshot keeps dead versions
 * around.  Here nothing is ever updated: a batch appends what it has to say as
 * a run of sorted entries, packed into rows of about two kilobytes, and now
 * and then runs are merged into one.
 *
 *		lane 1   run 7 [.......]  run 8 [..]  run 9 [..]     newest
 *		lane 2   run 4 [....................]  run 6 [...]
 *		               rows in the order of (lane, run, first entry, page)
 *
 * The last row of each run lists all runs of its lane that count: so the
 * newest row of a lane, one probe of the index from its end, tells a reader
 * everything, whatever is dead but still there before it.  A lane has one
 * writer at a time, which holds a lock until its transaction ends.
 *
 * Everything is in ordinary rows of an ordinary table: transactions,
 * snapshots, crashes, standbys and dumps treat it as they treat any other.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "store.h"
#include "store_page.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* The columns, and how wide a row's entries may grow before the next row begins. */
#define ATTR_LANE 1
#define ATTR_RUN 2
#define ATTR_FIRST 3
#define ATTR_PAGE 4
#define ATTR_RUNS 5
#define ATTR_ENTRIES 6
#define NATTRS 6
#define PAGE_BYTES 1900

/* More lanes than sessions will ever write at once. */
#define MAX_LANES 1000

struct WeirStoreWriter
{
	WeirStore  *store;
	WeirStoreLane *lane;
	WeirStoreRun run;
	int32		pages;
	StringInfoData bytes;
	WeirStorePrevious previous;
	int64		page_bucket;	/* of the page's first entry */
	uint32		page_hash;
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *slot;
	CommandId	cid;
	MemoryContext page_context;
};

struct WeirStoreCursor
{
	WeirStore  *store;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	int64		bucket;			/* where to begin */
	uint32		hash;
	bool		begun;
	bool		limited;		/* to last_bucket and, if it has_last_hash, last_hash */
	bool		has_last_hash;
	int64		last_bucket;
	uint32		last_hash;
	int64		greatest_sub;
	WeirUnpack	left;			/* of the page */
	WeirStorePrevious previous;
	WeirStoreEntry entry;
	MemoryContext page_context;
	MemoryContext context;		/* of all else */
};

/* Opens a store. */
WeirStore *
weir_store_open(Oid relid, int nsubs, LOCKMODE lockmode)
{
	WeirStore  *store = palloc(sizeof(WeirStore));
	List	   *indexes;

	store->table = table_open(relid, lockmode);
	store->nsubs = nsubs;
	indexes = RelationGetIndexList(store->table);
	if (list_length(indexes) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" must have one index", RelationGetRelationName(store->table))));
	store->index = index_open(linitial_oid(indexes), lockmode);
	list_free(indexes);
	return store;
}

/* Closes a store, keeping the lock. */
void
weir_store_close(WeirStore *store)
{
	index_close(store->index, NoLock);
	table_close(store->table, NoLock);
	pfree(store);
}

/* Begins to read rows in the order of the index. */
static IndexScanDesc
begin_scan(WeirStore *store, Snapshot snapshot, ScanKey keys, int nkeys)
{
	IndexScanDesc scan = weir_index_beginscan(store->table, store->index, snapshot, nkeys);

	index_rescan(scan, keys, nkeys, NULL, 0);
	return scan;
}

/* Returns a column of a row, which is not null. */
static Datum
column(TupleTableSlot *slot, int attribute)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attribute, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column %d of a store is null", attribute)));
	return value;
}

/* Reads the newest row of a lane, or if number is 0 of the last lane before. */
static WeirStoreLane *
read_lane(WeirStore *store, Snapshot snapshot, int number, StrategyNumber strategy)
{
	TupleTableSlot *slot = table_slot_create(store->table, NULL);
	WeirStoreLane *lane = NULL;
	IndexScanDesc scan;
	ScanKeyData key;

	ScanKeyInit(&key, ATTR_LANE, strategy, strategy == BTEqualStrategyNumber ? F_INT4EQ : F_INT4LT,
				Int32GetDatum(number));
	scan = begin_scan(store, snapshot, &key, 1);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		lane = palloc0(sizeof(WeirStoreLane));
		lane->number = DatumGetInt32(column(slot, ATTR_LANE));
		weir_store_unpack_runs(DatumGetByteaPP(column(slot, ATTR_RUNS)), lane);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return lane;
}

/* Takes a lane that nobody else is writing to. */
WeirStoreLane *
weir_store_take_lane(WeirStore *store, bool alone)
{
	int			number = 1;
	Snapshot	snapshot;
	WeirStoreLane *lane;

	while (!weir_fence_lane(RelationGetRelid(store->table), number, alone))
	{
		if (++number > MAX_LANES)
			ereport(ERROR,
					(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
					 errmsg("too many sessions write to \"%s\"", RelationGetRelationName(store->table))));
	}

	/* whoever had the lane before has committed: our transaction's own snapshot may be older */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	lane = read_lane(store, snapshot, number, BTEqualStrategyNumber);
	UnregisterSnapshot(snapshot);
	if (lane == NULL)
	{
		lane = palloc0(sizeof(WeirStoreLane));
		lane->number = number;
	}
	return lane;
}

/* Returns the lanes that a snapshot sees. */
List *
weir_store_lanes(WeirStore *store, Snapshot snapshot)
{
	List	   *lanes = NIL;
	WeirStoreLane *lane;
	int			before = PG_INT32_MAX;

	while ((lane = read_lane(store, snapshot, before, BTLessStrategyNumber)) != NULL)
	{
		lanes = lappend(lanes, lane);
		before = lane->number;
	}
	return lanes;
}

/* Begins to write a run. */
WeirStoreWriter *
weir_store_write_begin(WeirStore *store, WeirStoreLane *lane, int level)
{
	WeirStoreWriter *writer = palloc0(sizeof(WeirStoreWriter));

	writer->store = store;
	writer->lane = lane;
	writer->run.id = lane->last_run + 1;
	writer->run.level = level;
	initStringInfo(&writer->bytes);
	writer->estate = CreateExecutorState();
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, store->table, 0, NULL, 0);
	ExecOpenIndices(writer->info, false);
	writer->slot = MakeSingleTupleTableSlot(RelationGetDescr(store->table), &TTSOpsHeapTuple);
	writer->cid = GetCurrentCommandId(true);
	writer->page_context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir store page", ALLOCSET_SMALL_SIZES);
	return writer;
}

/* Writes a row with the entries so far, and the list of runs if it is the last. */
static void
write_page(WeirStoreWriter *writer, bool last)
{
	MemoryContext old = MemoryContextSwitchTo(writer->page_context);
	Datum		values[NATTRS];
	bool		nulls[NATTRS] = {false};
	HeapTuple	tuple;

	values[ATTR_LANE - 1] = Int32GetDatum(writer->lane->number);
	values[ATTR_RUN - 1] = Int64GetDatum(writer->run.id);
	values[ATTR_FIRST - 1] = PointerGetDatum(weir_store_first(writer->page_bucket, writer->page_hash));
	values[ATTR_PAGE - 1] = Int32GetDatum(writer->pages++);
	nulls[ATTR_RUNS - 1] = !last;
	values[ATTR_RUNS - 1] = last ? PointerGetDatum(weir_store_pack_runs(writer->lane)) : (Datum) 0;
	values[ATTR_ENTRIES - 1] = PointerGetDatum(cstring_to_text_with_len(writer->bytes.data, writer->bytes.len));
	tuple = heap_form_tuple(RelationGetDescr(writer->store->table), values, nulls);
	ExecStoreHeapTuple(tuple, writer->slot, false);
	table_tuple_insert(writer->store->table, writer->slot, writer->cid, 0, NULL);
	list_free(weir_insert_index_tuples(writer->info, writer->slot, writer->estate));
	ExecClearTuple(writer->slot);
	MemoryContextSwitchTo(old);

	ResetPerTupleExprContext(writer->estate);
	MemoryContextReset(writer->page_context);
	resetStringInfo(&writer->bytes);
	writer->previous.any = false;
}

/* Writes an entry. */
void
weir_store_write(WeirStoreWriter *writer, const WeirStoreEntry *entry)
{
	Size		more = (entry->key.end - entry->key.next) + (entry->value.end - entry->value.next);

	if (writer->bytes.len > 0 && writer->bytes.len + more > PAGE_BYTES)
		write_page(writer, false);
	if (writer->bytes.len == 0)
	{
		writer->page_bucket = entry->bucket;
		writer->page_hash = entry->hash;
	}
	if (writer->run.entries++ == 0)
		writer->run.first_bucket = entry->bucket;
	writer->run.last_bucket = entry->bucket;
	weir_store_pack_entry(entry, writer->store->nsubs, &writer->previous, &writer->bytes);
}

/* Deletes the rows of a run. */
static void
delete_run(WeirStore *store, int lane, int64 run)
{
	TupleTableSlot *slot = table_slot_create(store->table, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData keys[2];
	IndexScanDesc scan;

	ScanKeyInit(&keys[0], ATTR_LANE, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(lane));
	ScanKeyInit(&keys[1], ATTR_RUN, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(run));
	scan = begin_scan(store, snapshot, keys, 2);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
		simple_heap_delete(store->table, &slot->tts_tid);
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
}

/* Puts the run in the place of others in the lane's list, and deletes those. */
static void
replace_runs(WeirStoreWriter *writer, const Bitmapset *replaced)
{
	WeirStoreLane *lane = writer->lane;
	int			kept = 0;

	lane->runs = lane->runs == NULL ? palloc(sizeof(WeirStoreRun)) :
		repalloc(lane->runs, sizeof(WeirStoreRun) * (lane->nruns + 1));
	for (int i = 0; i < lane->nruns; i++)
	{
		if (bms_is_member(i, replaced))
			delete_run(writer->store, lane->number, lane->runs[i].id);
		else
			lane->runs[kept++] = lane->runs[i];
	}
	lane->runs[kept++] = writer->run;
	lane->nruns = kept;
	lane->last_run = writer->run.id;
}

/* Ends a run. */
void
weir_store_write_end(WeirStoreWriter *writer, const Bitmapset *replaced)
{
	replace_runs(writer, replaced);
	write_page(writer, true);
	ExecDropSingleTupleTableSlot(writer->slot);
	ExecCloseIndices(writer->info);
	FreeExecutorState(writer->estate);
	MemoryContextDelete(writer->page_context);
	pfree(writer->bytes.data);
	pfree(writer);
	CommandCounterIncrement();
}

/* Returns what the row before the one that may begin with (bucket, hash) begins with, or NULL. */
static bytea *
find_page(WeirStoreCursor *cursor, Snapshot snapshot, ScanKeyData *keys, bytea *first)
{
	bytea	   *found = NULL;
	IndexScanDesc scan;

	ScanKeyInit(&keys[2], ATTR_FIRST, BTLessStrategyNumber, F_BYTEALT, PointerGetDatum(first));
	scan = begin_scan(cursor->store, snapshot, keys, 3);
	if (index_getnext_slot(scan, BackwardScanDirection, cursor->slot))
		found = DatumGetByteaPCopy(column(cursor->slot, ATTR_FIRST));
	index_endscan(scan);
	ExecClearTuple(cursor->slot);
	return found;
}

/* Opens a run at the first entry not before (bucket, hash). */
WeirStoreCursor *
weir_store_cursor_open(WeirStore *store, Snapshot snapshot, int lane, int64 run, int64 bucket, uint32 hash)
{
	WeirStoreCursor *cursor = palloc0(sizeof(WeirStoreCursor));
	bytea	   *first;
	ScanKeyData keys[3];

	cursor->store = store;
	cursor->context = CurrentMemoryContext;
	cursor->slot = table_slot_create(store->table, NULL);
	cursor->bucket = bucket;
	cursor->hash = hash;
	cursor->greatest_sub = PG_INT64_MAX;
	cursor->page_context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir store page", ALLOCSET_SMALL_SIZES);
	ScanKeyInit(&keys[0], ATTR_LANE, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(lane));
	ScanKeyInit(&keys[1], ATTR_RUN, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(run));
	first = find_page(cursor, snapshot, keys, weir_store_first(bucket, hash));
	if (first != NULL)
		ScanKeyInit(&keys[2], ATTR_FIRST, BTGreaterEqualStrategyNumber, F_BYTEAGE, PointerGetDatum(first));
	cursor->scan = begin_scan(store, snapshot, keys, first != NULL ? 3 : 2);
	return cursor;
}

/* Reads the next row; false if there is none. */
static bool
next_page(WeirStoreCursor *cursor)
{
	MemoryContext old = MemoryContextSwitchTo(cursor->context);
	bool		found;
	bytea	   *bytes;

	/* the scan keeps what it allocates on its way, such as the places of dead entries */
	found = index_getnext_slot(cursor->scan, ForwardScanDirection, cursor->slot);
	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	MemoryContextReset(cursor->page_context);
	old = MemoryContextSwitchTo(cursor->page_context);
	bytes = DatumGetByteaPP(column(cursor->slot, ATTR_ENTRIES));
	MemoryContextSwitchTo(old);
	cursor->left.next = VARDATA_ANY(bytes);
	cursor->left.end = cursor->left.next + VARSIZE_ANY_EXHDR(bytes);
	cursor->previous.any = false;
	return true;
}

/* Ends a cursor after the entries of this bucket, and with has_hash of this hash. */
void
weir_store_cursor_limit(WeirStoreCursor *cursor, int64 bucket, bool has_hash, uint32 hash)
{
	cursor->limited = true;
	cursor->last_bucket = bucket;
	cursor->has_last_hash = has_hash;
	cursor->last_hash = hash;
}

/* Leaves out entries whose first number is greater. */
void
weir_store_cursor_limit_sub(WeirStoreCursor *cursor, int64 sub)
{
	cursor->greatest_sub = sub;
}

/* Is an entry after the cursor's limit? */
static bool
is_after(const WeirStoreCursor *cursor, const WeirStoreEntry *entry)
{
	return cursor->limited &&
		(entry->bucket > cursor->last_bucket ||
		 (entry->bucket == cursor->last_bucket && cursor->has_last_hash && entry->hash > cursor->last_hash));
}

/* Is an entry before the place where the cursor was opened? */
static bool
is_before(const WeirStoreCursor *cursor, const WeirStoreEntry *entry)
{
	return entry->bucket < cursor->bucket ||
		(entry->bucket == cursor->bucket && entry->hash < cursor->hash);
}

/* Returns the next entry. */
const WeirStoreEntry *
weir_store_cursor_next(WeirStoreCursor *cursor)
{
	for (;;)
	{
		while (cursor->left.next == cursor->left.end)
		{
			if (!next_page(cursor))
				return NULL;
		}
		weir_store_unpack_entry(&cursor->left, cursor->store->nsubs, &cursor->previous, &cursor->entry);
		cursor->begun = cursor->begun || !is_before(cursor, &cursor->entry);
		if (is_after(cursor, &cursor->entry))
			return NULL;
		if (cursor->begun && cursor->entry.sub[0] <= cursor->greatest_sub)
			return &cursor->entry;
	}
}

/* Closes a cursor. */
void
weir_store_cursor_close(WeirStoreCursor *cursor)
{
	index_endscan(cursor->scan);
	ExecDropSingleTupleTableSlot(cursor->slot);
	MemoryContextDelete(cursor->page_context);
	pfree(cursor);
}
