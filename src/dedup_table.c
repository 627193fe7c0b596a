/*
 * dedup_table.c
 *	  Rows of a table that remembers event ids.
 *
 * They are read as a unique index reads its table: what is committed and what
 * is not yet, whatever the snapshot of the transaction.  That is so for rows
 * alone; what follows from one that is not committed is dedup_store.c's.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog_dedup.h"
#include "compat.h"
#include "dedup_table.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Opens a table. */
void
weir_dedup_table_open(WeirDedupTable *table, Oid relid)
{
	List	   *indexes;

	table->table = table_open(relid, RowExclusiveLock);
	indexes = RelationGetIndexList(table->table);
	if (list_length(indexes) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" must have one index", RelationGetRelationName(table->table))));
	table->index = index_open(linitial_oid(indexes), RowExclusiveLock);
	list_free(indexes);
}

/* Closes it, keeping the locks. */
void
weir_dedup_table_close(WeirDedupTable *table)
{
	index_close(table->index, NoLock);
	table_close(table->table, NoLock);
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
				 errmsg("column %d of a table of event ids is null", attribute)));
	return value;
}

/* Returns the transaction that has written a row. */
static TransactionId
writer_of(TupleTableSlot *slot)
{
	bool		should_free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
	TransactionId xid = HeapTupleHeaderGetXmin(tuple->t_data);

	if (should_free)
		heap_freetuple(tuple);
	return xid;
}

/* Has this transaction ended? */
bool
weir_dedup_table_settle(TransactionId *xid)
{
	if (TransactionIdIsCurrentTransactionId(*xid) || TransactionIdIsInProgress(*xid))
		return true;
	if (!TransactionIdDidCommit(*xid))
		return false;
	*xid = InvalidTransactionId;
	return true;
}

/* Reads what a row says; false if whoever has written it was rolled back. */
static bool
read_row(TupleTableSlot *slot, WeirDedupRow *row)
{
	row->number = DatumGetInt64(column(slot, WEIR_IDS_BLOCK));
	row->slice_end = DatumGetTimestampTz(column(slot, WEIR_IDS_SLICE_END));
	row->count = DatumGetInt32(column(slot, WEIR_IDS_COUNT));
	row->tid = slot->tts_tid;
	row->xid = writer_of(slot);
	return weir_dedup_table_settle(&row->xid);
}

/* Calls back for rows. */
void
weir_dedup_table_scan(WeirDedupTable *table, int64 after,
					  void (*callback) (void *arg, const WeirDedupRow *row), void *arg)
{
	TupleTableSlot *slot = table_slot_create(table->table, NULL);
	SnapshotData dirty;
	ScanKeyData key;
	IndexScanDesc scan;
	WeirDedupRow row;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, WEIR_IDS_BLOCK, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	scan = weir_index_beginscan(table->table, table->index, &dirty, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (read_row(slot, &row))
			callback(arg, &row);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Reads a row by its place; false if it is gone. */
static bool
find_row(WeirDedupTable *table, const WeirDedupRow *row, Snapshot snapshot, TupleTableSlot *slot)
{
	ItemPointerData tid = row->tid;

	/* another row may have the place by now */
	return table_tuple_fetch_row_version(table->table, &tid, snapshot, slot) &&
		DatumGetInt64(column(slot, WEIR_IDS_BLOCK)) == row->number;
}

/*
 * Returns the ids of a row.  What another transaction has written and may
 * still roll back, a vacuum might remove while we read; it is kept away.
 */
bytea *
weir_dedup_table_fetch(WeirDedupTable *table, const WeirDedupRow *row)
{
	Oid			toast = table->table->rd_rel->reltoastrelid;
	bool		unsure = TransactionIdIsValid(row->xid) && !TransactionIdIsCurrentTransactionId(row->xid);
	TupleTableSlot *slot = table_slot_create(table->table, NULL);
	bytea	   *ids = NULL;
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	if (unsure)
		LockRelationOid(toast, ShareUpdateExclusiveLock);
	if (find_row(table, row, &dirty, slot))
		ids = DatumGetByteaPCopy(column(slot, WEIR_IDS_IDS));
	if (unsure)
		UnlockRelationOid(toast, ShareUpdateExclusiveLock);
	ExecDropSingleTupleTableSlot(slot);
	return ids;
}

/* Enters a row into the index. */
static void
insert_into_index(WeirDedupTable *table, TupleTableSlot *slot)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);

	InitResultRelInfo(info, table->table, 0, NULL, 0);
	ExecOpenIndices(info, false);
	list_free(weir_insert_index_tuples(info, slot, estate));
	ExecCloseIndices(info);
	FreeExecutorState(estate);
	pfree(info);
}

/* Adds a row. */
void
weir_dedup_table_insert(WeirDedupTable *table, WeirDedupRow *row, bytea *ids)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(table->table), &TTSOpsHeapTuple);
	Datum		values[WEIR_IDS_COLUMNS];
	bool		nulls[WEIR_IDS_COLUMNS] = {false};

	values[WEIR_IDS_BLOCK - 1] = Int64GetDatum(row->number);
	values[WEIR_IDS_SLICE_END - 1] = TimestampTzGetDatum(row->slice_end);
	values[WEIR_IDS_COUNT - 1] = Int32GetDatum((int32) row->count);
	values[WEIR_IDS_IDS - 1] = PointerGetDatum(ids);
	ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(table->table), values, nulls), slot, true);
	table_tuple_insert(table->table, slot, GetCurrentCommandId(true), 0, NULL);
	insert_into_index(table, slot);
	row->tid = slot->tts_tid;
	row->xid = GetCurrentTransactionId();
	ExecDropSingleTupleTableSlot(slot);
}

/* Deletes a row, unless it is gone already.  The caller keeps others from doing so. */
bool
weir_dedup_table_delete(WeirDedupTable *table, const WeirDedupRow *row)
{
	TupleTableSlot *slot = table_slot_create(table->table, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		found = find_row(table, row, snapshot, slot);
	ItemPointerData tid = row->tid;

	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	if (found)
		simple_heap_delete(table->table, &tid);
	return found;
}
