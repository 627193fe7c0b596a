/*
 * aggregate_backfill.c
 *	  A new continuous aggregate begun with what staging holds.
 *
 * The rows go the way of batches: from the children of the staging table, a
 * transition table's worth at a time.  The caller keeps batches out meanwhile.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "aggregate.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* How many rows are taken in at a time. */
#define BATCH_ROWS 10000

/* How much of them is kept in memory, in kilobytes. */
#define BATCH_KB 16384

/* Rows on their way. */
typedef struct Backfill
{
	WeirAggregate *aggregate;
	Relation	parent;
	TupleTableSlot *slot;		/* of the parent */
	Tuplestorestate *batch;
	int			rows;
} Backfill;

/* Takes in what has come together. */
static void
flush(Backfill *backfill)
{
	if (backfill->batch == NULL)
		return;
	weir_aggregate_take_batch(backfill->aggregate, backfill->batch, (WeirSpan) {false});
	tuplestore_end(backfill->batch);
	backfill->batch = NULL;
	backfill->rows = 0;
}

/* Adds a row of a child. */
static void
add_row(Backfill *backfill, TupleTableSlot *row, TupleConversionMap *map)
{
	if (map != NULL)
		row = execute_attr_map_slot(map->attrMap, row, backfill->slot);
	if (backfill->batch == NULL)
		backfill->batch = tuplestore_begin_heap(false, false, BATCH_KB);
	tuplestore_puttupleslot(backfill->batch, row);
	if (++backfill->rows == BATCH_ROWS)
		flush(backfill);
}

/* Adds the rows of a child. */
static void
add_child(Backfill *backfill, Oid relid)
{
	Relation	child = table_open(relid, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleConversionMap *map = convert_tuples_by_name(RelationGetDescr(child), RelationGetDescr(backfill->parent));
	TupleTableSlot *row = table_slot_create(child, NULL);
	TableScanDesc scan = table_beginscan(child, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		add_row(backfill, row, map);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	UnregisterSnapshot(snapshot);
	table_close(child, NoLock);
}

/* Takes in the rows that are staged. */
void
weir_aggregate_backfill(WeirAggregate *aggregate)
{
	Backfill	backfill = {.aggregate = aggregate};
	ListCell   *cell;

	backfill.parent = table_open(aggregate->row->stream, AccessShareLock);
	backfill.slot = MakeSingleTupleTableSlot(RelationGetDescr(backfill.parent), &TTSOpsVirtual);
	foreach(cell, find_inheritance_children(aggregate->row->stream, AccessShareLock))
		add_child(&backfill, lfirst_oid(cell));
	flush(&backfill);
	ExecDropSingleTupleTableSlot(backfill.slot);
	table_close(backfill.parent, NoLock);
}
