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
#include "catalog.h"
#include "catalog_dedup.h"
#include "dedup_list.h"
#include "dedup_reader.h"
#include "dedup_set.h"
#include "dedup_store.h"
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

/* Looking for one id in one block on disk takes as long as taking this many ids into memory. */
#define LOOK_COST 32

/* How far ahead memory is asked for. */
#define AHEAD 16

struct WeirDedupStore
{
	Oid			relid;			/* key of the hash table */
	Oid			file;			/* of the table; another one: it was emptied or rewritten */
	WeirDedupKey *known_key;	/* a copy: what the set was made with */
	MemoryContext context;		/* of what is known */
	WeirDedupSet *set;
	WeirDedupList list;
	WeirDedupReader reader;
	TransactionId expired_in;	/* transaction that has deleted blocks */
	int64		debt;			/* looks through distant blocks so far */
};

static HTAB *stores = NULL;

/* ---- memory ---- */

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
			bytes += weir_dedup_set_bytes(store->set) + weir_dedup_list_bytes(&store->list);
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
	weir_dedup_list_init(&store->list, context);
	weir_dedup_reader_init(&store->reader, context);
	store->set = weir_dedup_set_create(context, weir_dedup_list_is_gone, &store->list, &store->list.gone.count);
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

/* ---- opening ---- */

static void
learn_block(void *arg, const WeirDedupRow *row)
{
	weir_dedup_list_add(arg, row);
}

/* Finds out what has become of blocks whose writers had not ended. */
void
weir_dedup_store_settle(WeirDedupStore *store)
{
	weir_dedup_list_settle(&store->list);
}

/* Learns of blocks that were written since. */
void
weir_dedup_store_learn(WeirDedupStore *store)
{
	weir_dedup_list_settle(&store->list);
	weir_dedup_table_scan(&store->reader.table, store->list.last, learn_block, &store->list);
}

/* Returns the number of the last block known. */
int64
weir_dedup_store_last(const WeirDedupStore *store)
{
	return store->list.last;
}

/* Opens a table of ids. */
WeirDedupStore *
weir_dedup_store_open(Oid relid, WeirDedupKey *key)
{
	WeirDedupStore *store = find_store(relid);
	WeirDedupTable table;
	Oid			file;

	weir_dedup_table_open(&table, relid);
	file = table.table->rd_rel->relfilenode;
	if (store->context != NULL && (store->file != file || !weir_dedup_key_alike(store->known_key, key)))
		forget(store);
	if (store->context == NULL)
		begin_to_know(store, file, key);
	store->reader.table = table;
	store->reader.key = key;
	weir_dedup_store_learn(store);
	weir_dedup_list_sweep(&store->list, store->set);
	return store;
}

/* Closes it. */
void
weir_dedup_store_close(WeirDedupStore *store)
{
	weir_dedup_table_close(&store->reader.table);
}

/* ---- taking ids into memory ---- */

/* Puts the ids of the i-th distant block into the set. */
static void
add_to_set(WeirDedupStore *store, uint32 i, const uint64 *hashes, uint32 n)
{
	/* first, lest an error leaves entries behind that point to a block which is thought to have none */
	uint32		place = weir_dedup_list_take(&store->list, i);

	for (uint32 k = 0; k < n; k++)
	{
		if (k + AHEAD < n)
			weir_dedup_set_prefetch(store->set, hashes[k + AHEAD]);
		weir_dedup_set_add(store->set, hashes[k], place);
	}
}

/* Reads the i-th distant block into the set. */
static void
load(WeirDedupStore *store, uint32 i)
{
	uint32		place = store->list.distant.items[i];
	WeirDedupBlock block = weir_dedup_reader_read(&store->reader, &store->list.blocks[place].row);
	uint64	   *hashes;

	if (block.count == 0)
	{
		weir_dedup_list_forget(&store->list, place);
		return;
	}
	hashes = MemoryContextAlloc(store->reader.scratch, sizeof(uint64) * block.count);
	for (uint32 k = 0; k < block.count; k++)
		hashes[k] = weir_dedup_block_get(&block, k).hash;
	add_to_set(store, i, hashes, block.count);
}

/*
 * Takes distant blocks into memory, the newest first, if asking about n more
 * ids makes that worth while, and as long as there is room.
 */
static void
load_distant(WeirDedupStore *store, int n)
{
	WeirDedupPlaces *distant = &store->list.distant;

	store->debt += (int64) n * distant->count;
	if (store->debt * LOOK_COST < store->list.distant_ids)
		return;
	while (distant->count > 0)
	{
		uint32		i = distant->count - 1;

		CHECK_FOR_INTERRUPTS();
		if (!fits(store->list.blocks[distant->items[i]].row.count))
			break;
		load(store, i);
	}
	store->debt = 0;
}

/* ---- looking ---- */

/* Does a block count for a query? */
static bool
counts(const WeirDedupKnown *block, const WeirDedupQuery *query, int64 since)
{
	return !block->gone && block->row.slice_end > query->past && block->row.number > since;
}

/* Answers a query that a block has the id of. */
static void
answer(const WeirDedupKnown *block, WeirDedupQuery *query)
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
	uint32		place;

	while (!query->known && weir_dedup_set_next(&probe, &place))
	{
		const WeirDedupKnown *block = &store->list.blocks[place];

		if (counts(block, query, since) &&
			weir_dedup_block_has(weir_dedup_reader_keep(&store->reader, &block->row), &query->id))
			answer(block, query);
	}
}

/* Looks for ids in one distant block. */
static void
look_in_distant(WeirDedupStore *store, const WeirDedupKnown *block, WeirDedupQuery *queries, int n, int64 since)
{
	WeirDedupBlock ids = {NULL};

	for (int i = 0; i < n; i++)
	{
		WeirDedupQuery *query = &queries[i];

		if (query->known || !counts(block, query, since))
			continue;
		if (ids.key == NULL)
			ids = weir_dedup_reader_read(&store->reader, &block->row);
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
	for (uint32 i = 0; i < store->list.distant.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_in_distant(store, &store->list.blocks[store->list.distant.items[i]], queries, n, since);
	}
}

/* ---- writing ---- */

/* Writes one block. */
static void
write_block(WeirDedupStore *store, TimestampTz slice_end, const WeirDedupId *ids, uint32 n)
{
	WeirDedupRow row = {weir_catalog_next_block(), slice_end, n};
	bytea	   *packed = weir_dedup_block_pack(store->reader.key, ids, n);
	uint64	   *hashes = palloc(sizeof(uint64) * n);

	for (uint32 i = 0; i < n; i++)
		hashes[i] = ids[i].hash;
	weir_dedup_table_insert(&store->reader.table, &row, packed);
	weir_dedup_list_add(&store->list, &row);
	if (fits(n))
		add_to_set(store, store->list.distant.count - 1, hashes, n);
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
is_expired(const WeirDedupKnown *block, TimestampTz past)
{
	return !block->gone && block->row.number > 0 && !TransactionIdIsValid(block->row.xid) &&
		block->row.slice_end <= past;
}

/* Might there be blocks to let go? */
bool
weir_dedup_store_has_expired(const WeirDedupStore *store, TimestampTz past)
{
	for (uint32 i = 0; i < store->list.nblocks; i++)
	{
		if (is_expired(&store->list.blocks[i], past))
			return true;
	}
	return false;
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
	for (uint32 i = 0; i < store->list.nblocks && deleted < EXPIRE_BLOCKS; i++)
	{
		if (!is_expired(&store->list.blocks[i], past))
			continue;
		if (weir_dedup_table_delete(&store->reader.table, &store->list.blocks[i].row))
			deleted++;
		else
			weir_dedup_list_forget(&store->list, i);
	}
}
