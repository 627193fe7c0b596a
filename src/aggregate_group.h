/*
 * aggregate_group.h
 *	  Groups put together from the runs of a store.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_GROUP_H
#define WEIR_AGGREGATE_GROUP_H

#include "aggregate_key.h"
#include "aggregate_state.h"
#include "store_merge.h"

/* A group: its key, and what several runs say of it, in the end as one row of states. */
typedef struct WeirGroup
{
	int64		bucket;
	uint32		hash;
	int64		sub[WEIR_STORE_SUBS];
	WeirUnpack	key;
	List	   *values;			/* WeirUnpack */
	WeirUnpack	value;			/* once combined */
} WeirGroup;

/* What gathers groups.  Everything it returns lives in memory until the next call. */
typedef struct WeirGrouper
{
	WeirStoreMerge *merge;
	const WeirKeySet *keys;
	WeirPartialSet *partials;
	int			nsubs;			/* that tell groups apart, besides bucket and key */
	bool		one_bucket;		/* groups extend over all buckets of the merge */
	bool		sessions;		/* the two numbers of an entry are a span of time; spans that touch are one group */
	const WeirStoreEntry *next; /* read, but not yet in a group */
	bool		begun;
	MemoryContext memory;
} WeirGrouper;

extern void weir_grouper_init(WeirGrouper *grouper, WeirStoreMerge *merge, const WeirKeySet *keys,
							  WeirPartialSet *partials, int nsubs, bool one_bucket);

/*
 * Returns the next groups, about so many, as a List of WeirGroup in the order
 * of bucket and hash; NIL at the end.  A group that cannot be combined has an
 * error for its states.
 */
extern List *weir_grouper_next(WeirGrouper *grouper, int about);

extern void weir_grouper_end(WeirGrouper *grouper);

#endif							/* WEIR_AGGREGATE_GROUP_H */
