/*
 * dedup_set.c
 *	  In which blocks an id may be: a set of hashes in memory.
 *
 * An open-addressing table of eight bytes an entry, 32 bits of the hash and
 * the block's number, in 256 shards by eight other bits:
 *
 *		hash	| shard 8 | tag 32 | not used 24 |
 *
 * A tag's place is in proportion to it, so hashes in ascending order touch
 * the memory in ascending order, and a shard can have any size.  It grows by a
 * quarter when it is three quarters full: 11 to 14 bytes an id.
 *
 * What is found is a candidate: two ids may share 40 bits, which of ten million
 * ids happens to every hundred-thousandth.  Who looks reads the block.
 * Nothing is taken out one by one: entries of blocks that are gone stay until
 * their shard would grow, or for a sweep.
 */
#include "postgres.h"

#include "dedup_set.h"
#include "utils/memutils.h"

#define NSHARDS WEIR_DEDUP_SET_PARTS
#define LEAST_SLOTS 16

/* An entry: the tag, and the block's number + 1; 0: none. */
typedef uint64 Entry;

typedef struct WeirDedupShard
{
	Entry	   *slots;
	uint32		nslots;
	uint32		used;
} WeirDedupShard;

struct WeirDedupSet
{
	WeirDedupShard shards[NSHARDS];
	WeirDedupGoneFn gone;
	void	   *arg;
	const uint32 *ngone;
	Size		bytes;
	MemoryContext context;
};

/* Makes an empty set. */
WeirDedupSet *
weir_dedup_set_create(MemoryContext context, WeirDedupGoneFn gone, void *arg, const uint32 *ngone)
{
	WeirDedupSet *set = MemoryContextAllocZero(context, sizeof(WeirDedupSet));

	set->gone = gone;
	set->arg = arg;
	set->ngone = ngone;
	set->context = context;
	return set;
}

static inline uint32
shard_of(uint64 hash)
{
	return hash >> 56;
}

static inline uint32
tag_of(uint64 hash)
{
	return (uint32) (hash >> 24);
}

/* Returns where the search for a tag begins. */
static inline uint32
home_of(const WeirDedupShard *shard, uint32 tag)
{
	return ((uint64) tag * shard->nslots) >> 32;
}

/* Puts an entry into the first free slot from its home on. */
static void
put(WeirDedupShard *shard, Entry entry)
{
	uint32		i = home_of(shard, entry >> 32);

	while (shard->slots[i] != 0)
	{
		if (++i == shard->nslots)
			i = 0;
	}
	shard->slots[i] = entry;
	shard->used++;
}

/* Does an entry stay? */
static inline bool
stays(const WeirDedupSet *set, Entry entry)
{
	return entry != 0 && (*set->ngone == 0 || !set->gone(set->arg, (uint32) entry - 1));
}

/* Counts the entries of a shard that stay. */
static uint32
count_staying(const WeirDedupSet *set, const WeirDedupShard *shard)
{
	uint32		staying = 0;

	if (*set->ngone == 0)
		return shard->used;
	for (uint32 i = 0; i < shard->nslots; i++)
		staying += stays(set, shard->slots[i]) ? 1 : 0;
	return staying;
}

/* Moves the entries of a shard that stay into a new table, with room for a quarter more. */
static void
rebuild(WeirDedupSet *set, WeirDedupShard *shard)
{
	uint32		staying = count_staying(set, shard);
	WeirDedupShard fresh = {.nslots = Max(LEAST_SLOTS, staying + staying / 2 + staying / 6 + 1)};

	fresh.slots = MemoryContextAllocExtended(set->context, fresh.nslots * sizeof(Entry),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < shard->nslots; i++)
	{
		if (stays(set, shard->slots[i]))
			put(&fresh, shard->slots[i]);
	}
	set->bytes += (fresh.nslots - (Size) shard->nslots) * sizeof(Entry);
	if (shard->slots != NULL)
		pfree(shard->slots);
	*shard = fresh;
}

/* Adds an id. */
void
weir_dedup_set_add(WeirDedupSet *set, uint64 hash, uint32 block)
{
	WeirDedupShard *shard = &set->shards[shard_of(hash)];

	if ((uint64) (shard->used + 1) * 4 > (uint64) shard->nslots * 3)
		rebuild(set, shard);
	put(shard, (uint64) tag_of(hash) << 32 | (block + 1));
}

/* Has the memory fetched that a look for an id will read. */
void
weir_dedup_set_prefetch(const WeirDedupSet *set, uint64 hash)
{
	const WeirDedupShard *shard = &set->shards[shard_of(hash)];

	if (shard->nslots > 0)
		__builtin_prefetch(&shard->slots[home_of(shard, tag_of(hash))]);
}

/* Begins to look for an id. */
WeirDedupProbe
weir_dedup_set_probe(const WeirDedupSet *set, uint64 hash)
{
	const WeirDedupShard *shard = &set->shards[shard_of(hash)];

	return (WeirDedupProbe) {shard, tag_of(hash), shard->nslots == 0 ? 0 : home_of(shard, tag_of(hash))};
}

/* Returns the next block that an id may be in. */
bool
weir_dedup_set_next(WeirDedupProbe *probe, uint32 *block)
{
	const WeirDedupShard *shard = probe->shard;

	if (shard->nslots == 0)
		return false;
	for (;;)
	{
		Entry		entry = shard->slots[probe->next];

		if (entry == 0)
			return false;
		if (++probe->next == shard->nslots)
			probe->next = 0;
		if ((uint32) (entry >> 32) == probe->tag)
		{
			*block = (uint32) entry - 1;
			return true;
		}
	}
}

/* Takes out of a part of the set what should go. */
void
weir_dedup_set_sweep(WeirDedupSet *set, int part)
{
	WeirDedupShard *shard = &set->shards[part];

	if (count_staying(set, shard) < shard->used)
		rebuild(set, shard);
}

/* Returns how much memory is in use. */
Size
weir_dedup_set_bytes(const WeirDedupSet *set)
{
	return set->bytes + sizeof(*set);
}
