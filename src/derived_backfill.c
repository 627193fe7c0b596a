/*
 * derived_backfill.c
 *	  The rows of a source, for what is begun with them.
 *
 * The rows go the way of batches: from the table, or the children of the
 * staging table, a transition table's worth at a time.  The caller keeps batches out meanwhile.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "derived_source.h"
#include "errors.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
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
	const WeirSource *source;
	WeirSourceTake take;
	void	   *arg;
	Relation	parent;
	TupleTableSlot *slot;		/* of the parent */
	Tuplestorestate *batch;
	int			rows;
} Backfill;

/* A part of the batch, as weir_try() is given it. */
typedef struct Part
{
	Backfill   *backfill;
	Tuplestorestate *rows;
} Part;

static void
take_part(void *arg)
{
	Part	   *part = arg;

	part->backfill->take(part->backfill->arg, part->rows);
}

/* Returns the rows [from, to) of the batch, and the first of them in the backfill's slot. */
static Tuplestorestate *
rows_between(Backfill *backfill, int from, int to)
{
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, BATCH_KB);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(backfill->parent), &TTSOpsMinimalTuple);

	tuplestore_rescan(backfill->batch);
	if (from > 0)
		(void) tuplestore_skiptuples(backfill->batch, from, true);
	for (int i = from; i < to && tuplestore_gettupleslot(backfill->batch, true, true, slot); i++)
		tuplestore_puttupleslot(rows, slot);
	ExecCopySlot(backfill->slot, slot);
	ExecDropSingleTupleTableSlot(slot);
	return rows;
}

/* Tries the rows [from, to); returns the error they raise, or NULL. */
static ErrorData *
try_rows(Backfill *backfill, int from, int to)
{
	Part		part = {backfill, rows_between(backfill, from, to)};
	ErrorData  *error = weir_try(take_part, &part);

	tuplestore_end(part.rows);
	return error;
}

/* Adds to the context of an error which event is at fault: the one in the slot. */
static void
name_event(const Backfill *backfill, ErrorData *error)
{
	bool		isnull;
	int32		partition = DatumGetInt32(slot_getattr(backfill->slot, backfill->source->columns.partition, &isnull));
	int64		offset = DatumGetInt64(slot_getattr(backfill->slot, backfill->source->columns.offset, &isnull));
	char	   *place = psprintf("stream \"%s\", partition %d, offset " INT64_FORMAT,
								 get_rel_name(backfill->source->stream), partition, offset);

	error->context = error->context == NULL ? place : psprintf("%s\n%s", error->context, place);
}

/* Raises the error of a batch of so many rows, with the event that raises it alone, found by halving. */
static void
blame_event(Backfill *backfill, int rows, ErrorData *error)
{
	int			from = 0;
	int			to = rows;

	while (to - from > 1)
	{
		int			middle = from + (to - from) / 2;
		ErrorData  *found = try_rows(backfill, from, middle);

		if (found != NULL)
			to = middle;
		else if ((found = try_rows(backfill, middle, to)) != NULL)
			from = middle;
		else
			ReThrowError(error);	/* only together do they raise it */
		error = found;
	}
	tuplestore_end(rows_between(backfill, from, to));
	name_event(backfill, error);
	ReThrowError(error);
}

/* Hands over what has come together. */
static void
flush(Backfill *backfill)
{
	Part		part = {backfill, backfill->batch};
	ErrorData  *error;

	if (backfill->batch == NULL)
		return;
	error = weir_try(take_part, &part);
	if (error != NULL)
		blame_event(backfill, backfill->rows, error);
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

/* Adds the rows of a table. */
static void
add_table(Backfill *backfill, Oid relid)
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

/* Hands the rows over. */
void
weir_source_backfill(const WeirSource *source, WeirSourceTake take, void *arg)
{
	Backfill	backfill = {.source = source, .take = take, .arg = arg};
	ListCell   *cell;

	backfill.parent = table_open(source->relid, AccessShareLock);
	backfill.slot = MakeSingleTupleTableSlot(RelationGetDescr(backfill.parent), &TTSOpsVirtual);
	if (source->relid != source->stream)
		add_table(&backfill, source->relid);
	else foreach(cell, find_inheritance_children(source->relid, AccessShareLock))
		add_table(&backfill, lfirst_oid(cell));
	flush(&backfill);
	ExecDropSingleTupleTableSlot(backfill.slot);
	table_close(backfill.parent, NoLock);
}
