/*
 * dedup.c
 *	  Duplicates of events are told by their ids.
 *
 * An event is a duplicate if its id was accepted before, in a slice of event
 * time (an eighth of dedup_ttl) whose end plus dedup_ttl is after the event's
 * own watermark.  So the verdict depends on nothing but the history of its
 * partition, if that has all copies of the id.
 *
 * What this guarantees: of all events with one id within dedup_ttl exactly one
 * is accepted, whatever the number of workers and sessions, and the id is
 * remembered if and only if the transaction that has accepted it commits.
 *
 *		judge		this batch's own ids, then dedup_store.c's; one that another
 *					transaction has written but not committed is waited for
 *		remember	under the fence of ids: look whether others have written one of
 *					ours since we judged; if not, write ours
 *
 * A batch has nothing written that others could wait for while it waits
 * itself, so batches do not wait for each other in a circle.  (A session that
 * has ingested before, in the same transaction, may be in one, as with a
 * unique index; the deadlock detector ends that.)
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "dedup.h"
#include "dedup_key.h"
#include "dedup_store.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "window.h"

/* Slices in the time that an id is remembered for. */
#define SLICES 8

/* How often a process looks for ids to let go. */
#define EXPIRE_MS 1000

struct WeirDedup
{
	Oid			stream;
	Oid			ids;
	int64		ttl;
	int64		slice;
	WeirDedupKey *key;
	TimestampTz looked_at;		/* for ids to let go */
};

/* An event that this batch has accepted. */
typedef struct Accepted
{
	uint64		hash;
	int			offset;			/* of the id, in bytes */
	int			len;
	TimestampTz slice_end;
	TimestampTz past;			/* as of WeirDedupQuery */
} Accepted;

struct WeirDedupBatch
{
	WeirDedup  *dedup;
	WeirDedupStore *store;
	int64		judged_with;	/* number of the last block known when judging */
	StringInfoData bytes;		/* ids accepted */
	Accepted   *accepted;
	int			naccepted;
	int			room;
	uint32	   *table;			/* of accepted, by hash: index + 1; 0: free */
	uint32		mask;
	StringInfoData lot;			/* ids being judged */
	TimestampTz watermark;		/* the greatest seen */
	MemoryContext context;
};

/* Compiles the id of a stream. */
WeirDedup *
weir_dedup_create(TupleDesc tupdesc, const WeirStream *stream)
{
	WeirDedup  *dedup;

	if (stream->event_id == NIL)
		return NULL;
	dedup = palloc0(sizeof(WeirDedup));
	dedup->stream = stream->relid;
	dedup->ids = stream->ids;
	dedup->ttl = stream->dedup_ttl;
	dedup->slice = Max(stream->dedup_ttl / SLICES, 1);
	dedup->key = weir_dedup_key_init(tupdesc, stream->event_id, stream->name);
	return dedup;
}

/* Has an event an id? */
bool
weir_dedup_check(const WeirDedup *dedup, const bool *isnull, WeirFault *fault)
{
	if (dedup == NULL)
		return true;
	for (int i = 0; i < dedup->key->n; i++)
	{
		const WeirDedupColumn *column = &dedup->key->columns[i];

		if (isnull[column->attno - 1])
			return weir_fault(fault, WEIR_STAGE_CONSTRAINT, ERRCODE_NOT_NULL_VIOLATION, column->name,
							  "event id is null");
	}
	return true;
}

/* Begins a batch. */
WeirDedupBatch *
weir_dedup_begin(WeirDedup *dedup)
{
	WeirDedupBatch *batch = palloc0(sizeof(WeirDedupBatch));

	batch->dedup = dedup;
	batch->context = CurrentMemoryContext;
	batch->watermark = DT_NOBEGIN;
	initStringInfo(&batch->bytes);
	initStringInfo(&batch->lot);
	batch->mask = 1023;
	batch->table = palloc0(sizeof(uint32) * (batch->mask + 1));
	batch->store = weir_dedup_store_open(dedup->ids, dedup->key);
	batch->judged_with = weir_dedup_store_last(batch->store);
	return batch;
}

/* Ends a batch. */
void
weir_dedup_end(WeirDedupBatch *batch)
{
	weir_dedup_store_close(batch->store);
}

/* ---- what this batch has accepted ---- */

/* Enters the i-th event that was accepted into the table. */
static void
enter(WeirDedupBatch *batch, uint32 i)
{
	uint32		place = batch->accepted[i].hash & batch->mask;

	while (batch->table[place] != 0)
		place = (place + 1) & batch->mask;
	batch->table[place] = i + 1;
}

/* Makes the table anew. */
static void
enter_all(WeirDedupBatch *batch)
{
	memset(batch->table, 0, sizeof(uint32) * ((Size) batch->mask + 1));
	for (int i = 0; i < batch->naccepted; i++)
		enter(batch, i);
}

/* Makes room for another event. */
static void
make_room(WeirDedupBatch *batch)
{
	if (batch->naccepted == batch->room)
	{
		batch->room = Max(1024, batch->room * 2);
		batch->accepted = batch->accepted == NULL ?
			MemoryContextAllocHuge(batch->context, sizeof(Accepted) * batch->room) :
			repalloc_huge(batch->accepted, sizeof(Accepted) * batch->room);
	}
	if ((uint32) batch->naccepted * 2 > batch->mask)
	{
		batch->mask = batch->mask * 2 + 1;
		batch->table = repalloc_huge(batch->table, sizeof(uint32) * ((Size) batch->mask + 1));
		enter_all(batch);
	}
}

/* Accepts an event. */
static void
accept(WeirDedupBatch *batch, const WeirDedupEvent *event, const WeirDedupQuery *query)
{
	make_room(batch);
	batch->accepted[batch->naccepted] = (Accepted) {
		query->id.hash, batch->bytes.len, (int) query->id.len,
		weir_window_slice_end(batch->dedup->slice, event->event_time), query->past
	};
	appendBinaryStringInfo(&batch->bytes, query->id.bytes, (int) query->id.len);
	enter(batch, batch->naccepted++);
}

/* Has this batch accepted an event that a query would find? */
static bool
is_accepted(const WeirDedupBatch *batch, const WeirDedupQuery *query)
{
	const WeirDedupId *id = &query->id;

	for (uint32 place = id->hash & batch->mask; batch->table[place] != 0; place = (place + 1) & batch->mask)
	{
		const Accepted *accepted = &batch->accepted[batch->table[place] - 1];

		if (accepted->hash == id->hash && accepted->slice_end > query->past &&
			weir_dedup_key_equal(batch->dedup->key, batch->bytes.data + accepted->offset, accepted->len,
								 id->bytes, id->len))
			return true;
	}
	return false;
}

/* Returns how many events are accepted. */
int
weir_dedup_accepted(const WeirDedupBatch *batch)
{
	return batch == NULL ? 0 : batch->naccepted;
}

/* Takes back the events accepted last. */
void
weir_dedup_cut(WeirDedupBatch *batch, int accepted)
{
	if (batch == NULL || accepted == batch->naccepted)
		return;
	batch->bytes.len = batch->accepted[accepted].offset;
	batch->naccepted = accepted;
	enter_all(batch);
}

/* ---- judging ---- */

/* Slices that end at or before this do not count for an event with that watermark. */
static TimestampTz
past_of(const WeirDedup *dedup, TimestampTz watermark)
{
	TimestampTz past;

	if (pg_sub_s64_overflow(watermark, dedup->ttl, &past))
		return DT_NOBEGIN;
	return past;
}

/* Makes queries of events. */
static WeirDedupQuery *
make_queries(WeirDedupBatch *batch, const WeirDedupEvent *events, int n)
{
	WeirDedupQuery *queries = palloc0(sizeof(WeirDedupQuery) * n);
	Size		at = 0;

	resetStringInfo(&batch->lot);
	for (int i = 0; i < n; i++)
	{
		int			before = batch->lot.len;

		queries[i].id.hash = weir_dedup_key_pack(batch->dedup->key, events[i].values, &batch->lot);
		queries[i].id.len = batch->lot.len - before;
		queries[i].past = past_of(batch->dedup, events[i].watermark);
		batch->watermark = Max(batch->watermark, events[i].watermark);
	}
	/* the bytes stay where they are from here on */
	for (int i = 0; i < n; i++)
	{
		queries[i].id.bytes = batch->lot.data + at;
		at += queries[i].id.len;
	}
	return queries;
}

/* Returns a transaction that an answer waits for, or an invalid one. */
static TransactionId
awaited(const WeirDedupQuery *queries, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!queries[i].known && TransactionIdIsValid(queries[i].awaited))
			return queries[i].awaited;
	}
	return InvalidTransactionId;
}

/* Waits for the end of a transaction. */
void
weir_dedup_wait(TransactionId other)
{
	if (TransactionIdIsValid(other))
		XactLockTableWait(other, NULL, NULL, XLTW_None);
}

/* Answers queries, waiting for transactions until there are answers. */
static void
look(WeirDedupBatch *batch, WeirDedupQuery *queries, int n)
{
	TransactionId other;

	weir_dedup_store_look(batch->store, queries, n, 0);
	while (TransactionIdIsValid(other = awaited(queries, n)))
	{
		weir_dedup_wait(other);
		weir_dedup_store_settle(batch->store);
		weir_dedup_store_look(batch->store, queries, n, 0);
	}
}

/* Judges events. */
void
weir_dedup_judge(WeirDedupBatch *batch, WeirDedupEvent *events, int n)
{
	WeirDedupQuery *queries = make_queries(batch, events, n);

	look(batch, queries, n);
	for (int i = 0; i < n; i++)
	{
		events[i].duplicate = queries[i].known || is_accepted(batch, &queries[i]);
		if (!events[i].duplicate)
			accept(batch, &events[i], &queries[i]);
	}
}

/* ---- remembering ---- */

/* Orders accepted events by slice. */
static int
compare_slices(const void *a, const void *b)
{
	TimestampTz left = ((const Accepted *) a)->slice_end;
	TimestampTz right = ((const Accepted *) b)->slice_end;

	return left < right ? -1 : left > right ? 1 : 0;
}

/* Puts events of one slice after each other; mostly they are. */
static void
gather_slices(Accepted *accepted, int n)
{
	for (int i = 1; i < n; i++)
	{
		if (accepted[i].slice_end < accepted[i - 1].slice_end)
		{
			qsort(accepted, n, sizeof(Accepted), compare_slices);
			return;
		}
	}
}

/* Orders ids by their hashes, by way of a second array: hashes are even, so each begins near its place. */
static void
sort_by_hash(WeirDedupId *ids, WeirDedupId *room, uint32 *starts, uint32 n)
{
	memset(starts, 0, sizeof(uint32) * n);
	for (uint32 i = 0; i < n; i++)
		starts[((ids[i].hash >> 32) * n) >> 32]++;
	for (uint32 bucket = 0, sum = 0; bucket < n; bucket++)
	{
		uint32		count = starts[bucket];

		starts[bucket] = sum;
		sum += count;
	}
	for (uint32 i = 0; i < n; i++)
		room[starts[((ids[i].hash >> 32) * n) >> 32]++] = ids[i];
	for (uint32 i = 0; i < n; i++)
	{
		WeirDedupId id = room[i];
		uint32		k = i;

		for (; k > 0 && ids[k - 1].hash > id.hash; k--)
			ids[k] = ids[k - 1];
		ids[k] = id;
	}
}

/* Returns the id of an accepted event. */
static WeirDedupId
id_of(const WeirDedupBatch *batch, const Accepted *accepted)
{
	return (WeirDedupId) {accepted->hash, batch->bytes.data + accepted->offset, accepted->len};
}

/* Have others written one of our ids since we judged? */
static bool
collides(WeirDedupBatch *batch, TransactionId *other)
{
	WeirDedupQuery *queries;
	bool		known = false;

	weir_dedup_store_learn(batch->store);
	if (weir_dedup_store_last(batch->store) == batch->judged_with)
		return false;
	queries = MemoryContextAllocHuge(batch->context, sizeof(WeirDedupQuery) * Max(batch->naccepted, 1));
	for (int i = 0; i < batch->naccepted; i++)
		queries[i] = (WeirDedupQuery) {id_of(batch, &batch->accepted[i]), batch->accepted[i].past};
	weir_dedup_store_look(batch->store, queries, batch->naccepted, batch->judged_with);
	*other = awaited(queries, batch->naccepted);
	for (int i = 0; i < batch->naccepted; i++)
		known = known || queries[i].known;
	return known || TransactionIdIsValid(*other);
}

/* Writes what was accepted, slice by slice. */
static void
write_all(WeirDedupBatch *batch)
{
	Size		n = batch->naccepted;
	WeirDedupId *ids = MemoryContextAllocHuge(batch->context, sizeof(WeirDedupId) * n);
	WeirDedupId *room = MemoryContextAllocHuge(batch->context, sizeof(WeirDedupId) * n);
	uint32	   *starts = MemoryContextAllocHuge(batch->context, sizeof(uint32) * n);

	gather_slices(batch->accepted, batch->naccepted);
	for (int i = 0; i < batch->naccepted; i++)
		ids[i] = id_of(batch, &batch->accepted[i]);
	for (int from = 0; from < batch->naccepted;)
	{
		TimestampTz slice_end = batch->accepted[from].slice_end;
		int			to = from;

		while (to < batch->naccepted && batch->accepted[to].slice_end == slice_end)
			to++;
		sort_by_hash(ids + from, room, starts, to - from);
		weir_dedup_store_write(batch->store, slice_end, ids + from, to - from);
		from = to;
	}
}

/* Remembers what was accepted. */
bool
weir_dedup_remember(WeirDedupBatch *batch, TransactionId *other)
{
	bool		free;

	*other = InvalidTransactionId;
	if (batch->naccepted == 0)
		return true;
	weir_fence_ids(batch->dedup->ids);
	free = !collides(batch, other);
	if (free)
		write_all(batch);
	weir_fence_ids_release(batch->dedup->ids);
	return free;
}

/* Lets go of ids that are too old, now and then. */
void
weir_dedup_expire(WeirDedupBatch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz past;

	if (!TimestampDifferenceExceeds(batch->dedup->looked_at, now, EXPIRE_MS) ||
		!weir_dedup_store_has_expired(batch->store, past_of(batch->dedup, batch->watermark)))
		return;
	past = past_of(batch->dedup, weir_catalog_stream_watermark(batch->dedup->stream));
	/* else there is more to do */
	if (!weir_dedup_store_has_expired(batch->store, past))
		batch->dedup->looked_at = now;
	else
		weir_dedup_store_expire(batch->store, past);
}
