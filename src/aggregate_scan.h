/*
 * aggregate_scan.h
 *	  The groups of open windows, finished: rows of a states table.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_SCAN_H
#define WEIR_AGGREGATE_SCAN_H

#include "aggregate.h"
#include "utils/snapshot.h"

/* What a reader wants to see. */
typedef struct WeirScanBounds
{
	TimestampTz from;			/* least and greatest start of a window */
	TimestampTz to;
	bool		keyed;			/* only groups of this hash */
	uint32		hash;
} WeirScanBounds;

typedef struct WeirAggregateScan WeirAggregateScan;

/* Begins to read what a snapshot sees. */
extern WeirAggregateScan *weir_aggregate_scan_begin(WeirAggregate *aggregate, Snapshot snapshot,
													const WeirScanBounds *bounds);

/* Fills in the next row of the states table, whose values live until the call after; false at the end. */
extern bool weir_aggregate_scan_next(WeirAggregateScan *scan, Datum *values, bool *nulls);

extern void weir_aggregate_scan_end(WeirAggregateScan *scan);

/* Returns the least bucket from this one on that has any entry, open or not; false if there is none. */
extern bool weir_aggregate_scan_bucket(WeirAggregateScan *scan, int64 from, int64 *bucket);

/* About how many entries a snapshot sees. */
extern int64 weir_aggregate_scan_size(WeirAggregate *aggregate, Snapshot snapshot);

#endif							/* WEIR_AGGREGATE_SCAN_H */
