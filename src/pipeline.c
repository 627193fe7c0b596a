/*
 * pipeline.c
 *	  One batch, one transaction: who it runs as, what is saved with it, and
 *	  what becomes of its errors.
 *
 * The worker's way (weir_pipeline_apply) first tries the batch plainly, which
 * costs no subtransaction; only when an error of data comes back is the batch
 * tried again with isolation.  weir.ingest has a transaction that is not
 * ours, and isolates at once.
 */
#include "postgres.h"

#include "access/xact.h"
#include "aggregate.h"
#include "apply.h"
#include "catalog_deadletter.h"
#include "catalog_verdict.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "guc.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "owner.h"
#include "pipeline.h"
#include "refill.h"
#include "rotate.h"
#include "stage.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "version.h"

/* How long a session trusts that a partition's range need not be noted anew. */
#define NOTED_MS 10000

/* How often a session looks for dead letters that are too old, in seconds. */
#define PURGE_INTERVAL_S 600

/*
 * Raises 42501 or 0A000 if the owner may not add rows to his stream: staging
 * writes below where PostgreSQL would check.
 */
static void
check_owner(const WeirStream *stream)
{
	char	   *name = quote_qualified_identifier(stream->schema, stream->name);

	if (pg_class_aclcheck(stream->relid, stream->owner, ACL_INSERT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", which owns stream \"%s\", may not insert into it",
						GetUserNameFromId(stream->owner, false), stream->name),
				 errhint("GRANT INSERT ON %s TO %s, then start the stream again with weir.start().",
						 name, quote_identifier(GetUserNameFromId(stream->owner, false)))));
	if (check_enable_rls(stream->relid, stream->owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security of stream \"%s\" binds its owner, too", stream->name),
				 errdetail("Policies are not checked for rows that a stream stages."),
				 errhint("ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, then start the stream again with weir.start().",
						 name)));
	pfree(name);
}

/*
 * Becomes the stream's owner for a batch.  Constraints and constraint triggers
 * are made immediate first: a deferred one would otherwise run at commit, as
 * whoever is the user then.
 */
static void
enter_owner(const WeirStream *stream, WeirOwnerSession *session)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	check_owner(stream);
	AfterTriggerSetState(immediate);
	weir_owner_enter(stream->owner, stream->search_path, session);
}

static TimestampTz purged_at = 0;

/* Is it time again to look for old dead letters? */
static bool
purge_is_due(void)
{
	return weir_dead_letter_retention >= 0 &&
		TimestampDifferenceExceeds(purged_at, GetCurrentTimestamp(),
								   1000 * Min(weir_dead_letter_retention, PURGE_INTERVAL_S));
}

/* Lets go of old dead letters, now and then. */
static void
purge_sometimes(void)
{
	if (!purge_is_due())
		return;
	purged_at = GetCurrentTimestamp();
	weir_catalog_purge_dead_letters(weir_dead_letter_retention);
}

/* Notes which child has a partition's rows from here on, unless that is known, and was lately. */
static void
note_range(WeirRuntime *runtime, const WeirPartitionWork *work)
{
	int32		partition = work->progress.partition;
	MemoryContext old;

	if (TimestampDifferenceExceeds(runtime->noted_since, GetCurrentTimestamp(), NOTED_MS))
	{
		bms_free(runtime->noted);
		runtime->noted = NULL;
		runtime->noted_since = GetCurrentTimestamp();
	}
	if (bms_is_member(partition + 1, runtime->noted) ||
		!weir_catalog_note_range(runtime->relid, runtime->chunk, partition, work->expected,
								 work->watermark, work->seen))
		return;
	old = MemoryContextSwitchTo(runtime->context);
	runtime->noted = bms_add_member(runtime->noted, partition + 1);
	MemoryContextSwitchTo(old);
}

/* Moves windows that are over, as the stream's owner; false if there may be more of them. */
static bool
close_windows(const WeirStream *stream, List *windowed)
{
	WeirOwnerSession session;
	bool		done = true;
	ListCell   *cell;

	if (windowed == NIL)
		return true;
	CommandCounterIncrement();
	enter_owner(stream, &session);
	foreach(cell, windowed)
	{
		WeirAggregate *aggregate = weir_aggregate_get(WEIR_AGGREGATE_VIEW, lfirst_oid(cell));

		if (aggregate == NULL)
			continue;
		done &= weir_aggregate_close_windows(aggregate);
		weir_aggregate_release(aggregate);
	}
	weir_owner_leave(&session);
	return done;
}

/* Saves what the batch did besides its rows; false if a partition has moved meanwhile. */
static bool
save(WeirApply *apply, WeirCounts *counts)
{
	Oid			relid = apply->runtime->relid;

	memset(counts, 0, sizeof(*counts));
	for (int i = 0; i < apply->nwork; i++)
	{
		WeirPartitionWork *work = &apply->work[i];

		if (work->last != NULL && work->progress.partition >= 0)
			work->progress.mark = weir_mark_of(work->last);
		if (!weir_catalog_save_progress(relid, &work->progress, work->expected))
			return false;
		if (work->progress.consumed > 0)
			note_range(apply->runtime, work);
		counts->accepted += work->progress.staged;
		counts->duplicate += work->progress.duplicate;
		counts->dead_lettered += work->progress.dead_lettered;
		counts->dropped += work->progress.dropped;
		counts->skipped += work->progress.skipped;
	}
	weir_verdict_log(&apply->verdicts, relid, apply->runtime->chunk);
	weir_catalog_add_dead_letters(relid, apply->batch, &apply->letters);
	weir_expect_save(&apply->violations, relid);
	(void) close_windows(apply->runtime->stream, apply->runtime->windowed);
	purge_sometimes();
	return true;
}

/* The worker's streak; it has one stream. */
static WeirStreak streak;

/* Index of the message that an expectation stops the worker's batch at; -1: none does. */
static int	stopped_at = -1;

/*
 * Keeps a stream's definition as it is until commit.  The table is locked
 * before the definition is looked at: an ALTER TABLE that we wait for would
 * else leave us with columns that are there no more.
 */
static void
enter_stream(Oid stream)
{
	weir_fence_share(stream);
	LockRelationOid(stream, RowExclusiveLock);
}

/* The transaction whose end a batch is to wait for before it is tried again. */
static TransactionId awaited = InvalidTransactionId;

/* Runs a batch within the current transaction; unless it returns WEIR_APPLIED, that is to be rolled back. */
static WeirOutcome
run(WeirRuntime *runtime, WeirBatch *batch, bool isolating, WeirCounts *counts)
{
	WeirOwnerSession session;
	WeirApply	apply;
	bool		alone;

	weir_apply_begin(&apply, runtime, batch, &streak);
	apply.stopped_at = &stopped_at;
	enter_owner(runtime->stream, &session);
	if (isolating)
		weir_apply_isolating(&apply, 0, batch->nmessages);
	else
		weir_apply_range(&apply, 0, batch->nmessages);
	alone = weir_apply_remember(&apply, &awaited);
	weir_owner_leave(&session);
	weir_apply_positions(&apply);
	weir_apply_end(&apply);
	if (!alone)
		return WEIR_AGAIN;
	return save(&apply, counts) ? WEIR_APPLIED : WEIR_CHANGED;
}

/* Has a batch canceled that takes too long, from now on. */
static void
set_timer(void)
{
	if (weir_batch_timeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, weir_batch_timeout);
}

/* Tries a batch in a transaction of its own; errors are thrown. */
static WeirOutcome
try_batch(Oid stream, int64 version, WeirBatch *batch, bool isolating, WeirCounts *counts)
{
	WeirRuntime *runtime;
	WeirOutcome outcome;

	StartTransactionCommand();
	set_timer();
	(void) set_config_option("synchronous_commit", weir_synchronous_commit ? "on" : "off",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	weir_dedup_wait(awaited);	/* with no lock that others may want */
	awaited = InvalidTransactionId;
	enter_stream(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	runtime = weir_runtime_get(stream);
	if (runtime == NULL || !runtime->stream->wanted || runtime->stream->version != version ||
		!weir_version_fits())
	{
		AbortCurrentTransaction();
		return WEIR_CHANGED;
	}
	outcome = run(runtime, batch, isolating, counts);
	PopActiveSnapshot();
	if (outcome == WEIR_APPLIED)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	return outcome;
}

/* Tries a batch and catches its error, as a copy in context. */
static WeirOutcome
try_catching(Oid stream, int64 version, WeirBatch *batch, bool isolating,
			 WeirCounts *counts, MemoryContext context, ErrorData **error)
{
	WeirOutcome outcome;
	WeirStreak	committed = streak;

	*error = NULL;
	PG_TRY();
	{
		outcome = try_batch(stream, version, batch, isolating, counts);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		weir_stage_restore((WeirStaging) {InvalidOid, 0});
		weir_runtime_release(stream);
		outcome = weir_error_fate((*error)->sqlerrcode) == WEIR_FATE_ENVIRONMENT ?
			WEIR_RETRY : WEIR_BROKEN;
	}
	PG_END_TRY();
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (outcome != WEIR_APPLIED)
		streak = committed;
	/* advisory locks of the session that triggers have taken: nobody else could release them */
	LockReleaseAll(USER_LOCKMETHOD, true);
	MemoryContextSwitchTo(context);
	return outcome;
}

/* The same, again as long as others bring the same event ids at the same time. */
static WeirOutcome
try_alone(Oid stream, int64 version, WeirBatch *batch, bool isolating,
		  WeirCounts *counts, MemoryContext context, ErrorData **error)
{
	WeirOutcome outcome;

	do
	{
		CHECK_FOR_INTERRUPTS();
		outcome = try_catching(stream, version, batch, isolating, counts, context, error);
	} while (outcome == WEIR_AGAIN);
	return outcome;
}

/*
 * Takes back what earlier batches did to the events of a streak that has
 * reached its limit; not if somebody has stopped or moved the stream since.
 */
static void
rewind_streak(Oid stream, int64 version)
{
	MemoryContext context = CurrentMemoryContext;
	WeirStream *latest;

	StartTransactionCommand();
	weir_fence_share(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	latest = weir_catalog_load_stream(stream, true);
	if (latest != NULL && latest->version == version)
		weir_streak_rewind(&streak, stream);
	PopActiveSnapshot();
	CommitTransactionCommand();
	weir_streak_end(&streak);
	MemoryContextSwitchTo(context);
}

/* Applies what came before a message that stops the stream, so that whoever passes over that one misses nothing. */
static void
apply_before(Oid stream, int64 version, const WeirBatch *batch, int nmessages)
{
	WeirBatch	before = *batch;
	WeirCounts	counts;
	ErrorData  *error;

	before.nmessages = nmessages;
	before.npositions = 0;
	/* where this fails, too, nothing is applied */
	(void) try_catching(stream, version, &before, true, &counts, CurrentMemoryContext, &error);
}

/* Applies a batch of Kafka messages in a transaction of its own. */
WeirOutcome
weir_pipeline_apply(Oid stream, int64 version, WeirBatch *batch,
					WeirCounts *counts, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	WeirOutcome outcome;

	stopped_at = -1;
	outcome = try_alone(stream, version, batch, false, counts, context, error);
	if (outcome == WEIR_BROKEN && weir_error_fate((*error)->sqlerrcode) == WEIR_FATE_DATA)
	{
		FreeErrorData(*error);
		outcome = try_alone(stream, version, batch, true, counts, context, error);
		if (outcome == WEIR_BROKEN && (*error)->sqlerrcode == ERRCODE_TRIGGERED_ACTION_EXCEPTION)
			rewind_streak(stream, version);
	}
	if (outcome == WEIR_BROKEN && stopped_at > 0)
		apply_before(stream, version, batch, stopped_at);
	return outcome;
}

/* Lets staged rows go that are past retention, and does nothing else. */
void
weir_pipeline_expire(Oid stream)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	weir_fence_share(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) weir_rotate_expire(stream);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Lets staged rows go that are past retention, and begins new children. */
void
weir_pipeline_maintain(Oid stream, int longest_ms)
{
	static TimestampTz due = 0;
	static TimestampTz looked_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext context = CurrentMemoryContext;

	/* retention may be made shorter meanwhile */
	if (now < due && now < TimestampTzPlusMilliseconds(looked_at, longest_ms))
		return;
	looked_at = now;
	/* committed first: where the disk is full, the new child needs the room */
	weir_pipeline_expire(stream);
	StartTransactionCommand();
	weir_fence_share(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	due = weir_rotate(stream);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/*
 * Leaves partitions out of the stream's watermark, in a transaction of its
 * own; not if somebody has moved them since they were found to be idle.
 */
void
weir_pipeline_leave_out(Oid stream, int64 version, int n, const int32 *partitions)
{
	MemoryContext context = CurrentMemoryContext;
	WeirStream *latest;

	StartTransactionCommand();
	weir_fence_share(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	latest = weir_catalog_load_stream(stream, true);
	if (latest != NULL && latest->version == version)
		weir_catalog_leave_out(stream, n, partitions);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Moves windows that are over while there are no batches, in a transaction of its own. */
bool
weir_pipeline_close(Oid stream, int64 version)
{
	MemoryContext context = CurrentMemoryContext;
	WeirStream *latest;
	bool		done = true;

	StartTransactionCommand();
	enter_stream(stream);
	PushActiveSnapshot(GetTransactionSnapshot());
	latest = weir_catalog_load_stream(stream, true);
	if (latest != NULL && latest->version == version)
		done = close_windows(latest, weir_catalog_aggregates(stream, true));
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return done;
}

/* Lets go of old dead letters while there are no batches, in a transaction of its own. */
void
weir_pipeline_purge(void)
{
	MemoryContext context = CurrentMemoryContext;

	if (!purge_is_due())
		return;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	purge_sometimes();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Gives ingested messages the next offsets of their partition, whose row stays locked. */
static void
assign_offsets(WeirRuntime *runtime, int32 partition, WeirBatch *batch)
{
	WeirProgress progress;
	bool		found = weir_catalog_read_partition(runtime->relid, partition, true, &progress);

	if (!found && partition == WEIR_INGEST_PARTITION && runtime->stream->topic != NULL)
	{
		weir_catalog_add_partitions(runtime->relid, 1, &partition, &(int64) {0});
		found = weir_catalog_read_partition(runtime->relid, partition, true, &progress);
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" has no partition %d", runtime->stream->name, partition),
				 errhint("Its partitions are numbered from 0; their number was given to weir.create_stream.")));
	for (int i = 0; i < batch->nmessages; i++)
	{
		batch->messages[i].partition = partition;
		batch->messages[i].offset = progress.applied_offset + i;
	}
}

/*
 * Runs a batch in the caller's transaction with isolation, cleaning up after
 * errors; false if it is to be rolled back and run again when *other has ended.
 */
static bool
run_in_session(WeirRuntime *runtime, WeirApply *apply, WeirBatch *batch, TransactionId *other)
{
	WeirOwnerSession session;
	WeirStaging staging = weir_stage_current();
	volatile bool alone = false;

	PG_TRY();
	{
		enter_owner(runtime->stream, &session);
		weir_apply_isolating(apply, 0, batch->nmessages);
		alone = weir_apply_remember(apply, other);
		weir_owner_leave(&session);
	}
	PG_CATCH();
	{
		weir_stage_restore(staging);
		weir_runtime_release(runtime->relid);
		PG_RE_THROW();
	}
	PG_END_TRY();
	weir_apply_end(apply);
	return alone;
}

/* Returns the runtime of a stream that a session wants to send messages through. */
static WeirRuntime *
runtime_for_session(Oid stream)
{
	WeirRuntime *runtime;

	enter_stream(stream);
	runtime = weir_runtime_get(stream);
	if (runtime == NULL)
		(void) weir_catalog_load_stream(stream, false); /* raises the error */
	return runtime;
}

/* Applies payloads once; false if that is to be rolled back and done again when *other has ended. */
static bool
ingest_once(WeirRuntime *runtime, WeirBatch *batch, TimestampTz least_watermark,
			WeirCounts *counts, TransactionId *other)
{
	WeirApply	apply;

	weir_apply_begin(&apply, runtime, batch, palloc0(sizeof(WeirStreak)));
	apply.least_watermark = least_watermark;
	if (!run_in_session(runtime, &apply, batch, other))
		return false;
	if (!save(&apply, counts))
		elog(ERROR, "a partition of stream \"%s\" moved under its lock", runtime->stream->name);
	return true;
}

/*
 * The same below a subtransaction: where another session brings the same event
 * ids at the same time, and was faster, it is done again.
 */
static void
ingest_until_alone(WeirRuntime *runtime, WeirBatch *batch, TimestampTz least_watermark, WeirCounts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	while (!done)
	{
		TransactionId other = InvalidTransactionId;
		ErrorData  *error;

		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			done = ingest_once(runtime, batch, least_watermark, counts, &other);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			error = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
			ReThrowError(error);
		}
		PG_END_TRY();
		if (done)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		weir_dedup_wait(other);
	}
}

/* Applies payloads in the caller's transaction. */
void
weir_pipeline_ingest(Oid stream, int32 partition, WeirBatch *batch, WeirCounts *counts)
{
	WeirRuntime *runtime = runtime_for_session(stream);
	TimestampTz least_watermark = DT_NOBEGIN;
	TransactionId other;

	/* before there are rows again that a crash has not emptied */
	weir_refill_plan(stream);
	assign_offsets(runtime, partition, batch);
	if (partition == WEIR_INGEST_PARTITION)
		least_watermark = weir_catalog_stream_watermark(stream);
	if (runtime->dedup == NULL)
		(void) ingest_once(runtime, batch, least_watermark, counts, &other);
	else
		ingest_until_alone(runtime, batch, least_watermark, counts);
	if (runtime->stream->topic == NULL)
		weir_rotate_at_commit(stream);	/* there is no worker to do it */
}

/* Sends dead letters through again in the caller's transaction. */
void
weir_pipeline_replay(Oid stream, WeirBatch *batch, bool *failed, bool *duplicate)
{
	WeirRuntime *runtime = runtime_for_session(stream);
	WeirApply	apply;
	WeirCounts	counts;
	TransactionId other;

	/* before there are rows again that a crash has not emptied */
	weir_refill_plan(stream);
	weir_apply_begin_replay(&apply, runtime, batch, palloc0(sizeof(WeirStreak)));
	if (!run_in_session(runtime, &apply, batch, &other))
		elog(ERROR, "somebody else brought events of stream \"%s\" under its fence", runtime->stream->name);

	memcpy(duplicate, apply.duplicates, sizeof(bool) * batch->nmessages);
	memset(failed, 0, sizeof(bool) * batch->nmessages);
	for (int i = 0; i < apply.letters.count; i++)
		failed[apply.letters.items[i].message - batch->messages] = true;
	apply.letters.count = 0;	/* they are dead letters already */
	if (!save(&apply, &counts))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("stream \"%s\" moved while dead letters were replayed", runtime->stream->name)));
}
