/*
 * catalog_gap.h
 *	  Offsets that a stream passed over without reading them.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_GAP_H
#define WEIR_CATALOG_GAP_H

#include "postgres.h"

/* Why offsets are passed over. */
typedef enum WeirGapCause
{
	WEIR_GAP_SEEK,				/* the user said so */
	WEIR_GAP_RETENTION,			/* the topic does not have them any more */
	WEIR_GAP_TRUNCATION,		/* the partition ends before what was read: it is another one */
	WEIR_GAP_PARTITIONS,		/* the topic has fewer partitions than it had */
	WEIR_GAP_CLUSTER			/* the server leads to another cluster */
} WeirGapCause;

/*
 * Records that a partition is about to go on at another offset than it is
 * applied to; -1: it does not go on.  Nothing is recorded where nothing is
 * passed over, and nothing twice.
 */
extern void weir_catalog_record_gap(Oid relid, int32 partition, int64 to_offset, WeirGapCause cause);

/* Says that a stream begins anew, and its gaps do not count any more. */
extern void weir_catalog_void_gaps(Oid relid);

#endif							/* WEIR_CATALOG_GAP_H */
