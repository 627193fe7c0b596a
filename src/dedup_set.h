/*
 * dedup_set.h
 *	  In which blocks an id may be: a set of hashes in memory.
 *
 * Floor 1, for dedup_store.c.
 */
#ifndef WEIR_DEDUP_SET_H
#define WEIR_DEDUP_SET_H

#include "postgres.h"

typedef struct WeirDedupSet WeirDedupSet;

/* Is this block gone, so that its entries may go? */
typedef bool (*WeirDedupGoneFn) (void *arg, uint32 block);

/* Memory that a set takes for an id, at most, in bytes. */
#define WEIR_DEDUP_SET_ID_BYTES 14

/* Makes an empty set in context.  *ngone is how many blocks are gone, at any time. */
extern WeirDedupSet *weir_dedup_set_create(MemoryContext context, WeirDedupGoneFn gone, void *arg,
										   const uint32 *ngone);

/* Adds an id.  Fastest in the order of hashes. */
extern void weir_dedup_set_add(WeirDedupSet *set, uint64 hash, uint32 block);

/* A look for an id. */
typedef struct WeirDedupProbe
{
	const struct WeirDedupShard *shard;
	uint32		tag;
	uint32		next;
} WeirDedupProbe;

extern void weir_dedup_set_prefetch(const WeirDedupSet *set, uint64 hash);
extern WeirDedupProbe weir_dedup_set_probe(const WeirDedupSet *set, uint64 hash);

/* Returns the next block that an id may be in, or false.  Nothing may be added meanwhile. */
extern bool weir_dedup_set_next(WeirDedupProbe *probe, uint32 *block);

/* Takes entries of blocks that are gone out of one of the parts. */
#define WEIR_DEDUP_SET_PARTS 256
extern void weir_dedup_set_sweep(WeirDedupSet *set, int part);

/* Bytes in use. */
extern Size weir_dedup_set_bytes(const WeirDedupSet *set);

#endif							/* WEIR_DEDUP_SET_H */
