/*
 * dedup_block.c
 *	  Ids that were remembered together, as bytes.
 *
 * In the order of their hashes, so that one is found by halving:
 *
 *		of one width	| id | id | id | …
 *		else			| end of each id, four bytes | ids
 *
 * Where the hash is a type's own it may change with a library's version, and
 * the order means nothing: such blocks are hashed when they are read.
 */
#include "postgres.h"

#include "compat.h"
#include "dedup_block.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Packs ids. */
bytea *
weir_dedup_block_pack(const WeirDedupKey *key, const WeirDedupId *ids, uint32 count)
{
	Size		table = key->width > 0 ? 0 : sizeof(uint32) * (Size) count;
	Size		len = table;
	bytea	   *packed;
	char	   *start;
	char	   *at;

	for (uint32 i = 0; i < count; i++)
		len += ids[i].len;
	packed = palloc(VARHDRSZ + len);
	SET_VARSIZE(packed, VARHDRSZ + len);
	start = VARDATA(packed);
	at = start + table;
	for (uint32 i = 0; i < count; i++)
	{
		memcpy(at, ids[i].bytes, ids[i].len);
		at += ids[i].len;
		if (table > 0)
		{
			uint32		end = (uint32) (at - start);

			memcpy(start + sizeof(uint32) * i, &end, sizeof(uint32));
		}
	}
	return packed;
}

/* Returns where an id of varying length ends. */
static uint32
end_of(const WeirDedupBlock *block, uint32 i)
{
	uint32		end;

	memcpy(&end, block->bytes + sizeof(uint32) * i, sizeof(uint32));
	return end;
}

/* Returns the i-th id. */
WeirDedupId
weir_dedup_block_get(const WeirDedupBlock *block, uint32 i)
{
	WeirDedupId id;
	Size		from;
	Size		to;

	if (block->key->width > 0)
	{
		from = (Size) block->key->width * i;
		to = from + block->key->width;
	}
	else
	{
		from = i == 0 ? sizeof(uint32) * (Size) block->count : end_of(block, i - 1);
		to = end_of(block, i);
	}
	if (from > to || to > block->len)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("event id %u of a block ends beyond it", i)));
	id.bytes = block->bytes + from;
	id.len = to - from;
	id.hash = block->hashes != NULL ? block->hashes[i] : weir_dedup_key_hash(block->key, id.bytes, id.len);
	return id;
}

/* Has the types' own functions hash the ids of a block. */
static uint64 *
hash_all(const WeirDedupBlock *block)
{
	uint64	   *hashes = palloc(sizeof(uint64) * Max(block->count, 1));
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_weir event id", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);

	for (uint32 i = 0; i < block->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		hashes[i] = weir_dedup_block_get(block, i).hash;
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return hashes;
}

/* Opens a packed block. */
WeirDedupBlock
weir_dedup_block_open(WeirDedupKey *key, const bytea *packed, uint32 count)
{
	WeirDedupBlock block = {key, count, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed)};
	Size		least = (key->width > 0 ? (Size) key->width : sizeof(uint32)) * count;

	if (key->width > 0 ? block.len != least : block.len < least)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a block of %u event ids has %zu bytes", count, block.len)));
	if (!key->exact)
		block.hashes = hash_all(&block);
	return block;
}


static bool
is_same(const WeirDedupBlock *block, const WeirDedupId *a, const WeirDedupId *b)
{
	return a->hash == b->hash && weir_dedup_key_equal(block->key, a->bytes, a->len, b->bytes, b->len);
}

/* Looks at every id. */
static bool
has_anywhere(const WeirDedupBlock *block, const WeirDedupId *id)
{
	for (uint32 i = 0; i < block->count; i++)
	{
		WeirDedupId other;

		if (block->hashes[i] != id->hash)
			continue;
		other = weir_dedup_block_get(block, i);
		if (is_same(block, &other, id))
			return true;
	}
	return false;
}

/* Is an id in the block? */
bool
weir_dedup_block_has(const WeirDedupBlock *block, const WeirDedupId *id)
{
	uint32		low = 0;
	uint32		high = block->count;

	if (block->hashes != NULL)
		return has_anywhere(block, id);
	while (low < high)
	{
		uint32		middle = low + (high - low) / 2;

		if (weir_dedup_block_get(block, middle).hash < id->hash)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < block->count; low++)
	{
		WeirDedupId other = weir_dedup_block_get(block, low);

		if (other.hash != id->hash)
			break;
		if (is_same(block, &other, id))
			return true;
	}
	return false;
}
