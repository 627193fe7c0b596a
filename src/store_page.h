/*
 * store_page.h
 *	  What the rows of a store hold: entries, and the list of a lane's runs.
 *
 * Floor 1, for store.c alone.
 */
#ifndef WEIR_STORE_PAGE_H
#define WEIR_STORE_PAGE_H

#include "store.h"

/* The key of the index that puts rows in order: bucket and hash of the first entry, as bytes that compare. */
#define WEIR_STORE_FIRST_LEN 12

/* What the entry before said, of which the next only says the difference. */
typedef struct WeirStorePrevious
{
	bool		any;
	int64		bucket;
	uint32		hash;
} WeirStorePrevious;

extern bytea *weir_store_first(int64 bucket, uint32 hash);

extern void weir_store_pack_entry(const WeirStoreEntry *entry, int nsubs, WeirStorePrevious *previous,
								  StringInfo bytes);
extern void weir_store_unpack_entry(WeirUnpack *bytes, int nsubs, WeirStorePrevious *previous,
									WeirStoreEntry *entry);

extern bytea *weir_store_pack_runs(const WeirStoreLane *lane);
extern void weir_store_unpack_runs(bytea *packed, WeirStoreLane *lane);

#endif							/* WEIR_STORE_PAGE_H */
