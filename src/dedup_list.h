/*
 * dedup_list.h
 *	  Blocks of event ids that a process knows of, and how it stands with them.
 *
 * Floor 1, for dedup_store.c.
 */
#ifndef WEIR_DEDUP_LIST_H
#define WEIR_DEDUP_LIST_H

#include "postgres.h"

#include "dedup_set.h"
#include "dedup_table.h"

/* A block. */
typedef struct WeirDedupKnown
{
	WeirDedupRow row;
	bool		resident;		/* its ids are in the set */
	bool		gone;			/* deleted, or rolled back */
} WeirDedupKnown;

/* Places of blocks in the list, in no order. */
typedef struct WeirDedupPlaces
{
	uint32	   *items;
	uint32		count;
	uint32		room;
} WeirDedupPlaces;

typedef struct WeirDedupList
{
	MemoryContext context;
	WeirDedupKnown *blocks;
	uint32		nblocks;
	uint32		room;
	int64		last;			/* number of the last block seen */
	WeirDedupPlaces pending;	/* blocks whose writers had not ended */
	WeirDedupPlaces distant;	/* blocks not in the set */
	WeirDedupPlaces gone;		/* blocks that entries of the set may still point to */
	WeirDedupPlaces unused;		/* free places */
	uint32		sweeping;		/* so many of gone will be unused when the sweep is over */
	int			swept;			/* parts of the set */
	int64		distant_ids;
} WeirDedupList;

/* Makes a list empty, whose memory will be of a context. */
extern void weir_dedup_list_init(WeirDedupList *list, MemoryContext context);

/* Notes a block, which is distant at first. */
extern void weir_dedup_list_add(WeirDedupList *list, const WeirDedupRow *row);

/* Says that the i-th of the distant blocks is in the set from now on; returns its place. */
extern uint32 weir_dedup_list_take(WeirDedupList *list, uint32 i);

/* Says that a block's row is not there any more. */
extern void weir_dedup_list_forget(WeirDedupList *list, uint32 place);

/* Finds out what has become of blocks whose writers had not ended. */
extern void weir_dedup_list_settle(WeirDedupList *list);

/* Is the block at a place gone?  As the set asks. */
extern bool weir_dedup_list_is_gone(void *list, uint32 place);

/* Takes entries of blocks that are gone out of the set, a little at a time. */
extern void weir_dedup_list_sweep(WeirDedupList *list, WeirDedupSet *set);

/* Memory in use. */
extern Size weir_dedup_list_bytes(const WeirDedupList *list);

#endif							/* WEIR_DEDUP_LIST_H */
