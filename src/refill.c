/*
 * refill.c
 *	  Staged rows that a crash has emptied come back.
 *
 * Messages are read from Kafka a second time and go the same way as the first
 * time, but for what follows: the verdict log says which gave no row; rows go
 * into the child they were in, with the watermark that its checkpoint noted;
 * no trigger fires; offsets and counters stay.  How far each range is, is
 * saved with the rows, in a table that shares their fate.
 *
 * Who reads, and when, is worker_refill.c's business.
 */
#include "postgres.h"

#include "access/xact.h"
#include "apply.h"
#include "catalog_deadletter.h"
#include "catalog_refill.h"
#include "catalog/pg_class.h"
#include "errors.h"
#include "headers.h"
#include "owner.h"
#include "refill.h"
#include "stage.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "verdict.h"
#include "version.h"

/* Letters of one transaction, which are all in memory. */
#define LETTERS 500
#define LETTERS_BYTES (4 * 1024 * 1024)

/* Plans what is to come back, if the staged rows are lost. */
void
weir_refill_plan(Oid stream)
{
	if (!weir_catalog_staging_is_marked(stream))
		weir_catalog_plan_refill(stream);
}

/* The same in a transaction of its own. */
void
weir_refill_plan_alone(Oid stream)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	weir_fence_share(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	weir_refill_plan(stream);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Gives up what is left of some ranges. */
void
weir_refill_lose(Oid stream, int32 partition, int64 from, int64 to)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	weir_fence_share(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	weir_catalog_lose_refill(stream, partition, from, to);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* ---- rows of one child ---- */

/* Rows that the table has refused in a row; a worker has one stream. */
static WeirStreak streak;

/* Locks a child, lest rotation drops it.  Does not wait: new messages would have to wait, too. */
static bool
lock_child(Oid chunk)
{
	return ConditionalLockRelationOid(chunk, RowExclusiveLock);
}

static bool
child_exists(Oid chunk)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(chunk));
}

/* Raises an error for a child that somebody else has locked. */
static void
report_locked(Oid chunk)
{
	char	   *name = get_rel_name(chunk);

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("table \"%s\", whose rows are to come back, is locked by another session",
					name ? name : "?"),
			 errhint("pg_locks shows which session that is.")));
}

/* Says in the log that messages give no row any more. */
static void
report_refused(const WeirApply *apply)
{
	const WeirDeadLetter *first = apply->letters.items;

	if (apply->letters.count == 0)
		return;
	ereport(LOG,
			(errmsg("%d messages of partition %d of stream \"%s\" were left out of the refill",
					apply->letters.count, first->message->partition, apply->runtime->stream->name),
			 errdetail("The first is at offset " INT64_FORMAT "; the step \"%s\" refused it.",
					   first->message->offset, weir_stage_name(first->fault.stage)),
			 errhint("The definition of the stream has changed since they were staged.")));
}

/*
 * Puts messages of one partition into a child, which the caller has locked.
 * Returns the watermark after them; replayed ones do not move it.
 */
static TimestampTz
put_rows(Oid stream, Oid chunk, const WeirBatch *batch, TimestampTz watermark,
		 const int64 *max_out_of_orderness, bool isolating)
{
	WeirRuntime *runtime = weir_runtime_get_for(stream, chunk);
	WeirApply	apply;

	if (max_out_of_orderness != NULL)
		runtime->eventtime.max_out_of_orderness = *max_out_of_orderness;
	weir_apply_begin_refill(&apply, runtime, batch, &streak, watermark);
	apply.replay = max_out_of_orderness == NULL;
	if (isolating)
		weir_apply_isolating(&apply, 0, batch->nmessages);
	else
		weir_apply_range(&apply, 0, batch->nmessages);
	weir_apply_end(&apply);
	report_refused(&apply);
	return Max(watermark, apply.work[0].progress.watermark);
}

/* ---- a batch of messages ---- */

/* A batch while it is worked on. */
typedef struct Attempt
{
	WeirRefill *refill;
	const WeirBatch *batch;		/* NULL: letters */
	WeirRefillRange *ranges;	/* as they will be */
	bool		isolating;
	bool		more;			/* letters: there may be more */
	bool		cut;			/* messages: not all of them could be dealt with */
} Attempt;

/* Puts what has been gathered of a range into its child. */
static void
put_gathered(Attempt *attempt, WeirRefillRange *range, WeirMessage *messages, int n)
{
	WeirBatch	part = *attempt->batch;

	if (n == 0)
		return;
	part.messages = messages;
	part.nmessages = n;
	part.npositions = 0;
	range->watermark = put_rows(attempt->refill->stream, range->chunk, &part, range->watermark,
								&range->max_out_of_orderness, attempt->isolating);
}

/*
 * Refills messages that follow each other in one range, but those that the
 * verdict log has; duplicates only move the watermark.  Where the watermark got a floor, it gets it again.
 */
static void
fill_range(Attempt *attempt, WeirRefillRange *range, const WeirMessage *messages, int n)
{
	Oid			stream = attempt->refill->stream;
	int64		last = messages[n - 1].offset;
	int			nskipped;
	WeirSkipped *skipped = weir_verdict_load(stream, range->partition, messages[0].offset, last, &nskipped);
	List	   *floors = weir_catalog_load_floors(stream, range->partition, range->first_offset, last);
	ListCell   *floor = list_head(floors);
	WeirMessage *gathered = palloc(sizeof(WeirMessage) * n);
	int			ngathered = 0;
	int			next = 0;

	for (int i = 0; i < n; i++)
	{
		int64		offset = messages[i].offset;

		while (floor != NULL && ((WeirFloor *) lfirst(floor))->from_offset <= offset)
		{
			put_gathered(attempt, range, gathered, ngathered);
			ngathered = 0;
			range->watermark = Max(range->watermark, ((WeirFloor *) lfirst(floor))->floor);
			floor = lnext(floors, floor);
		}
		while (next < nskipped && skipped[next].offset < offset)
			next++;
		if (next < nskipped && skipped[next].offset == offset && skipped[next].verdict != WEIR_VERDICT_DUPLICATE)
			continue;
		gathered[ngathered] = messages[i];
		gathered[ngathered++].was_duplicate = next < nskipped && skipped[next].offset == offset;
	}
	put_gathered(attempt, range, gathered, ngathered);
	range->next_offset = last + 1;
}

/* Counts the ranges that begin before or at an offset of a partition, those of partitions before it included. */
static int
count_until(const WeirRefillRange *ranges, int nranges, int32 partition, int64 offset)
{
	int			low = 0;
	int			high = nranges;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		const WeirRefillRange *range = &ranges[middle];

		if (range->partition < partition || (range->partition == partition && range->first_offset <= offset))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Returns the range that a message is still wanted for, or NULL.  Ranges do not overlap. */
WeirRefillRange *
weir_refill_range_of(WeirRefillRange *ranges, int nranges, const WeirMessage *message)
{
	int			n = count_until(ranges, nranges, message->partition, message->offset);
	WeirRefillRange *range = n == 0 ? NULL : &ranges[n - 1];

	if (range == NULL || range->partition != message->partition ||
		message->offset < range->next_offset || message->offset >= range->until_offset)
		return NULL;
	return range;
}

static WeirRefillRange *
range_of(const Attempt *attempt, const WeirMessage *message)
{
	return weir_refill_range_of(attempt->ranges, attempt->refill->nranges, message);
}

/* Moves ranges on to where their partitions have been read to. */
static void
follow_positions(Attempt *attempt)
{
	for (int p = 0; p < attempt->batch->npositions; p++)
	{
		const WeirPosition *position = &attempt->batch->positions[p];
		int			n = count_until(attempt->ranges, attempt->refill->nranges,
									position->partition, position->next_offset);

		for (int i = n - 1; i >= 0 && attempt->ranges[i].partition == position->partition; i--)
		{
			WeirRefillRange *range = &attempt->ranges[i];

			if (position->next_offset > range->next_offset)
				range->next_offset = Min(position->next_offset, range->until_offset);
		}
	}
}

/*
 * Refills the messages of a batch; false if a child is gone.  Where one is
 * locked, what came before it need not wait.
 */
static bool
fill_messages(Attempt *attempt)
{
	const WeirBatch *batch = attempt->batch;
	bool		begun = false;

	for (int from = 0; from < batch->nmessages;)
	{
		WeirRefillRange *range = range_of(attempt, &batch->messages[from]);
		int			to = from + 1;

		while (to < batch->nmessages &&
			   batch->messages[to].partition == batch->messages[from].partition &&
			   (range == NULL ? range_of(attempt, &batch->messages[to]) == NULL :
				batch->messages[to].offset < range->until_offset))
			to++;
		if (range != NULL)
		{
			if (!lock_child(range->chunk))
			{
				if (!begun)
					report_locked(range->chunk);
				attempt->cut = true;
				return true;
			}
			if (!child_exists(range->chunk))
				return false;
			fill_range(attempt, range, &batch->messages[from], to - from);
			begun = true;
		}
		from = to;
	}
	follow_positions(attempt);
	return true;
}

/* Saves how far the ranges are; false if one of them is not where it was. */
static bool
save_ranges(Attempt *attempt)
{
	for (int i = 0; i < attempt->refill->nranges; i++)
	{
		int64		before = attempt->refill->ranges[i].next_offset;

		if (attempt->ranges[i].next_offset != before &&
			!weir_catalog_save_refill(attempt->refill->stream, &attempt->ranges[i], before))
			return false;
	}
	return true;
}

/* ---- replayed dead letters ---- */

static WeirHeader *
headers_of_letter(const WeirMessage *message, int *nheaders)
{
	*nheaders = 0;
	return message->handle == NULL ? NULL : weir_headers_from_jsonb(message->handle, nheaders);
}

/* Do two letters go into the same child with the same watermark? */
static bool
are_alike(const WeirReplayed *a, const WeirReplayed *b)
{
	return a->chunk == b->chunk && a->watermark == b->watermark &&
		a->message.partition == b->message.partition;
}

/* Refills some replayed letters. */
static void
fill_letters(Attempt *attempt, const char *topic)
{
	WeirRefill *refill = attempt->refill;
	List	   *letters = weir_catalog_lost_replayed(refill->stream, refill->worker, refill->parallelism,
													 LETTERS, LETTERS_BYTES);
	WeirMessage *messages = palloc(sizeof(WeirMessage) * Max(list_length(letters), 1));
	int			n = 0;

	for (int i = 0; i < list_length(letters); i++)
	{
		WeirReplayed *letter = list_nth(letters, i);
		WeirBatch	part = {.messages = messages,.headers_of = headers_of_letter,.topic = topic};

		messages[n++] = letter->message;
		weir_catalog_replayed_is_back(letter->id);
		if (i + 1 < list_length(letters) && are_alike(letter, list_nth(letters, i + 1)))
			continue;
		part.nmessages = n;
		if (!lock_child(letter->chunk))
			report_locked(letter->chunk);
		if (child_exists(letter->chunk))
			(void) put_rows(refill->stream, letter->chunk, &part, letter->watermark, NULL, attempt->isolating);
		n = 0;
	}
	attempt->more = letters != NIL;
}

/* ---- transactions ---- */

/* Makes an attempt in a transaction of its own; errors are thrown. */
static WeirOutcome
try_refill(Attempt *attempt)
{
	WeirRefill *refill = attempt->refill;
	WeirOwnerSession session;
	WeirRuntime *runtime;
	bool		unmoved = true;

	StartTransactionCommand();
	weir_fence_share(refill->stream);
	LockRelationOid(refill->stream, RowExclusiveLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	runtime = weir_runtime_get(refill->stream);
	if (runtime == NULL || !runtime->stream->wanted || runtime->stream->version != refill->version ||
		!weir_version_fits())
	{
		AbortCurrentTransaction();
		return WEIR_CHANGED;
	}
	weir_owner_enter(runtime->stream->owner, runtime->stream->search_path, &session);
	if (attempt->batch != NULL)
		unmoved = fill_messages(attempt);
	else
		fill_letters(attempt, runtime->stream->topic);
	weir_owner_leave(&session);
	unmoved = unmoved && save_ranges(attempt);
	PopActiveSnapshot();
	if (!unmoved)
	{
		AbortCurrentTransaction();
		return WEIR_CHANGED;
	}
	CommitTransactionCommand();
	return WEIR_APPLIED;
}

/* Makes an attempt and catches its error, as a copy in context. */
static WeirOutcome
try_catching(Attempt *attempt, MemoryContext context, ErrorData **error)
{
	WeirOutcome outcome;
	WeirRefill *refill = attempt->refill;

	*error = NULL;
	attempt->cut = false;
	memcpy(attempt->ranges, refill->ranges, sizeof(WeirRefillRange) * refill->nranges);
	PG_TRY();
	{
		outcome = try_refill(attempt);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		weir_stage_restore((WeirStaging) {InvalidOid, 0});
		weir_runtime_release(refill->stream);
		outcome = weir_error_fate((*error)->sqlerrcode) == WEIR_FATE_ENVIRONMENT ? WEIR_RETRY : WEIR_BROKEN;
	}
	PG_END_TRY();
	if (outcome != WEIR_APPLIED)
		weir_streak_end(&streak);
	/* advisory locks of the session that functions have taken: nobody else could release them */
	LockReleaseAll(USER_LOCKMETHOD, true);
	MemoryContextSwitchTo(context);
	return outcome;
}

/* Makes an attempt, and another one with isolation if a message is at fault. */
static WeirOutcome
run(Attempt *attempt, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	WeirRefill *refill = attempt->refill;
	WeirOutcome outcome;

	attempt->ranges = palloc(sizeof(WeirRefillRange) * Max(refill->nranges, 1));
	outcome = try_catching(attempt, context, error);
	if (outcome == WEIR_BROKEN && weir_error_fate((*error)->sqlerrcode) == WEIR_FATE_DATA)
	{
		FreeErrorData(*error);
		attempt->isolating = true;
		outcome = try_catching(attempt, context, error);
	}
	if (outcome == WEIR_APPLIED)
		memcpy(refill->ranges, attempt->ranges, sizeof(WeirRefillRange) * refill->nranges);
	pfree(attempt->ranges);
	return outcome;
}

/* Brings back the rows of messages that have been read again. */
WeirOutcome
weir_refill_apply(WeirRefill *refill, const WeirBatch *batch, bool *cut, ErrorData **error)
{
	Attempt		attempt = {.refill = refill,.batch = batch};
	WeirOutcome outcome = run(&attempt, error);

	*cut = attempt.cut;
	return outcome;
}

/* Brings back rows of replayed dead letters. */
WeirOutcome
weir_refill_letters(WeirRefill *refill, bool *more, ErrorData **error)
{
	Attempt		attempt = {.refill = refill};
	WeirOutcome outcome = run(&attempt, error);

	if (outcome == WEIR_APPLIED)
		*more = attempt.more;
	return outcome;
}
