/*
 * dedup_store.h
 *	  Event ids that are remembered: a table, and what is known of it in memory.
 *
 * Floor 1.
 */
#ifndef WEIR_DEDUP_STORE_H
#define WEIR_DEDUP_STORE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "dedup_block.h"

typedef struct WeirDedupStore WeirDedupStore;

/*
 * Opens a table of ids until the transaction ends or it is closed, and learns
 * of blocks that were written since this process last had it open.
 */
extern WeirDedupStore *weir_dedup_store_open(Oid relid, WeirDedupKey *key);
extern void weir_dedup_store_close(WeirDedupStore *store);

/* Learns of blocks that were written since. */
extern void weir_dedup_store_learn(WeirDedupStore *store);

/* The number of the last block known. */
extern int64 weir_dedup_store_last(const WeirDedupStore *store);

/* Finds out what has become of blocks whose writers had not ended. */
extern void weir_dedup_store_settle(WeirDedupStore *store);

/* Is an id remembered? */
typedef struct WeirDedupQuery
{
	WeirDedupId id;
	TimestampTz past;			/* slices that end at or before this do not count */
	bool		known;			/* answer: yes */
	TransactionId awaited;		/* answer: yes, if this transaction commits */
} WeirDedupQuery;

/* Answers queries as to blocks that are numbered beyond since (0: all). */
extern void weir_dedup_store_look(WeirDedupStore *store, WeirDedupQuery *queries, int n, int64 since);

/* Remembers ids of one slice, which are in the order of their hashes.  The caller has the fence of ids. */
extern void weir_dedup_store_write(WeirDedupStore *store, TimestampTz slice_end, const WeirDedupId *ids, uint32 n);

/* Might there be blocks of slices that end at or before this? */
extern bool weir_dedup_store_has_expired(const WeirDedupStore *store, TimestampTz past);

/* Lets go of some blocks of slices that end at or before this. */
extern void weir_dedup_store_expire(WeirDedupStore *store, TimestampTz past);

#endif							/* WEIR_DEDUP_STORE_H */
