/*
 * dedup_reader.c
 *	  Blocks of event ids read from their table, the last ones kept.
 *
 * What is kept may belong to a row that is deleted meanwhile: its ids are
 * remembered elsewhere then, or too old to be asked for.
 */
#include "postgres.h"

#include "dedup_reader.h"
#include "utils/memutils.h"

/* Makes a reader. */
void
weir_dedup_reader_init(WeirDedupReader *reader, MemoryContext context)
{
	memset(reader, 0, sizeof(*reader));
	reader->context = context;
	reader->scratch = AllocSetContextCreate(context, "pg_weir block of event ids", ALLOCSET_DEFAULT_SIZES);
}

/* Reads a block in this context, which is emptied. */
static WeirDedupBlock
read_into(WeirDedupReader *reader, const WeirDedupRow *row, MemoryContext context)
{
	WeirDedupBlock block = {reader->key};
	MemoryContext old;
	bytea	   *ids;

	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	ids = weir_dedup_table_fetch(&reader->table, row);
	if (ids != NULL)
		block = weir_dedup_block_open(reader->key, ids, row->count);
	MemoryContextSwitchTo(old);
	return block;
}

/* Reads a block. */
WeirDedupBlock
weir_dedup_reader_read(WeirDedupReader *reader, const WeirDedupRow *row)
{
	return read_into(reader, row, reader->scratch);
}

/* Returns a place for a block: its own, or the one to use for it. */
static WeirDedupKept *
find_place(WeirDedupReader *reader, int64 number)
{
	WeirDedupKept *oldest = &reader->kept[0];

	for (int i = 0; i < WEIR_DEDUP_KEPT; i++)
	{
		if (reader->kept[i].number == number)
			return &reader->kept[i];
		if (reader->kept[i].used < oldest->used)
			oldest = &reader->kept[i];
	}
	return oldest;
}

/* Reads a block, or finds it kept. */
const WeirDedupBlock *
weir_dedup_reader_keep(WeirDedupReader *reader, const WeirDedupRow *row)
{
	WeirDedupKept *place = find_place(reader, row->number);

	if (place->number != row->number)
	{
		place->number = 0;
		if (place->context == NULL)
			place->context = AllocSetContextCreate(reader->context, "pg_weir block of event ids", ALLOCSET_DEFAULT_SIZES);
		place->block = read_into(reader, row, place->context);
		if (place->block.count > 0)
			place->number = row->number;
	}
	place->used = ++reader->uses;
	place->block.key = reader->key;
	return &place->block;
}
