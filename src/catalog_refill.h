/*
 * catalog_refill.h
 *	  Which staged rows a crash has emptied, and how far they are back.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_REFILL_H
#define WEIR_CATALOG_REFILL_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* A range of offsets whose rows are to come back into a child. */
typedef struct WeirRefillRange
{
	int32		partition;
	Oid			chunk;
	int64		first_offset;
	int64		next_offset;	/* everything below is in the child */
	int64		until_offset;
	TimestampTz watermark;		/* before next_offset */
	int64		max_out_of_orderness;	/* as it was then */
} WeirRefillRange;

/* Are the staged rows of a stream there, or planned to come back? */
extern bool weir_catalog_staging_is_marked(Oid relid);

/* Are staged rows of a stream lost, or not all back yet? */
extern bool weir_catalog_refill_is_due(Oid relid);

/* Marks the staging table of a new stream. */
extern void weir_catalog_mark_staging(Oid relid);

/* Forgets that mark if it was made where this database was copied from, unless a refill is under way. */
extern void weir_catalog_doubt_copy(Oid relid);

/*
 * Where the staged rows are lost, plans their return.  The caller holds the
 * batch fence, and no batch of Kafka's messages has run since they were lost.
 */
extern void weir_catalog_plan_refill(Oid relid);

/* Returns what can be read again of a worker's partitions: WeirRefillRange, by partition and offset. */
extern List *weir_catalog_load_refill(Oid relid, int worker, int parallelism);

/* Saves how far a range is, which was at next_offset before; false if it is not there any more. */
extern bool weir_catalog_save_refill(Oid relid, const WeirRefillRange *range, int64 next_offset);

/* Says that what is left of the ranges with first offsets from .. to cannot be read again. */
extern void weir_catalog_lose_refill(Oid relid, int32 partition, int64 from, int64 to);

/* A floor of a partition's watermark, from an offset on. */
typedef struct WeirFloor
{
	int64		from_offset;
	TimestampTz floor;
} WeirFloor;

/* Returns the floors that begin at the offsets from .. to, in order: a List of WeirFloor. */
extern List *weir_catalog_load_floors(Oid relid, int32 partition, int64 from, int64 to);

#endif							/* WEIR_CATALOG_REFILL_H */
