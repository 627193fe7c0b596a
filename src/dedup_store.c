/*
 * dedup_store.c
 *	  Event ids that are remembered: a table, and what is known of it in memory.
 *
 * The table is the truth.  A batch appends the ids that it has accepted as
 * blocks, one row for each slice of event time, in its own transaction, and
 * nothing is ever updated:
 *
 *		block   slice_end   count   ids
 *		17      03:00       9,870   |id|id|id|id|…		17 bytes of WAL an id
 *		18      06:00         130   |id|id|…
 *
 * Each process that asks has a set of hashes in memory, which says in which
 * block an id may be; that is made certain by reading the block.  So a stale
 * or mistaken entry in memory costs time, and never a wrong answer.
 *
 * What this guarantees: an id that a committed transaction has written is
 * known to every look that begins after, in whatever process, until its slice
 * is let go; one that was rolled back is known to nobody; one that another
 * transaction has written and not committed is answered as that, with the
 * transaction to wait for.  This holds as blocks are numbered in the order in
 * which they are written, under the fence of ids: a process that asks for what
 * is beyond the last number it has seen misses nothing.
 *
 * Beyond weir.dedup_memory blocks stay out of the set ("distant"), and are
 * looked through on disk, for a lot of ids at once.  So are the blocks that a
 * session finds when it comes, until it has asked about so many ids that
 * having them in memory would have been cheaper.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog.h"
#include "catalog_dedup.h"
#include "dedup_set.h"
#include "dedup_store.h"
#include "dedup_table.h"
#include "guc.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A block has no more ids, nor many more bytes. */
#define BLOCK_IDS 16384
#define BLOCK_BYTES (1024 * 1024)

/* How many blocks one call lets go: their deletion is part of a batch. */
#define EXPIRE_BLOCKS 8

/* Blocks whose ids are at hand. */
#define CACHED_BLOCKS 8

/* Looking for one id in one block on disk takes as long as taking this many ids into memory. */
#define LOOK_COST 32

/* How far ahead memory is asked for. */
#define AHEAD 16

typedef struct Block
{
	WeirDedupRow row;
	bool		resident;		/* its ids are in the set */
	bool		gone;			/* deleted, or rolled back */
} Block;

/* Numbers of blocks, in no order. */
typedef struct Numbers
{
	uint32	   *items;
	uint32		count;
	uint32		room;
} Numbers;

typedef struct CachedBlock
{
	int64		number;			/* 0: none */
	MemoryContext context;		/* of the block */
	WeirDedupBlock block;
	uint64		used;
} CachedBlock;

struct WeirDedupStore
{
	Oid			relid;			/* key of the hash table */
	Oid			file;			/* of the table; another one: it was emptied or rewritten */
	WeirDedupTable table;
	WeirDedupKey *key;			/* the caller's, of this transaction */
	WeirDedupKey *known_key;	/* a copy: what the set was made with */
	MemoryContext context;		/* of what is known */
	MemoryContext scratch;		/* for a block while it is looked at */
	WeirDedupSet *set;
	Block	   *blocks;
	uint32		nblocks;
	uint32		room;
	int64		last;			/* number of the last block seen */
	Numbers		pending;		/* blocks whose writers had not ended */
	Numbers		distant;		/* blocks not in the set */
	Numbers		gone;			/* blocks that entries may still point to */
	Numbers		unused;			/* free places in blocks */
	uint32		sweeping;		/* so many of gone will be unused when the sweep is over */
	int			swept;			/* parts of the set */
	TransactionId expired_in;	/* transaction that has deleted blocks */
	int64		debt;			/* looks through distant blocks so far */
	int64		distant_ids;
	CachedBlock cache[CACHED_BLOCKS];
	uint64		uses;
};

static HTAB *stores = NULL;

/* ---- lists ---- */

static void
add_number(WeirDedupStore *store, Numbers *numbers, uint32 number)
{
	if (numbers->count == numbers->room)
	{
		uint32		room = Max(16, numbers->room * 2);

		numbers->items = numbers->items == NULL ?
			MemoryContextAllocHuge(store->context, sizeof(uint32) * room) :
			repalloc_huge(numbers->items, sizeof(uint32) * room);
		numbers->room = room;
	}
	numbers->items[numbers->count++] = number;
}

static void
remove_at(Numbers *numbers, uint32 i)
{
	numbers->items[i] = numbers->items[--numbers->count];
}

/* ---- memory ---- */

static bool
is_gone(void *arg, uint32 block)
{
	return ((WeirDedupStore *) arg)->blocks[block].gone;
}

/* Returns how much memory this process uses. */
static Size
bytes_used(void)
{
	HASH_SEQ_STATUS status;
	WeirDedupStore *store;
	Size		bytes = 0;

	hash_seq_init(&status, stores);
	while ((store = hash_seq_search(&status)) != NULL)
	{
		if (store->context != NULL)
			bytes += weir_dedup_set_bytes(store->set) + sizeof(Block) * (Size) store->room;
	}
	return bytes;
}

/* Is there room in memory for so many more ids? */
static bool
fits(uint32 count)
{
	return bytes_used() + (Size) count * WEIR_DEDUP_SET_ID_BYTES <= (Size) weir_dedup_memory * 1024;
}

/* Forgets what is in memory. */
static void
forget(WeirDedupStore *store)
{
	Oid			relid = store->relid;

	if (store->context != NULL)
		MemoryContextDelete(store->context);
	memset(store, 0, sizeof(*store));
	store->relid = relid;
}

/* Frees the memory of tables that are gone. */
static void
forget_dropped(void)
{
	HASH_SEQ_STATUS status;
	WeirDedupStore *store;

	hash_seq_init(&status, stores);
	while ((store = hash_seq_search(&status)) != NULL)
	{
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(store->relid)))
			continue;
		forget(store);
		hash_search(stores, &store->relid, HASH_REMOVE, NULL);
	}
}

/* Copies what two keys are compared by. */
static WeirDedupKey *
copy_key(const WeirDedupKey *key)
{
	WeirDedupKey *copy = palloc(sizeof(WeirDedupKey));

	*copy = *key;
	copy->columns = palloc(sizeof(WeirDedupColumn) * key->n);
	memcpy(copy->columns, key->columns, sizeof(WeirDedupColumn) * key->n);
	return copy;
}

/* Makes ready to know a table. */
static void
begin_to_know(WeirDedupStore *store, Oid file, const WeirDedupKey *key)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "pg_weir event ids", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	store->known_key = copy_key(key);
	store->scratch = AllocSetContextCreate(context, "pg_weir block of event ids", ALLOCSET_DEFAULT_SIZES);
	store->set = weir_dedup_set_create(context, is_gone, store, &store->gone.count);
	store->file = file;
	store->context = context;
	MemoryContextSwitchTo(old);
}

/* Returns the entry of a table. */
static WeirDedupStore *
find_store(Oid relid)
{
	bool		found;
	WeirDedupStore *store;

	if (stores == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(WeirDedupStore),.hcxt = TopMemoryContext};

		stores = hash_create("pg_weir event ids", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	store = hash_search(stores, &relid, HASH_FIND, NULL);
	if (store != NULL)
		return store;
	forget_dropped();
	store = hash_search(stores, &relid, HASH_ENTER, &found);
	memset(store, 0, sizeof(*store));
	store->relid = relid;
	return store;
}

/* ---- blocks ---- */

/* Returns a block for reading, in this context, which is emptied; with count 0 if it is gone. */
static WeirDedupBlock
read_block(WeirDedupStore *store, const Block *block, MemoryContext context)
{
	WeirDedupBlock result = {store->key};
	MemoryContext old;
	bytea	   *ids;

	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	ids = weir_dedup_table_fetch(&store->table, &block->row);
	if (ids != NULL)
		result = weir_dedup_block_open(store->key, ids, block->row.count);
	MemoryContextSwitchTo(old);
	return result;
}

/* Returns a place of the cache: the block's own, or the one to use for it. */
static CachedBlock *
cache_place(WeirDedupStore *store, int64 number)
{
	CachedBlock *oldest = &store->cache[0];

	for (int i = 0; i < CACHED_BLOCKS; i++)
	{
		if (store->cache[i].number == number)
			return &store->cache[i];
		if (store->cache[i].used < oldest->used)
			oldest = &store->cache[i];
	}
	return oldest;
}

/* The same, from the cache. */
static const WeirDedupBlock *
read_cached(WeirDedupStore *store, const Block *block)
{
	CachedBlock *place = cache_place(store, block->row.number);

	if (place->number != block->row.number)
	{
		place->number = 0;
		if (place->context == NULL)
			place->context = AllocSetContextCreate(store->context, "pg_weir block of event ids", ALLOCSET_DEFAULT_SIZES);
		place->block = read_block(store, block, place->context);
		if (place->block.count > 0)
			place->number = block->row.number;
	}
	place->used = ++store->uses;
	place->block.key = store->key;
	return &place->block;
}

/* Says that a block is gone; it must not be distant. */
static void
mark_gone(WeirDedupStore *store, uint32 number)
{
	add_number(store, &store->gone, number);
	store->blocks[number].gone = true;
}

/* Takes a block that is gone off the list of distant ones. */
static void
drop_distant(WeirDedupStore *store, uint32 i)
{
	uint32		number = store->distant.items[i];

	mark_gone(store, number);
	store->distant_ids -= store->blocks[number].row.count;
	remove_at(&store->distant, i);
}

/* Notes a block; its ids are distant at first. */
static void
add_block(WeirDedupStore *store, const WeirDedupRow *row)
{
	uint32		number;

	if (store->unused.count > 0)
		number = store->unused.items[store->unused.count - 1];
	else
	{
		if (store->nblocks == store->room)
		{
			uint32		room = Max(64, store->room + store->room / 2);

			store->blocks = store->blocks == NULL ?
				MemoryContextAllocHuge(store->context, sizeof(Block) * room) :
				repalloc_huge(store->blocks, sizeof(Block) * room);
			store->room = room;
		}
		number = store->nblocks;
	}
	store->blocks[number] = (Block) {*row, false, false};
	if (TransactionIdIsValid(row->xid))
		add_number(store, &store->pending, number);
	add_number(store, &store->distant, number);
	if (number == store->nblocks)
		store->nblocks++;
	else
		store->unused.count--;
	store->distant_ids += row->count;
	store->last = Max(store->last, row->number);
}

/* Puts the ids of a distant block into the set. */
static void
add_to_set(WeirDedupStore *store, uint32 i, const uint64 *hashes)
{
	uint32		number = store->distant.items[i];
	Block	   *block = &store->blocks[number];

	/* first, lest an error leaves entries behind that point to a block which is thought to have none */
	remove_at(&store->distant, i);
	block->resident = true;
	store->distant_ids -= block->row.count;
	for (uint32 k = 0; k < block->row.count; k++)
	{
		if (k + AHEAD < block->row.count)
			weir_dedup_set_prefetch(store->set, hashes[k + AHEAD]);
		weir_dedup_set_add(store->set, hashes[k], number);
	}
}

/* Reads a distant block into the set. */
static void
load(WeirDedupStore *store, uint32 i)
{
	WeirDedupBlock block = read_block(store, &store->blocks[store->distant.items[i]], store->scratch);
	uint64	   *hashes;

	if (block.count == 0)
	{
		drop_distant(store, i);
		return;
	}
	hashes = MemoryContextAlloc(store->scratch, sizeof(uint64) * block.count);
	for (uint32 k = 0; k < block.count; k++)
		hashes[k] = weir_dedup_block_get(&block, k).hash;
	add_to_set(store, i, hashes);
}

/*
 * Takes distant blocks into memory, the newest first, if asking about n more
 * ids makes that worth while, and as long as there is room.
 */
static void
load_distant(WeirDedupStore *store, int n)
{
	store->debt += (int64) n * store->distant.count;
	if (store->debt * LOOK_COST < store->distant_ids)
		return;
	while (store->distant.count > 0)
	{
		uint32		i = store->distant.count - 1;

		CHECK_FOR_INTERRUPTS();
		if (!fits(store->blocks[store->distant.items[i]].row.count))
			break;
		load(store, i);
	}
	store->debt = 0;
}

/* ---- learning ---- */

/* Finds out what has become of blocks whose writers had not ended. */
void
weir_dedup_store_settle(WeirDedupStore *store)
{
	for (uint32 i = 0; i < store->pending.count;)
	{
		uint32		number = store->pending.items[i];
		Block	   *block = &store->blocks[number];
		bool		rolled_back = !weir_dedup_table_settle(&block->row.xid);

		if (!rolled_back && TransactionIdIsValid(block->row.xid))
		{
			i++;
			continue;
		}
		remove_at(&store->pending, i);
		if (!rolled_back)
			continue;
		if (block->resident)
			mark_gone(store, number);
		for (uint32 k = 0; !block->gone && k < store->distant.count; k++)
		{
			if (store->distant.items[k] == number)
				drop_distant(store, k);
		}
	}
}

/* Takes entries of blocks that are gone out of the set, a little at a time. */
static void
sweep(WeirDedupStore *store)
{
	if (store->sweeping == 0)
	{
		store->swept = 0;
		store->sweeping = store->gone.count;
	}
	if (store->sweeping == 0)
		return;
	for (int i = 0; i < 4 && store->swept < WEIR_DEDUP_SET_PARTS; i++)
		weir_dedup_set_sweep(store->set, store->swept++);
	if (store->swept < WEIR_DEDUP_SET_PARTS)
		return;
	for (uint32 i = 0; i < store->sweeping; i++)
		add_number(store, &store->unused, store->gone.items[i]);
	store->gone.count -= store->sweeping;
	memmove(store->gone.items, store->gone.items + store->sweeping, sizeof(uint32) * store->gone.count);
	store->sweeping = 0;
}

static void
learn_block(void *arg, const WeirDedupRow *row)
{
	add_block(arg, row);
}

/* Learns of blocks that were written since. */
void
weir_dedup_store_learn(WeirDedupStore *store)
{
	weir_dedup_store_settle(store);
	weir_dedup_table_scan(&store->table, store->last, learn_block, store);
}

/* Returns the number of the last block known. */
int64
weir_dedup_store_last(const WeirDedupStore *store)
{
	return store->last;
}

/* Opens a table of ids. */
WeirDedupStore *
weir_dedup_store_open(Oid relid, WeirDedupKey *key)
{
	WeirDedupStore *store = find_store(relid);
	Oid			file;

	weir_dedup_table_open(&store->table, relid);
	file = store->table.table->rd_rel->relfilenode;
	if (store->context != NULL && (store->file != file || !weir_dedup_key_alike(store->known_key, key)))
	{
		WeirDedupTable table = store->table;

		forget(store);
		store->table = table;
	}
	if (store->context == NULL)
		begin_to_know(store, file, key);
	store->key = key;
	weir_dedup_store_learn(store);
	sweep(store);
	return store;
}

/* Closes it. */
void
weir_dedup_store_close(WeirDedupStore *store)
{
	weir_dedup_table_close(&store->table);
}

/* ---- looking ---- */

/* Does a block count for a query? */
static bool
counts(const Block *block, const WeirDedupQuery *query, int64 since)
{
	return !block->gone && block->row.slice_end > query->past && block->row.number > since;
}

/* Answers a query that a block has the id of. */
static void
answer(const Block *block, WeirDedupQuery *query)
{
	TransactionId xid = block->row.xid;

	if (!TransactionIdIsValid(xid) || TransactionIdIsCurrentTransactionId(xid))
		query->known = true;
	else
		query->awaited = xid;
}

/* Looks for an id where the set says that it may be. */
static void
look_in_set(WeirDedupStore *store, WeirDedupQuery *query, int64 since)
{
	WeirDedupProbe probe = weir_dedup_set_probe(store->set, query->id.hash);
	uint32		number;

	while (!query->known && weir_dedup_set_next(&probe, &number))
	{
		const Block *block = &store->blocks[number];

		if (counts(block, query, since) && weir_dedup_block_has(read_cached(store, block), &query->id))
			answer(block, query);
	}
}

/* Looks for ids in one distant block. */
static void
look_in_distant(WeirDedupStore *store, const Block *block, WeirDedupQuery *queries, int n, int64 since)
{
	WeirDedupBlock ids = {NULL};

	for (int i = 0; i < n; i++)
	{
		WeirDedupQuery *query = &queries[i];

		if (query->known || !counts(block, query, since))
			continue;
		if (ids.key == NULL)
			ids = read_block(store, block, store->scratch);
		if (weir_dedup_block_has(&ids, &query->id))
			answer(block, query);
	}
}

/* Answers queries. */
void
weir_dedup_store_look(WeirDedupStore *store, WeirDedupQuery *queries, int n, int64 since)
{
	load_distant(store, n);
	for (int i = 0; i < n; i++)
	{
		queries[i].known = false;
		queries[i].awaited = InvalidTransactionId;
		weir_dedup_set_prefetch(store->set, queries[i].id.hash);
	}
	for (int i = 0; i < n; i++)
		look_in_set(store, &queries[i], since);
	for (uint32 i = 0; i < store->distant.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_in_distant(store, &store->blocks[store->distant.items[i]], queries, n, since);
	}
}

/* ---- writing ---- */

/* Writes one block. */
static void
write_block(WeirDedupStore *store, TimestampTz slice_end, const WeirDedupId *ids, uint32 n)
{
	WeirDedupRow row = {weir_catalog_next_block(), slice_end, n};
	bytea	   *packed = weir_dedup_block_pack(store->key, ids, n);
	uint64	   *hashes = palloc(sizeof(uint64) * n);

	for (uint32 i = 0; i < n; i++)
		hashes[i] = ids[i].hash;
	weir_dedup_table_insert(&store->table, &row, packed);
	add_block(store, &row);
	if (fits(n))
		add_to_set(store, store->distant.count - 1, hashes);
	pfree(hashes);
	pfree(packed);
}

/* Remembers ids of one slice. */
void
weir_dedup_store_write(WeirDedupStore *store, TimestampTz slice_end, const WeirDedupId *ids, uint32 n)
{
	for (uint32 from = 0; from < n;)
	{
		uint32		to = from;
		Size		bytes = 0;

		while (to < n && to - from < BLOCK_IDS && (to == from || bytes + ids[to].len <= BLOCK_BYTES))
			bytes += ids[to++].len;
		write_block(store, slice_end, ids + from, to - from);
		from = to;
	}
	CommandCounterIncrement();
}

/* ---- forgetting ---- */

static bool
is_expired(const Block *block, TimestampTz past)
{
	return !block->gone && block->row.number > 0 && !TransactionIdIsValid(block->row.xid) &&
		block->row.slice_end <= past;
}

/* Might there be blocks to let go? */
bool
weir_dedup_store_has_expired(const WeirDedupStore *store, TimestampTz past)
{
	for (uint32 i = 0; i < store->nblocks; i++)
	{
		if (is_expired(&store->blocks[i], past))
			return true;
	}
	return false;
}

/* Says that a block's row is not there any more. */
static void
forget_block(WeirDedupStore *store, uint32 number)
{
	if (store->blocks[number].resident)
	{
		mark_gone(store, number);
		return;
	}
	for (uint32 i = 0; i < store->distant.count; i++)
	{
		if (store->distant.items[i] == number)
		{
			drop_distant(store, i);
			return;
		}
	}
}

/*
 * Lets go of blocks.  In memory they stay until their rows are found to be
 * gone: this transaction may be rolled back.
 */
void
weir_dedup_store_expire(WeirDedupStore *store, TimestampTz past)
{
	TransactionId xid = GetTopTransactionId();
	int			deleted = 0;

	/* once a transaction: what it has deleted itself would seem to be gone, and may come back */
	if (xid == store->expired_in || !weir_fence_lane(store->relid, 0, false))
		return;
	store->expired_in = xid;
	for (uint32 i = 0; i < store->nblocks && deleted < EXPIRE_BLOCKS; i++)
	{
		if (!is_expired(&store->blocks[i], past))
			continue;
		if (weir_dedup_table_delete(&store->table, &store->blocks[i].row))
			deleted++;
		else
			forget_block(store, i);
	}
}
