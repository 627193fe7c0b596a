/*
 * apply.c
 *	  The steps of a batch, in order:
 *
 *		decode -> metadata -> constraints -> expectations -> event time -> dedup -> staging -> triggers
 *
 * Messages are taken in lots, so that a lot's values stay in the cache between
 * decoding and writing.  A message that a step refuses goes to the dead
 * letters and leaves nothing else behind; so does one that only a trigger
 * refuses, which is found by halving.
 *
 * Which transaction this runs in, and what is saved at its end, is
 * pipeline.c's business.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "apply.h"
#include "compat.h"
#include "errors.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "stage.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* Opens the tables, and checks the triggers if they are to fire. */
static void
begin(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch, WeirStreak *streak, bool refill)
{
	memset(apply, 0, sizeof(*apply));
	if (runtime->busy)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot ingest into stream \"%s\" from its own triggers",
						runtime->stream->name)));
	apply->runtime = runtime;
	apply->batch = batch;
	apply->streak = streak;
	apply->now = GetCurrentTimestamp();
	apply->least_watermark = DT_NOBEGIN;
	apply->context = CurrentMemoryContext;
	weir_deadletter_init(&apply->letters, CurrentMemoryContext);
	weir_verdict_init(&apply->verdicts, CurrentMemoryContext);
	weir_expect_count_init(&apply->violations, CurrentMemoryContext);

	apply->parent = table_open(runtime->relid, RowExclusiveLock);
	apply->child = table_open(runtime->chunk, RowExclusiveLock);
	if (!refill)
		weir_stage_check_triggers(apply->parent);
	runtime->busy = true;
}

/* Begins with a batch. */
void
weir_apply_begin(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch, WeirStreak *streak)
{
	begin(apply, runtime, batch, streak, false);
	if (runtime->dedup != NULL)
		apply->dedup = weir_dedup_begin(runtime->dedup);
}

/* Begins with dead letters. */
void
weir_apply_begin_replay(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch, WeirStreak *streak)
{
	weir_apply_begin(apply, runtime, batch, streak);
	apply->replay = true;
	apply->duplicates = palloc0(sizeof(bool) * Max(batch->nmessages, 1));
}

/* Closes the tables. */
void
weir_apply_end(WeirApply *apply)
{
	if (apply->dedup != NULL)
		weir_dedup_end(apply->dedup);
	table_close(apply->child, NoLock);
	table_close(apply->parent, NoLock);
	weir_runtime_release(apply->runtime->relid);
}

/* Returns room for the work of one more partition. */
static WeirPartitionWork *
new_work(WeirApply *apply)
{
	if (apply->nwork == apply->work_room)
	{
		apply->work_room = Max(8, apply->work_room * 2);
		apply->work = apply->work == NULL ?
			MemoryContextAlloc(apply->context, apply->work_room * sizeof(WeirPartitionWork)) :
			repalloc(apply->work, apply->work_room * sizeof(WeirPartitionWork));
	}
	return &apply->work[apply->nwork];
}

/* Begins with messages of one partition whose rows come back. */
void
weir_apply_begin_refill(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch,
						WeirStreak *streak, TimestampTz watermark)
{
	WeirPartitionWork *work;

	begin(apply, runtime, batch, streak, true);
	apply->refill = true;
	work = new_work(apply);
	memset(work, 0, sizeof(*work));
	work->progress.partition = batch->messages[0].partition;
	work->progress.applied_offset = batch->messages[0].offset;
	work->progress.watermark = watermark;
	work->progress.floor = DT_NOBEGIN;
	work->progress.seen = DT_NOBEGIN;
	apply->nwork++;
}

/* Returns the work of a partition, reading its progress the first time. */
static WeirPartitionWork *
work_of(WeirApply *apply, int32 partition)
{
	WeirPartitionWork *work;

	if (apply->last_work < apply->nwork &&
		apply->work[apply->last_work].progress.partition == partition)
		return &apply->work[apply->last_work];

	for (int i = 0; i < apply->nwork; i++)
	{
		if (apply->work[i].progress.partition == partition)
		{
			apply->last_work = i;
			return &apply->work[i];
		}
	}

	work = new_work(apply);
	if (!weir_catalog_read_partition(apply->runtime->relid, partition, false, &work->progress))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition %d of stream \"%s\" is not registered",
						partition, apply->runtime->stream->name)));
	work->expected = work->progress.applied_offset;
	work->watermark = Max(work->progress.watermark, work->progress.floor);
	work->seen = work->progress.seen;
	work->last = NULL;
	apply->last_work = apply->nwork++;
	return work;
}

/* The watermark before the next event of a partition. */
static TimestampTz
watermark_before(const WeirApply *apply, const WeirProgress *progress)
{
	return Max(apply->least_watermark, Max(progress->watermark, progress->floor));
}

static void
to_dead_letters(WeirApply *apply, WeirPartitionWork *work,
				const WeirMessage *message, const WeirFault *fault)
{
	weir_deadletter_add(&apply->letters, message, fault);
	if (apply->replay)
		return;
	weir_verdict_add(&apply->verdicts, message->partition, message->offset, WEIR_VERDICT_DEAD_LETTER);
	work->progress.dead_lettered++;
}

/* Counts what the last event violated, unless it was judged before. */
static void
count_violations(WeirApply *apply, const WeirMessage *message, bool kept)
{
	if (apply->runtime->expecter != NULL && message->value != NULL && !apply->replay && !apply->refill)
		weir_expect_count(&apply->violations, apply->runtime->expecter, message, kept);
}

/* Deals with a message that a step has refused. */
static void
refuse(WeirApply *apply, WeirPartitionWork *work, const WeirMessage *message,
	   bool dropped, const WeirFault *fault)
{
	if (fault->stage == WEIR_STAGE_EXPECTATION)
		count_violations(apply, message, false);
	/* a dead letter that is dropped when it is replayed stays one */
	if (!dropped || apply->replay)
	{
		to_dead_letters(apply, work, message, fault);
		return;
	}
	weir_verdict_add(&apply->verdicts, message->partition, message->offset, WEIR_VERDICT_DROPPED);
	work->progress.dropped++;
}

/* Judges a row by what the stream expects; *dropped: it is not even a dead letter. */
static bool
meets_expectations(WeirApply *apply, const WeirMessage *message, TupleTableSlot *slot,
				   bool *dropped, WeirFault *fault)
{
	WeirExpecter *expecter = apply->runtime->expecter;
	WeirJudgement judgement;

	apply->stage = WEIR_STAGE_EXPECTATION;
	if (apply->refill)
	{
		weir_expect_mark(expecter, slot, message, apply->replay);
		return true;
	}
	judgement = weir_expect_judge(expecter, slot, fault);
	if (judgement == WEIR_JUDGED_STOPPING && !apply->replay)
	{
		if (apply->stopped_at != NULL)
			*apply->stopped_at = (int) (message - apply->batch->messages);
		weir_expect_stop(message, fault);
	}
	*dropped = judgement == WEIR_JUDGED_DROPPED;
	return judgement == WEIR_JUDGED_GOOD;
}

/* Makes the row of a message; false with *fault set if a step refuses it. */
static bool
make_row(WeirApply *apply, const WeirMessage *message, TimestampTz watermark,
		 TupleTableSlot *slot, TimestampTz *event_time, bool *dropped, WeirFault *fault)
{
	WeirRuntime *rt = apply->runtime;
	bool		tombstone = message->value == NULL;

	if (tombstone && rt->stream->tombstones != WEIR_TOMBSTONE_ROW)
		return weir_fault(fault, WEIR_STAGE_TOMBSTONE, ERRCODE_NULL_VALUE_NOT_ALLOWED, NULL,
						  "message has no value (a tombstone)");

	apply->stage = WEIR_STAGE_CONVERT;
	if (!weir_decode(rt->decoder, message, slot->tts_values, slot->tts_isnull, rt->present, fault))
		return false;
	if (!weir_metadata_fill(&rt->metadata, apply->batch, message, watermark,
							slot->tts_values, slot->tts_isnull, fault))
		return false;
	apply->stage = WEIR_STAGE_CONSTRAINT;
	if (!weir_constrain_row(rt->constrainer, slot, rt->present, tombstone, fault))
		return false;
	/* a tombstone has no columns to speak of */
	if (rt->expecter != NULL && !tombstone && !meets_expectations(apply, message, slot, dropped, fault))
		return false;
	if (!weir_dedup_check(rt->dedup, slot->tts_isnull, fault))
		return false;
	return weir_eventtime_judge(&rt->eventtime, message, slot->tts_values, slot->tts_isnull,
								apply->now, event_time, fault);
}

/*
 * Takes partitions in again that were left out for idleness and have messages
 * now.  Not while a message may still err: what this writes must stay.
 */
static void
return_from_idleness(WeirApply *apply, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		WeirProgress *progress = &work_of(apply, apply->batch->messages[i].partition)->progress;

		if (likely(!progress->idle))
			continue;
		progress->floor = Max(progress->floor,
							  weir_catalog_take_in(apply->runtime->relid, progress->partition));
		progress->idle = false;
	}
}

/* Takes one message through the steps up to event time; returns whether it is the row of that number now. */
static bool
prepare_message(WeirApply *apply, const WeirMessage *message, int row)
{
	WeirRuntime *rt = apply->runtime;
	TupleTableSlot *slot = weir_runtime_slot(rt, row);
	WeirPartitionWork *work = work_of(apply, message->partition);
	WeirProgress *progress = &work->progress;
	TimestampTz watermark;
	TimestampTz event_time;
	bool		dropped = false;
	WeirFault	fault;

	apply->current = message;
	if (!apply->replay)
	{
		if (message->offset < progress->applied_offset)
			return false;		/* applied before */
		progress->consumed++;
		progress->applied_offset = message->offset + 1;
		work->last = message;
		if (message->has_timestamp)
		{
			progress->has_last_timestamp = true;
			progress->last_timestamp = message->timestamp;
		}
		if (message->value == NULL && rt->stream->tombstones == WEIR_TOMBSTONE_SKIP)
		{
			weir_verdict_add(&apply->verdicts, message->partition, message->offset, WEIR_VERDICT_SKIPPED);
			progress->skipped++;
			return false;
		}
	}

	watermark = watermark_before(apply, progress);
	if (!make_row(apply, message, watermark, slot, &event_time, &dropped, &fault))
	{
		refuse(apply, work, message, dropped, &fault);
		return false;
	}
	weir_span_add(&apply->span, event_time, watermark);
	count_violations(apply, message, true);
	/* a replayed one, too: its row leaves with its child, and windows it is in are not covered then */
	progress->seen = Max(progress->seen, event_time);
	if (apply->replay)
		progress->replayed++;
	else
	{
		progress->staged++;
		progress->watermark = weir_eventtime_advance(&rt->eventtime, watermark, event_time);
	}
	rt->messages[row] = message;
	rt->events[row] = (WeirDedupEvent) {slot->tts_values, event_time, watermark};
	if (!message->was_duplicate)
		return true;
	ExecClearTuple(slot);		/* while the lot's memory is there */
	return false;
}

/* Prepares messages [from, to), adding to the *nrows rows of the lot.  *next is always the message being worked on. */
static void
prepare_plainly(WeirApply *apply, int to, int *next, int *nrows)
{
	for (; *next < to; (*next)++)
	{
		if (prepare_message(apply, &apply->batch->messages[*next], *nrows))
			(*nrows)++;
	}
}

/* Turns the error just caught into a dead letter, unless it is no message's fault. */
static void
blame_message(WeirApply *apply, const WeirMessage *message, ErrorData *edata)
{
	WeirFault	fault;

	if (weir_error_fate(edata->sqlerrcode) != WEIR_FATE_DATA)
		ReThrowError(edata);
	weir_deadletter_fault_of_error(&fault, apply->stage, edata);
	if (apply->stage == WEIR_STAGE_CONVERT)
		fault.column_name = weir_decoder_column_at_fault(apply->runtime->decoder);
	if (apply->stage == WEIR_STAGE_EXPECTATION)
		weir_expect_blame(apply->runtime->expecter, &fault);
	refuse(apply, work_of(apply, message->partition), message, false, &fault);
	weir_runtime_recompile(apply->runtime, apply->child);
}

/*
 * The same where types or constraints may raise errors: under a
 * subtransaction, which costs no xid as nothing is written in it.
 */
static void
prepare_guarded(WeirApply *apply, int to, int *next, int *nrows)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	while (*next < to)
	{
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			prepare_plainly(apply, to, next, nrows);
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *edata;

			MemoryContextSwitchTo(apply->context);
			edata = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
			blame_message(apply, &apply->batch->messages[*next], edata);
			(*next)++;
		}
		PG_END_TRY();
	}
}

/* Counts a message as a duplicate that was taken for a row to stage. */
static void
count_duplicate(WeirApply *apply, const WeirMessage *message, const WeirDedupEvent *event)
{
	WeirProgress *progress = &work_of(apply, message->partition)->progress;

	/* what is refused after it does not go back behind the watermark that it has moved */
	if (weir_eventtime_advance(&apply->runtime->eventtime, event->watermark, event->event_time) > event->watermark)
		weir_streak_end(apply->streak);

	if (apply->replay)
	{
		apply->duplicates[message - apply->batch->messages] = true;
		progress->replayed--;
		return;
	}
	weir_verdict_add(&apply->verdicts, message->partition, message->offset, WEIR_VERDICT_DUPLICATE);
	progress->staged--;
	progress->duplicate++;
}

/* Takes duplicates out of the rows of a lot, which have moved the watermark like others; returns how many are left. */
static int
drop_duplicates(WeirApply *apply, int nrows)
{
	WeirRuntime *rt = apply->runtime;
	int			kept = 0;

	apply->stage = WEIR_STAGE_CONSTRAINT;
	weir_dedup_judge(apply->dedup, rt->events, nrows);
	for (int i = 0; i < nrows; i++)
	{
		TupleTableSlot *slot = rt->slots[i];

		if (rt->events[i].duplicate)
		{
			count_duplicate(apply, rt->messages[i], &rt->events[i]);
			continue;
		}
		rt->slots[i] = rt->slots[kept];
		rt->slots[kept++] = slot;
	}
	return kept;
}

/* Prepares the lot [from, to); returns how many rows it made. */
static int
prepare_lot(WeirApply *apply, int from, int to)
{
	int			next = from;
	int			nrows = 0;
	MemoryContext old;

	if (!apply->replay)
		return_from_idleness(apply, from, to);
	MemoryContextReset(apply->runtime->lot);
	old = MemoryContextSwitchTo(apply->runtime->lot);
	if (apply->runtime->may_throw)
		prepare_guarded(apply, to, &next, &nrows);
	else
		prepare_plainly(apply, to, &next, &nrows);
	if (apply->dedup != NULL && nrows > 0)
		nrows = drop_duplicates(apply, nrows);
	MemoryContextSwitchTo(old);
	return nrows;
}

/* Says in the context of an error where it happened; never what was in the message. */
static void
describe_position(void *arg)
{
	WeirApply  *apply = arg;
	const WeirMessage *message = apply->current;

	if (message != NULL)
		errcontext("stream \"%s\", partition %d, offset " INT64_FORMAT,
				   apply->runtime->stream->name, message->partition, message->offset);
	else
		errcontext("stream \"%s\"", apply->runtime->stream->name);
}

/* Applies the messages [from, to) as one insert. */
void
weir_apply_range(WeirApply *apply, int from, int to)
{
	WeirStager *stager = NULL;
	ErrorContextCallback position = {error_context_stack, describe_position, apply};

	error_context_stack = &position;
	apply->span.any = false;
	for (int lot = from; lot < to; lot += WEIR_LOT)
	{
		int			nrows;

		CHECK_FOR_INTERRUPTS();
		nrows = prepare_lot(apply, lot, Min(lot + WEIR_LOT, to));
		apply->current = to - from == 1 ? &apply->batch->messages[from] : NULL;
		if (nrows == 0)
			continue;
		apply->stage = WEIR_STAGE_STAGING;
		if (stager == NULL)
			stager = weir_stage_begin(apply->parent, apply->child, !apply->refill);
		weir_stage_rows(stager, apply->runtime->slots, nrows);
	}
	if (stager != NULL)
	{
		apply->stage = WEIR_STAGE_TRIGGER;
		weir_span_note(apply->runtime->relid, &apply->span);
		weir_stage_fire(stager);
		CommandCounterIncrement();
		weir_streak_end(apply->streak);
	}
	error_context_stack = position.previous;
}

/* What an attempt that fails must put back. */
typedef struct SavedState
{
	int			nwork;
	WeirPartitionWork *work;
	int			nletters;
	int			nverdicts;
	int			naccepted;
	int			nviolations;
	WeirStaging staging;
} SavedState;

static void
save_state(WeirApply *apply, SavedState *saved)
{
	saved->nwork = apply->nwork;
	saved->work = palloc(sizeof(WeirPartitionWork) * Max(apply->nwork, 1));
	memcpy(saved->work, apply->work, sizeof(WeirPartitionWork) * apply->nwork);
	saved->nletters = apply->letters.count;
	saved->nverdicts = apply->verdicts.count;
	saved->naccepted = weir_dedup_accepted(apply->dedup);
	saved->nviolations = apply->violations.count;
	saved->staging = weir_stage_current();
}

static void
restore_state(WeirApply *apply, SavedState *saved)
{
	apply->nwork = saved->nwork;
	memcpy(apply->work, saved->work, sizeof(WeirPartitionWork) * saved->nwork);
	apply->letters.count = saved->nletters;
	apply->verdicts.count = saved->nverdicts;
	weir_dedup_cut(apply->dedup, saved->naccepted);
	apply->violations.count = saved->nviolations;
	weir_stage_restore(saved->staging);
}

/* Tries a range in a subtransaction; returns NULL, or the error with everything put back. */
static ErrorData *
attempt(WeirApply *apply, int from, int to)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	bool		outer = weir_fence_parts(false);
	SavedState	saved;

	(void) weir_fence_parts(outer || to - from < apply->batch->nmessages);
	save_state(apply, &saved);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		/* an error's context ends here: who called us has no part in it */
		error_context_stack = NULL;
		weir_apply_range(apply, from, to);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(apply->context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		restore_state(apply, &saved);
	}
	PG_END_TRY();
	(void) weir_fence_parts(outer);
	pfree(saved.work);
	return error;
}

/* Raises the error of a trigger that refuses every event. */
static void
blame_trigger(const WeirRuntime *rt, const WeirFault *fault)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 fault->object_name && strchr(fault->object_name, '(') == NULL ?
			 errmsg("\"%s\", which is derived from stream \"%s\", refuses every event",
					fault->object_name, rt->stream->name) :
			 fault->object_name ?
			 errmsg("trigger function %s of stream \"%s\" refuses every event",
					fault->object_name, rt->stream->name) :
			 errmsg("triggers of stream \"%s\" refuse every event", rt->stream->name),
			 errdetail("%d events in a row failed with: %s", WEIR_STREAK_LIMIT, fault->message),
			 errhint("Correct it, then start the stream again.")));
}

/* Raises the error of an index or the like that refuses all rows which are to come back. */
static void
blame_staging(const WeirRuntime *rt, const WeirFault *fault)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("staged rows of stream \"%s\" cannot come back: its table refuses all of them", rt->stream->name),
			 errdetail("%d rows in a row failed with: %s", WEIR_STREAK_LIMIT, fault->message),
			 errhint("Correct what refuses them, such as an index, then start the stream again.")));
}

/* Makes a dead letter of a message that staging or a trigger has refused. */
static void
blame_alone(WeirApply *apply, int i, ErrorData *error)
{
	const WeirMessage *message = &apply->batch->messages[i];
	WeirPartitionWork *work = work_of(apply, message->partition);
	WeirFault	fault;

	weir_deadletter_fault_of_error(&fault, apply->stage, error);
	if (apply->stage == WEIR_STAGE_TRIGGER &&
		weir_streak_add(apply->streak, apply->runtime->relid, message, &fault, &work->progress))
		blame_trigger(apply->runtime, &fault);
	/* what was staged before is no message's fault */
	if (apply->refill && apply->stage == WEIR_STAGE_STAGING &&
		weir_streak_add(apply->streak, apply->runtime->relid, message, &fault, &work->progress))
		blame_staging(apply->runtime, &fault);
	if (!apply->replay)
	{
		work->progress.consumed++;
		work->progress.applied_offset = message->offset + 1;
		work->last = message;
	}
	to_dead_letters(apply, work, message, &fault);
	FreeErrorData(error);
}

/* Applies the messages [from, to), isolating those that staging or a trigger refuses. */
void
weir_apply_isolating(WeirApply *apply, int from, int to)
{
	ErrorData  *error;
	int			middle = from + (to - from) / 2;

	if (from >= to)
		return;
	error = attempt(apply, from, to);
	if (error == NULL)
		return;
	if (weir_error_fate(error->sqlerrcode) != WEIR_FATE_DATA)
		ReThrowError(error);
	if (to - from == 1)
	{
		blame_alone(apply, from, error);
		return;
	}
	FreeErrorData(error);
	weir_apply_isolating(apply, from, middle);
	weir_apply_isolating(apply, middle, to);
}

/* Remembers the ids of what was applied. */
bool
weir_apply_remember(WeirApply *apply, TransactionId *other)
{
	*other = InvalidTransactionId;
	if (apply->dedup == NULL)
		return true;
	if (!weir_dedup_remember(apply->dedup, other))
		return false;
	weir_dedup_expire(apply->dedup);
	return true;
}

/* Moves partitions to positions beyond their last message. */
void
weir_apply_positions(WeirApply *apply)
{
	for (int i = 0; i < apply->batch->npositions; i++)
	{
		const WeirPosition *position = &apply->batch->positions[i];
		WeirPartitionWork *work = work_of(apply, position->partition);

		if (position->next_offset > work->progress.applied_offset)
			work->progress.applied_offset = position->next_offset;
		if (position->end_offset >= 0)
			work->progress.end_offset = position->end_offset;
	}
}
