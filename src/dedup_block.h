/*
 * dedup_block.h
 *	  Ids that were remembered together, as bytes.
 *
 * Floor 1.
 */
#ifndef WEIR_DEDUP_BLOCK_H
#define WEIR_DEDUP_BLOCK_H

#include "postgres.h"

#include "dedup_key.h"

/* A block for reading. */
typedef struct WeirDedupBlock
{
	WeirDedupKey *key;
	uint32		count;
	const char *bytes;
	Size		len;
	uint64	   *hashes;			/* NULL: the bytes' own */
} WeirDedupBlock;

/* An id in memory. */
typedef struct WeirDedupId
{
	uint64		hash;
	const char *bytes;
	Size		len;
} WeirDedupId;

/* Packs ids, which are in the order of their hashes, as a bytea. */
extern bytea *weir_dedup_block_pack(const WeirDedupKey *key, const WeirDedupId *ids, uint32 count);

/* Opens the bytes of a packed block, in the current context; raises XX001 if they cannot be one. */
extern WeirDedupBlock weir_dedup_block_open(WeirDedupKey *key, const bytea *packed, uint32 count);

/* Returns the i-th id, and its hash. */
extern WeirDedupId weir_dedup_block_get(const WeirDedupBlock *block, uint32 i);

/* Is an id in the block? */
extern bool weir_dedup_block_has(const WeirDedupBlock *block, const WeirDedupId *id);

#endif							/* WEIR_DEDUP_BLOCK_H */
