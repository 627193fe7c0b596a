/*
 * dedup_table.h
 *	  Rows of a table that remembers event ids.
 *
 * Floor 1, for dedup_store.c.
 */
#ifndef WEIR_DEDUP_TABLE_H
#define WEIR_DEDUP_TABLE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

/* What a row says of its block, but for the ids. */
typedef struct WeirDedupRow
{
	int64		number;
	TimestampTz slice_end;
	uint32		count;
	ItemPointerData tid;
	TransactionId xid;			/* that has written it, and has not ended; else invalid */
} WeirDedupRow;

typedef struct WeirDedupTable
{
	Relation	table;
	Relation	index;
} WeirDedupTable;

extern void weir_dedup_table_open(WeirDedupTable *table, Oid relid);
extern void weir_dedup_table_close(WeirDedupTable *table);

/* Calls back for each row numbered beyond after, in their order: also those of transactions that have not ended. */
extern void weir_dedup_table_scan(WeirDedupTable *table, int64 after,
								  void (*callback) (void *arg, const WeirDedupRow *row), void *arg);

/* Has a transaction that was under way when it was last asked about ended?  Sets *xid to invalid then; false: it was rolled back. */
extern bool weir_dedup_table_settle(TransactionId *xid);

/* Returns the ids of a row, in the current context, or NULL if the row is gone. */
extern bytea *weir_dedup_table_fetch(WeirDedupTable *table, const WeirDedupRow *row);

/* Adds a row; fills in tid and xid. */
extern void weir_dedup_table_insert(WeirDedupTable *table, WeirDedupRow *row, bytea *ids);

/* Deletes a row; false if it is gone already. */
extern bool weir_dedup_table_delete(WeirDedupTable *table, const WeirDedupRow *row);

#endif							/* WEIR_DEDUP_TABLE_H */
