/*
 * worker_refill.c
 *	  A worker's second job: reading again what a crash has emptied.
 *
 * It has a consumer of its own, so that new messages need not wait.  Its
 * batches are small, for the same reason.  What cannot be reached now is tried
 * again later: worker.c says what is wrong with the broker.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog_deadletter.h"
#include "catalog_refill.h"
#include "guc.h"
#include "nodes/bitmapset.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker_refill.h"

/* The messages of a refill's batch: few enough that nobody notices the wait. */
#define BATCH_MESSAGES 2000
#define BATCH_BYTES (4 * 1024 * 1024)

/* Its share of weir.worker_memory. */
#define MEMORY_SHARE 4
#define MEMORY_LEAST_MB 4

/* So many unwanted messages are reason to read other partitions from other offsets. */
#define WASTE_LIMIT 10000

#define RETRY_FIRST_MS 1000
#define RETRY_LAST_MS 30000

/* Loads what is to be done by this worker. */
static void
load_work(WeirRefiller *refiller)
{
	WeirRefill *refill = &refiller->refill;
	MemoryContext old = CurrentMemoryContext;
	List	   *ranges;
	ListCell   *lc;

	MemoryContextReset(refiller->context);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(refiller->context);
	ranges = weir_catalog_load_refill(refill->stream, refill->worker, refill->parallelism);
	refiller->letters = weir_catalog_lost_replayed(refill->stream, refill->worker, refill->parallelism, 1, 0) != NIL;
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);

	refill->nranges = 0;
	refill->ranges = MemoryContextAlloc(refiller->context,
										sizeof(WeirRefillRange) * (list_length(ranges) + 1));
	foreach(lc, ranges)
		refill->ranges[refill->nranges++] = *(WeirRefillRange *) lfirst(lc);
}

/* Finds out what is to be done. */
void
weir_refiller_begin(WeirRefiller *refiller, const WeirStream *stream, int worker)
{
	if (refiller->context == NULL)
	{
		refiller->context = AllocSetContextCreate(TopMemoryContext, "pg_weir refill", ALLOCSET_SMALL_SIZES);
		refiller->batch_context = AllocSetContextCreate(TopMemoryContext, "pg_weir refill batch",
														ALLOCSET_DEFAULT_SIZES);
	}
	refiller->refill.stream = stream->relid;
	refiller->refill.version = stream->version;
	refiller->refill.worker = worker;
	refiller->refill.parallelism = stream->parallelism;
	refiller->assigned = false;
	load_work(refiller);
}

/* Is there something to do? */
bool
weir_refiller_has_work(const WeirRefiller *refiller)
{
	return refiller->letters || refiller->refill.nranges > 0;
}

/* Takes ranges that are done off the list. */
static void
forget_done(WeirRefill *refill)
{
	int			n = 0;

	for (int i = 0; i < refill->nranges; i++)
	{
		if (refill->ranges[i].next_offset < refill->ranges[i].until_offset)
			refill->ranges[n++] = refill->ranges[i];
	}
	refill->nranges = n;
}

/* Deals with an error: the same again, later. */
static void
postpone(WeirRefiller *refiller, const WeirStream *stream, const char *why)
{
	int			ms = Min(RETRY_FIRST_MS << Min(refiller->retries, 10), RETRY_LAST_MS);

	refiller->retries++;
	refiller->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	refiller->assigned = false;
	ereport(LOG, (errmsg("refill of stream \"%s\" will go on later: %s", stream->name, why)));
}

/* ---- the consumer ---- */

/* Opens the consumer, and makes room for what it brings. */
static void
open_consumer(WeirRefiller *refiller, const WeirStream *stream)
{
	weir_source_open(&refiller->source, stream, refiller->refill.worker,
					 Max(weir_worker_memory / MEMORY_SHARE, MEMORY_LEAST_MB));
	refiller->messages = MemoryContextAlloc(TopMemoryContext, sizeof(WeirMessage) * BATCH_MESSAGES);
}

/* Reads each partition from its first range on. */
static bool
assign(WeirRefiller *refiller, const WeirStream *stream)
{
	WeirRefill *refill = &refiller->refill;
	int32	   *partitions = palloc(sizeof(int32) * refill->nranges);
	int64	   *offsets = palloc(sizeof(int64) * refill->nranges);
	int			n = 0;
	WeirKafkaError error;

	for (int i = 0; i < refill->nranges; i++)
	{
		if (n > 0 && partitions[n - 1] == refill->ranges[i].partition)
			continue;
		partitions[n] = refill->ranges[i].partition;
		offsets[n++] = refill->ranges[i].next_offset;
	}
	if (!weir_consumer_assign(refiller->source.consumer, n, partitions, offsets, NULL, &error))
	{
		postpone(refiller, stream, error.message);
		return false;
	}
	if (n > refiller->positions_room)
	{
		if (refiller->positions)
			pfree(refiller->positions);
		refiller->positions = MemoryContextAlloc(TopMemoryContext, sizeof(WeirPosition) * n);
		refiller->positions_room = n;
	}
	refiller->assigned = true;
	refiller->wasted = 0;
	return true;
}

/* Says in the log what is given up. */
static void
report_lost(const WeirStream *stream, int32 partition, int64 from, int64 until)
{
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("offsets " INT64_FORMAT " to " INT64_FORMAT " of partition %d of stream \"%s\" cannot be refilled",
					from, until - 1, partition, stream->name),
			 errdetail("The topic does not have them any more."),
			 errhint("The retention of the topic should be longer than that of the stream.")));
}

/*
 * Gives up the ranges of a partition that begin before the offset that the
 * topic begins at now; the first one in any case, which was found to be out of
 * range.
 */
static void
lose_ranges(WeirRefiller *refiller, const WeirStream *stream, int32 partition, int64 beginning)
{
	WeirRefill *refill = &refiller->refill;
	WeirRefillRange *first = NULL;
	WeirRefillRange *last = NULL;

	for (int i = 0; i < refill->nranges; i++)
	{
		WeirRefillRange *range = &refill->ranges[i];

		if (range->partition != partition || (first != NULL && range->next_offset >= beginning))
			continue;
		first = first ? first : range;
		last = range;
	}
	if (first == NULL)
		return;
	report_lost(stream, partition, first->next_offset, last->until_offset);
	weir_refill_lose(refill->stream, partition, first->first_offset, last->first_offset);
	for (WeirRefillRange *range = first; range <= last; range++)
		range->next_offset = range->until_offset;
	forget_done(refill);
}

/* Deals with a partition whose first range begins at an offset that is not there any more. */
static void
go_out_of_range(WeirRefiller *refiller, const WeirStream *stream, int32 partition)
{
	int64		earliest = WEIR_OFFSET_EARLIEST;
	int64		beginning;
	WeirKafkaError error;

	refiller->assigned = false;
	if (weir_consumer_resolve(refiller->source.consumer, 1, &partition, &earliest, &beginning, &error))
		lose_ranges(refiller, stream, partition, beginning);
	else
		postpone(refiller, stream, error.message);
}

/* Deals with what happened beside messages; false if the consumer must begin anew. */
static bool
handle_events(WeirRefiller *refiller, const WeirStream *stream)
{
	WeirConsumerEvent event;
	Bitmapset  *gone = NULL;	/* partitions, each of which is dealt with once */

	while (weir_consumer_event(refiller->source.consumer, &event))
	{
		switch (event.kind)
		{
			case WEIR_EVENT_OUT_OF_RANGE:
				if (!bms_is_member(event.partition, gone))
					go_out_of_range(refiller, stream, event.partition);
				gone = bms_add_member(gone, event.partition);
				break;
			case WEIR_EVENT_SPOILED:
				postpone(refiller, stream, event.error.message);
				return false;
			case WEIR_EVENT_FATAL:
				refiller->dead = true;
				postpone(refiller, stream, event.error.message);
				return false;
			case WEIR_EVENT_HEALTHY:
			case WEIR_EVENT_SILENT:
			case WEIR_EVENT_UNREACHABLE:
			case WEIR_EVENT_REPLACED:
			case WEIR_EVENT_TOPIC:
				break;			/* the worker's own consumer sees the same */
		}
	}
	return gone == NULL;
}

/* ---- steps ---- */

/* Keeps the words of an error for weir.status. */
static void
note_trouble(WeirRefiller *refiller, const ErrorData *error)
{
	strlcpy(refiller->trouble.message, error->message, sizeof(refiller->trouble.message));
	strlcpy(refiller->trouble.hint, error->hint ? error->hint : "", sizeof(refiller->trouble.hint));
}

/* Decides what follows from how a transaction has ended. */
static WeirRefillStep
conclude(WeirRefiller *refiller, const WeirStream *stream, WeirOutcome outcome, ErrorData *error)
{
	if (outcome == WEIR_APPLIED)
	{
		refiller->retries = 0;
		refiller->next_try = 0;
		forget_done(&refiller->refill);
		return weir_refiller_has_work(refiller) ? WEIR_REFILL_PROGRESS : WEIR_REFILL_COMPLETE;
	}
	if (outcome == WEIR_BROKEN)
		ReThrowError(error);
	postpone(refiller, stream, error ? error->message : "something has changed meanwhile");
	if (outcome == WEIR_CHANGED)
		return WEIR_REFILL_AGAIN;
	note_trouble(refiller, error);
	return WEIR_REFILL_POSTPONED;
}

/* Brings some replayed dead letters back. */
static WeirRefillStep
step_letters(WeirRefiller *refiller, const WeirStream *stream)
{
	ErrorData  *error = NULL;
	WeirOutcome outcome = weir_refill_letters(&refiller->refill, &refiller->letters, &error);

	return conclude(refiller, stream, outcome, error);
}

/* Counts the messages that no range wants. */
static int
count_unwanted(const WeirRefill *refill, const WeirMessage *messages, int n)
{
	int			unwanted = 0;

	for (int m = 0; m < n; m++)
		unwanted += weir_refill_range_of(refill->ranges, refill->nranges, &messages[m]) == NULL;
	return unwanted;
}

/* Takes what has been read again, and applies it. */
static WeirRefillStep
step_messages(WeirRefiller *refiller, const WeirStream *stream)
{
	WeirConsumer *consumer = refiller->source.consumer;
	WeirBatch	batch = {.messages = refiller->messages,.positions = refiller->positions,
	.headers_of = weir_consumer_headers,.topic = stream->topic};
	ErrorData  *error = NULL;
	WeirOutcome outcome;
	bool		cut;

	batch.nmessages = weir_consumer_poll(consumer, batch.messages, BATCH_MESSAGES, BATCH_BYTES);
	if (!handle_events(refiller, stream))
	{
		weir_consumer_release(batch.messages, batch.nmessages);
		return WEIR_REFILL_PROGRESS;
	}
	batch.npositions = weir_consumer_positions(consumer, batch.positions);
	if (batch.nmessages == 0 && batch.npositions == 0)
		return WEIR_REFILL_NOTHING;
	refiller->wasted += count_unwanted(&refiller->refill, batch.messages, batch.nmessages);
	if (refiller->wasted > WASTE_LIMIT)
		refiller->assigned = false;
	outcome = weir_refill_apply(&refiller->refill, &batch, &cut, &error);
	if (cut)
		refiller->assigned = false;
	weir_consumer_release(batch.messages, batch.nmessages);
	return conclude(refiller, stream, outcome, error);
}

/* Takes what the consumer reports; what came with messages was dealt with then. */
void
weir_refiller_attend(WeirRefiller *refiller)
{
	WeirConsumerEvent event;

	while (refiller->source.consumer != NULL && weir_consumer_event(refiller->source.consumer, &event))
		refiller->dead |= event.kind == WEIR_EVENT_FATAL;
}

/* Does a little. */
WeirRefillStep
weir_refiller_step(WeirRefiller *refiller, const WeirStream *stream)
{
	if (!weir_refiller_has_work(refiller))
		return WEIR_REFILL_COMPLETE;
	if (GetCurrentTimestamp() < refiller->next_try)
	{
		weir_refiller_attend(refiller);
		return WEIR_REFILL_NOTHING;
	}

	MemoryContextReset(refiller->batch_context);
	MemoryContextSwitchTo(refiller->batch_context);
	if (refiller->letters)
		return step_letters(refiller, stream);
	if (refiller->source.consumer == NULL)
		open_consumer(refiller, stream);
	if (!refiller->assigned && !assign(refiller, stream))
		return WEIR_REFILL_NOTHING;
	return step_messages(refiller, stream);
}
