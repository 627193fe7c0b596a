/*
 * catalog_verdict.h
 *	  What a refill needs to know of offsets that were applied: which child
 *	  their rows went to, with which watermark, and which gave no row.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_VERDICT_H
#define WEIR_CATALOG_VERDICT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/*
 * Notes that a partition's messages go to a child from first_offset on, where
 * watermark and seen (the greatest event time) hold.  True if that was noted
 * before, by a transaction that has committed: it need not be said again for a
 * while.
 */
extern bool weir_catalog_note_range(Oid relid, Oid chunk, int32 partition, int64 first_offset,
									TimestampTz watermark, TimestampTz seen);

/* Logs offsets that were consumed and not staged, as verdict.c encodes them. */
extern void weir_catalog_add_verdict(Oid relid, Oid chunk, int32 partition,
									 int64 first_offset, int64 last_offset, bytea *skipped);

typedef struct WeirVerdictRow
{
	int64		first_offset;
	int64		last_offset;	/* what is encoded beyond that does not count */
	bytea	   *skipped;
} WeirVerdictRow;

/* Returns the verdicts that touch the offsets from .. to, in order: a List of WeirVerdictRow. */
extern List *weir_catalog_load_verdicts(Oid relid, int32 partition, int64 from, int64 to);

/* The partition goes on at another offset, past or before what was applied. */
extern void weir_catalog_break_ranges(Oid relid, int32 partition, int64 offset);

/* What was applied from an offset on has been taken back: no rows are of it. */
extern void weir_catalog_rewind_ranges(Oid relid, int32 partition, int64 offset);

#endif							/* WEIR_CATALOG_VERDICT_H */
