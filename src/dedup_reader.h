/*
 * dedup_reader.h
 *	  Blocks of event ids read from their table, the last ones kept.
 *
 * Floor 1, for dedup_store.c.
 */
#ifndef WEIR_DEDUP_READER_H
#define WEIR_DEDUP_READER_H

#include "postgres.h"

#include "dedup_block.h"
#include "dedup_table.h"

/* Blocks that are kept. */
#define WEIR_DEDUP_KEPT 8

typedef struct WeirDedupKept
{
	int64		number;			/* 0: none */
	MemoryContext context;		/* of the block */
	WeirDedupBlock block;
	uint64		used;
} WeirDedupKept;

typedef struct WeirDedupReader
{
	WeirDedupTable table;		/* opened by the caller, for this transaction */
	WeirDedupKey *key;			/* the caller's, likewise */
	MemoryContext context;
	MemoryContext scratch;		/* of a block while it is looked at */
	WeirDedupKept kept[WEIR_DEDUP_KEPT];
	uint64		uses;
} WeirDedupReader;

/* Makes a reader whose memory will be of a context. */
extern void weir_dedup_reader_init(WeirDedupReader *reader, MemoryContext context);

/* Returns a block until the next call, with count 0 if its row is gone. */
extern WeirDedupBlock weir_dedup_reader_read(WeirDedupReader *reader, const WeirDedupRow *row);

/* The same until many further calls, kept in memory. */
extern const WeirDedupBlock *weir_dedup_reader_keep(WeirDedupReader *reader, const WeirDedupRow *row);

#endif							/* WEIR_DEDUP_READER_H */
