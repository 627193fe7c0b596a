/*
 * catalog_watermark.h
 *	  The watermark of a whole stream.  What others call is in catalog.h.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_WATERMARK_H
#define WEIR_CATALOG_WATERMARK_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Makes sure that the stream's watermark does not fall below what it is now,
 * whatever happens to its partitions, and returns it.  Holds the stream's row
 * until commit, so that leaving out and taking in exclude each other.
 */
extern TimestampTz weir_catalog_hold_watermark(Oid relid);

#endif							/* WEIR_CATALOG_WATERMARK_H */
