/*
 * store_merge.h
 *	  Several runs of a store read as one, in order.
 *
 * Floor 1.
 */
#ifndef WEIR_STORE_MERGE_H
#define WEIR_STORE_MERGE_H

#include "store.h"

typedef struct WeirStoreMerge WeirStoreMerge;

/*
 * Makes a merge that is to hold up to n cursors; adds one, which it then owns.
 * With one_bucket all entries count as of one bucket, and each cursor must be
 * limited to one.
 */
extern WeirStoreMerge *weir_store_merge_begin(int n, bool one_bucket);
extern void weir_store_merge_add(WeirStoreMerge *merge, WeirStoreCursor *cursor);

/* Returns the next entry in the order of bucket and hash, whose bytes live until the call after, or NULL. */
extern const WeirStoreEntry *weir_store_merge_next(WeirStoreMerge *merge);

extern void weir_store_merge_end(WeirStoreMerge *merge);

#endif							/* WEIR_STORE_MERGE_H */
