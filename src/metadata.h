/*
 * metadata.h
 *	  The columns of a staged row that tell where it came from.
 *
 * Floor 2.
 */
#ifndef WEIR_METADATA_H
#define WEIR_METADATA_H

#include "access/tupdesc.h"
#include "batch.h"

/* Columns that every staging table has, then those of metadata => and tombstones =>. */
typedef enum WeirMetadataColumn
{
	WEIR_COLUMN_PARTITION,
	WEIR_COLUMN_OFFSET,
	WEIR_COLUMN_TIMESTAMP,
	WEIR_COLUMN_WATERMARK,
	WEIR_COLUMN_EXTRA,			/* filled by the decoder */
	WEIR_COLUMN_KEY,
	WEIR_COLUMN_HEADERS,
	WEIR_COLUMN_TOPIC,
	WEIR_COLUMN_INGESTED_AT,
	WEIR_COLUMN_TOMBSTONE,
	WEIR_COLUMN_VIOLATIONS,		/* of expectations that keep; filled by expect.c */
	WEIR_NUM_METADATA_COLUMNS
} WeirMetadataColumn;

typedef struct WeirMetadata
{
	AttrNumber	attnos[WEIR_NUM_METADATA_COLUMNS];	/* 0: the table has no such column */
	bool		key_is_text;
} WeirMetadata;

extern const char *weir_metadata_column_name(WeirMetadataColumn column);

/* Finds the metadata columns of a staging table. */
extern void weir_metadata_find(TupleDesc tupdesc, const char *stream, WeirMetadata *metadata);

/*
 * Fills in a row's metadata.  False with *fault set if the key is not text
 * where _key is.
 */
extern bool weir_metadata_fill(const WeirMetadata *metadata, const WeirBatch *batch,
							   const WeirMessage *message, TimestampTz watermark,
							   Datum *values, bool *isnull, WeirFault *fault);

#endif							/* WEIR_METADATA_H */
