/*
 * catalog_dedup.h
 *	  The tables that remember event ids: made, numbered, emptied.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_DEDUP_H
#define WEIR_CATALOG_DEDUP_H

#include "postgres.h"

/* Columns of such a table. */
#define WEIR_IDS_BLOCK 1
#define WEIR_IDS_SLICE_END 2
#define WEIR_IDS_COUNT 3
#define WEIR_IDS_IDS 4
#define WEIR_IDS_COLUMNS 4

/* Makes the table for the ids of a stream. */
extern Oid	weir_catalog_create_ids(Oid stream);

/* Returns a number for a block that no other block has, or had. */
extern int64 weir_catalog_next_block(void);

/* Forgets the ids of a stream, if it remembers any. */
extern void weir_catalog_forget_ids(Oid stream);

#endif							/* WEIR_CATALOG_DEDUP_H */
