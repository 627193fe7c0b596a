/*
 * store.h
 *	  A log-structured store of many small entries in an ordinary table.
 *
 * Floor 1.
 */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include "postgres.h"

#include "nodes/bitmapset.h"
#include "pack.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* How many numbers of its own an entry may carry besides key and value. */
#define WEIR_STORE_SUBS 2

/* An entry.  Entries are in the order of bucket and hash. */
typedef struct WeirStoreEntry
{
	int64		bucket;			/* say, when its window starts */
	uint32		hash;			/* of the key */
	int64		sub[WEIR_STORE_SUBS];	/* as many as the store was opened for */
	WeirUnpack	key;
	WeirUnpack	value;
} WeirStoreEntry;

/* Entries that were written together, in order. */
typedef struct WeirStoreRun
{
	int64		id;
	int			level;			/* how many times they were merged */
	int64		entries;
	int64		first_bucket;
	int64		last_bucket;
} WeirStoreRun;

/* Runs that one writer after the other has written; their entries may say something of the same keys. */
typedef struct WeirStoreLane
{
	int			number;			/* from 1 on */
	int64		last_run;
	int			nruns;
	WeirStoreRun *runs;
} WeirStoreLane;

typedef struct WeirStore
{
	Relation	table;
	Relation	index;
	int			nsubs;
} WeirStore;

typedef struct WeirStoreWriter WeirStoreWriter;

/* Reads the entries of a run in order. */
typedef struct WeirStoreCursor WeirStoreCursor;

/* Opens a store, and closes it, keeping the lock. */
extern WeirStore *weir_store_open(Oid relid, int nsubs, LOCKMODE lockmode);
extern void weir_store_close(WeirStore *store);

/*
 * Takes a lane that nobody else is writing to, until the transaction ends;
 * returns what is in it.  Several sessions may write at once, each to a lane
 * of its own; with alone there is but one lane, for which they wait.
 */
extern WeirStoreLane *weir_store_take_lane(WeirStore *store, bool alone);

/* Returns the lanes that a snapshot sees, as a List of WeirStoreLane. */
extern List *weir_store_lanes(WeirStore *store, Snapshot snapshot);

/*
 * Writes a run into a lane that was taken: entries in order, then the end,
 * which puts the run in the place of those at these positions of the lane's
 * runs.
 */
extern WeirStoreWriter *weir_store_write_begin(WeirStore *store, WeirStoreLane *lane, int level);
extern void weir_store_write(WeirStoreWriter *writer, const WeirStoreEntry *entry);
extern void weir_store_write_end(WeirStoreWriter *writer, const Bitmapset *replaced);

/* Opens a run at the first entry not before (bucket, hash). */
extern WeirStoreCursor *weir_store_cursor_open(WeirStore *store, Snapshot snapshot, int lane, int64 run,
											   int64 bucket, uint32 hash);

/* Ends a cursor after the entries of this bucket, and with has_hash of this hash. */
extern void weir_store_cursor_limit(WeirStoreCursor *cursor, int64 bucket, bool has_hash, uint32 hash);

/* Leaves out entries whose first number is greater. */
extern void weir_store_cursor_limit_sub(WeirStoreCursor *cursor, int64 sub);

/* Returns the next entry, whose bytes live until the call after, or NULL. */
extern const WeirStoreEntry *weir_store_cursor_next(WeirStoreCursor *cursor);

extern void weir_store_cursor_close(WeirStoreCursor *cursor);

#endif							/* WEIR_STORE_H */
