/*
 * worker.c
 *	  One process reads one stream, or one Nth of its partitions.
 *
 * The loop: take what librdkafka has fetched, cut a batch, have pipeline.c
 * apply it, and sleep on latch and pipe when there is nothing.  Which
 * partitions and from where is worker_source.c's, the messages in hand are
 * worker_batch.c's, what the state is called and where it shows
 * worker_state.c's, what a consumer group is told worker_group.c's.
 *
 * Faults have one way out: whatever throws, or comes back from the pipeline
 * as an error, ends in take_failure(), which tries again from the applied
 * offsets or stays failed, by the error's SQLSTATE.  When the definition
 * changes the process leaves, and the launcher starts another.
 *
 *		     ┌───────────── woken, or another worker was faster ──────────┐
 *		     ▼                                                            │
 *		prepare() ──▶ consume(): fill ──▶ apply ──▶ sleep ──▶ fill … ─────┘
 *		     ▲                     │ error
 *		     └──── take_failure() ◀┘
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "consumer.h"
#include "errors.h"
#include "guc.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pipeline.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "worker_batch.h"
#include "worker_ends.h"
#include "worker_group.h"
#include "worker_refill.h"
#include "worker_source.h"
#include "worker_state.h"

#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS 30000
/* Where only the broker is missed, waiting long would gain nothing. */
#define RETRY_LAST_CONNECT_MS 5000
/* An attempt at a lock has waited already. */
#define RETRY_LAST_LOCK_MS 1000

/* An attempt takes so many times less than the one that failed, and more than the one that went well. */
#define PART_FACTOR 4

#define FENCE_RETRY_MS 200
#define REFRESH_MS 10000		/* looking for new partitions */
#define REFRESH_SOON_MS 1000
#define ENDS_FIRST_MS 1000		/* after the first of failures in a row: learning how far behind we are */
#define ENDS_MS 5000
#define CALM_MS 60000			/* idle for so long is calm: once in so long is often enough, too */
#define POSITION_MS 1000		/* commits that bring positions alone */
#define IDLENESS_MS 250			/* looking for partitions to leave out, with idle_timeout */
#define CLOSE_MS 1000			/* after the last batch: looking for windows that are over */
#define IDLE_MS 2000			/* nothing for so long is idle */
#define DOUBT_MS 1000			/* no broker for so long is worth a word */

PGDLLEXPORT void weir_worker_main(Datum arg);

typedef struct Worker
{
	WeirWorkerSlot slot;		/* who we are, as of attaching */
	MemoryContext definition_context;	/* of stream */
	MemoryContext batch_context;	/* reset after every batch and failure */
	WeirStream *stream;			/* NULL: not loaded yet */
	WeirSource	source;
	WeirRefiller refiller;
	WeirGroup	group;
	WaitEventSet *waits;
	bool		waits_for_refill;	/* its consumer is among them */

	WeirHand	hand;

	int			retries;		/* failures in a row */
	TimestampTz next_ends;		/* when to learn how far behind we are; meant while there are failures */
	int			part;			/* how many messages to try in one transaction */
	TimestampTz last_commit;
	TimestampTz last_message;
	TimestampTz next_refresh;
	TimestampTz next_close;		/* 0: no batch since windows were looked at */
	bool		partly_silent;		/* some brokers are silent, messages of others come all the same */
	bool		interrupted;		/* all were: what the topic has may have changed meanwhile */
	TimestampTz doubt_since;	/* no broker could be reached; 0: none of that */
	WeirKafkaError doubt;
} Worker;

/* Wakes the workers of a stream, and the launcher. */
void
weir_worker_wake(Oid dboid, Oid stream)
{
	weir_shared_wake(dboid, stream);
	weir_shared_ring(dboid);
}

/* ---- coming and going ---- */

/* The one that this process is. */
static Worker *self;

/* Ends the process; the slot says what is to follow. */
static void pg_attribute_noreturn()
leave(WeirLeave how)
{
	if (how == WEIR_LEAVE_STOP && weir_shared_is_well(weir_worker_current()))
		weir_group_leave(&self->group, self->stream, &self->source);
	if (weir_worker_current() != WEIR_STOPPING)
		weir_worker_enter(WEIR_STOPPING, NULL, NULL, 0);
	weir_shared_set_leave(how);
	proc_exit(0);
}

/* Was this worker woken?  Leaves if it is not wanted any more. */
static bool
was_woken(void)
{
	bool		wanted;
	bool		woken = weir_shared_take_wake(&wanted);

	if (!wanted)
		leave(WEIR_LEAVE_STOP);
	return woken;
}

/* Sets a setting, if this version of PostgreSQL has it, over what the database or a role says. */
static void
pin(const char *name, const char *value)
{
	if (GetConfigOption(name, true, false) != NULL)
		SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * What the database or a role sets for sessions must not keep batches from
 * being written.  Most timeouts bind only what clients send.
 */
static void
pin_settings(void)
{
	pin("default_transaction_isolation", "read committed");
	pin("default_transaction_read_only", "off");
	pin("default_transaction_deferrable", "off");
	pin("transaction_timeout", "0");	/* from 17 on; weir.batch_timeout does it without ending the process */
	pin("lock_timeout", psprintf("%d", weir_lock_timeout));
}

/* Does what any wait and any loop must do; true if the worker was woken. */
static bool
pay_attention(void)
{
	/* There is no batch that pg_cancel_backend() could mean. */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		pin_settings();
	}
	return was_woken();
}

/* Sleeps for so long, unless woken; true if it was. */
static bool
pause_for(long ms)
{
	static uint32 wait_event = 0;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	if (wait_event == 0)
		wait_event = weir_wait_event("WeirWorkerRetry");
	for (;;)
	{
		long		left;

		if (pay_attention())
			return true;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, wait_event);
		ResetLatch(MyLatch);
	}
}

/* The longest pause that an error is worth. */
static long
longest_pause(const Worker *worker, int sqlstate)
{
	if (sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
		return RETRY_LAST_LOCK_MS;
	if (!worker->source.consumer || sqlstate == ERRCODE_UNDEFINED_FILE ||
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_CONNECTION_EXCEPTION)
		return RETRY_LAST_CONNECT_MS;
	return RETRY_LAST_MS;
}

/* How long to wait before the next attempt: exponential, with jitter. */
static long
backoff(Worker *worker, long longest)
{
	long		ms = RETRY_FIRST_MS << Min(worker->retries, 16);

	worker->retries++;
	ms = Min(ms, longest);
	return ms / 2 + (long) (pg_prng_double(&pg_global_prng_state) * (ms / 2));
}

/* ---- the definition ---- */

/* Keeps up with the one thing that changes without a new version. */
static void
copy_cluster_id(Worker *worker, const char *cluster_id)
{
	char	   *known = worker->stream->cluster_id;

	if (cluster_id && (!known || strcmp(known, cluster_id) != 0))
		worker->stream->cluster_id = MemoryContextStrdup(worker->definition_context, cluster_id);
	else if (!cluster_id)
		worker->stream->cluster_id = NULL;
}

/* Loads the definition; leaves if there is nothing to do here any more, or not as before. */
static void
load_definition(Worker *worker)
{
	MemoryContext old = CurrentMemoryContext;
	WeirStream *stream;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(worker->stream ? worker->batch_context : worker->definition_context);
	stream = weir_catalog_usable() ? weir_catalog_load_stream(worker->slot.stream, true) : NULL;
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);

	if (!stream || !stream->wanted || !stream->server || worker->slot.worker >= stream->parallelism)
		leave(WEIR_LEAVE_STOP);
	if (!worker->stream)
	{
		worker->stream = stream;
		weir_worker_state_name(quote_qualified_identifier(stream->schema, stream->name));
		pgstat_report_appname(quote_qualified_identifier(stream->schema, stream->name));
		weir_hand_allocate(&worker->hand, worker->stream);
		worker->part = worker->hand.max_messages;
	}
	else if (stream->version != worker->stream->version || stream->owner != worker->stream->owner)
		leave(WEIR_LEAVE_RESTART);
	else
		copy_cluster_id(worker, stream->cluster_id);
}

/* Lets the fence go: no transaction's end at exit does that for a session's lock. */
static void
drop_fence(int code, Datum arg)
{
	AbortOutOfAnyTransaction();
	LockReleaseAll(DEFAULT_LOCKMETHOD, true);
}

/*
 * Waits until no other process is this worker.  An aborted transaction takes
 * session locks along, so the fence is taken again whenever one may have.
 */
static void
take_fence(Worker *worker)
{
	bool		ours = false;

	while (!ours)
	{
		MemoryContext old = CurrentMemoryContext;

		StartTransactionCommand();
		ours = weir_fence_worker(worker->slot.stream, worker->slot.worker);
		CommitTransactionCommand();
		MemoryContextSwitchTo(old);
		if (!ours)
			(void) pause_for(FENCE_RETRY_MS);
	}
}

/* Sleeps on latch and pipes. */
static void
make_wait_set(Worker *worker)
{
	if (worker->waits)
		FreeWaitEventSet(worker->waits);
	worker->waits = weir_create_wait_event_set(4);
	AddWaitEventToSet(worker->waits, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(worker->waits, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(worker->waits, WL_SOCKET_READABLE, weir_consumer_fd(worker->source.consumer),
					  NULL, worker->source.consumer);
	worker->waits_for_refill = worker->refiller.source.consumer != NULL;
	if (worker->waits_for_refill)
		AddWaitEventToSet(worker->waits, WL_SOCKET_READABLE, weir_consumer_fd(worker->refiller.source.consumer),
						  NULL, worker->refiller.source.consumer);
}

/* The state of a worker that has something to do, and can. */
static WeirWorkerState
busy_state(const Worker *worker)
{
	return weir_refiller_has_work(&worker->refiller) ? WEIR_REFILLING : WEIR_RUNNING;
}

/* Gets ready to consume: definition, fence, consumer, partitions. */
static void
prepare(Worker *worker)
{
	TimestampTz now;

	load_definition(worker);
	take_fence(worker);
	/* before the first batch brings rows that a crash has not emptied */
	weir_refill_plan_alone(worker->slot.stream);
	if (!worker->source.consumer)
	{
		weir_source_open(&worker->source, worker->stream, worker->slot.worker, weir_worker_memory);
		make_wait_set(worker);
	}
	weir_source_assign(&worker->source, worker->stream);
	weir_refiller_begin(&worker->refiller, worker->stream, worker->slot.worker);
	weir_group_begin(&worker->group);
	weir_hand_allocate_positions(&worker->hand, worker->source.npartitions);
	MemoryContextReset(worker->batch_context);

	now = GetCurrentTimestamp();
	worker->last_message = now;
	worker->doubt_since = 0;
	worker->partly_silent = false;
	worker->interrupted = false;
	worker->next_refresh = TimestampTzPlusMilliseconds(now, REFRESH_MS);
	worker->next_close = now;
	weir_worker_enter(busy_state(worker), NULL, NULL, 0);
}

/* ---- consuming ---- */

/* Something came from a broker: all is well, unless others are silent. */
static void
see_life(Worker *worker)
{
	worker->doubt_since = 0;
	if (weir_worker_current() != WEIR_RETRYING || worker->partly_silent)
		return;
	weir_worker_enter(busy_state(worker), NULL, NULL, 0);
	worker->interrupted = true;
}

/* Ends the process for a client that is beyond help; the launcher starts another. */
static void pg_attribute_noreturn()
give_up_client(const WeirKafkaError *error)
{
	weir_worker_enter(WEIR_RETRYING, error->message, error->hint, 0);
	weir_shared_set_leave(WEIR_LEAVE_LOST);
	proc_exit(1);
}

/* Deals with one event; false if the partitions must be assigned anew. */
static bool
handle_event(Worker *worker, const WeirConsumerEvent *event)
{
	TimestampTz now = GetCurrentTimestamp();

	switch (event->kind)
	{
		case WEIR_EVENT_HEALTHY:
			worker->partly_silent = false;
			see_life(worker);
			break;
		case WEIR_EVENT_SILENT:
			worker->partly_silent = event->partly;
			/* That none can be reached says more. */
			if (worker->doubt_since == 0)
				weir_worker_enter(WEIR_RETRYING, event->error.message, event->error.hint, 0);
			break;
		case WEIR_EVENT_UNREACHABLE:
			if (worker->doubt_since == 0)
				worker->doubt_since = now;
			worker->doubt = event->error;
			break;
		case WEIR_EVENT_OUT_OF_RANGE:
			weir_source_out_of_range(&worker->source, worker->stream, event->partition, event->offset);
			return false;
		case WEIR_EVENT_REPLACED:
			weir_source_replaced(&worker->source, worker->stream, event->partition, event->offset);
			return false;
		case WEIR_EVENT_TOPIC:
			worker->source.doubtful = true;
			worker->next_refresh = Min(worker->next_refresh,
									   TimestampTzPlusMilliseconds(now, REFRESH_SOON_MS));
			break;
		case WEIR_EVENT_SPOILED:
			weir_source_throw(&event->error);
			break;
		case WEIR_EVENT_FATAL:
			give_up_client(&event->error);
			break;
	}
	return true;
}

/* Deals with what happened beside messages; false if the partitions must be assigned anew. */
static bool
handle_events(Worker *worker)
{
	WeirConsumerEvent event;

	while (weir_consumer_event(worker->source.consumer, &event))
	{
		if (!handle_event(worker, &event))
			return false;
	}
	if (worker->doubt_since != 0 &&
		TimestampDifferenceExceeds(worker->doubt_since, GetCurrentTimestamp(), DOUBT_MS))
	{
		weir_consumer_renew_error(worker->source.consumer, &worker->doubt);
		weir_worker_enter(WEIR_RETRYING, worker->doubt.message, worker->doubt.hint, 0);
	}
	return !worker->interrupted;
}

/* Takes what has been fetched. */
static void
fill_batch(Worker *worker)
{
	if (weir_hand_fill(&worker->hand, worker->source.consumer) == 0)
		return;

	worker->last_message = GetCurrentTimestamp();
	see_life(worker);
	if (weir_worker_current() == WEIR_IDLE)
	{
		weir_worker_enter(WEIR_RUNNING, NULL, NULL, 0);
		worker->next_refresh = Min(worker->next_refresh,
								   TimestampTzPlusMilliseconds(worker->last_message, REFRESH_MS));
	}
}

/* When is the batch to be applied?  0: there is none. */
static TimestampTz
batch_due(const Worker *worker)
{
	if (worker->hand.batch.nmessages > 0)
		return worker->hand.drained ?
			TimestampTzPlusMilliseconds(worker->last_commit, worker->stream->batch_interval_ms) :
			worker->last_commit;
	if (weir_consumer_has_news(worker->source.consumer))
		return TimestampTzPlusMilliseconds(worker->last_commit, POSITION_MS);
	return 0;
}

/* Returns what is known of the remedy for an error. */
static const char *
hint_of(const ErrorData *error)
{
	const char *hint = error->hint ? error->hint : weir_error_hint(error->sqlerrcode);

	if (error->hint == NULL && error->detail != NULL)
		return hint ? psprintf("%s %s", error->detail, hint) : error->detail;
	return hint;
}

/* Has lag show how far behind we are that cannot apply anything, now and then. */
static void
note_ends(Worker *worker)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!worker->source.consumer || now < worker->next_ends)
		return;
	weir_ends_note(&worker->source, worker->stream);
	worker->next_ends = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ENDS_MS);
}

/* Sleeps before the next attempt, for so long; true if woken. */
static bool
pause_behind(Worker *worker, long ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	do
	{
		note_ends(worker);
		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (pause_for(Min(ms, ENDS_MS)))
			return true;
	} while (ms > ENDS_MS);
	return false;
}

/* Shows an error of the environment, and waits before the next attempt; true if woken. */
static bool
wait_for_better(Worker *worker, ErrorData *error)
{
	long		wait = backoff(worker, longest_pause(worker, error->sqlerrcode));

	weir_error_explain(error);
	weir_worker_enter(WEIR_RETRYING, error->message, hint_of(error),
					  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait));
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION)
		return pause_for(wait);		/* there is nobody to ask */
	if (worker->retries == 1)
		worker->next_ends = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ENDS_FIRST_MS);
	return pause_behind(worker, wait);
}

/* Applies messages [from, from + n) of the batch in hand; with the last of them go npositions. */
static WeirOutcome
apply_part(Worker *worker, int from, int n, int npositions, ErrorData **error)
{
	WeirBatch	part = worker->hand.batch;
	WeirCounts	counts;
	WeirOutcome outcome;

	part.messages += from;
	part.nmessages = n;
	part.npositions = from + n == worker->hand.batch.nmessages ? npositions : 0;

	MemoryContextSwitchTo(worker->batch_context);
	weir_shared_set_batch(GetCurrentTimestamp());
	outcome = weir_pipeline_apply(worker->slot.stream, worker->stream->version, &part, &counts, error);
	weir_shared_set_batch(0);
	MemoryContextSwitchTo(worker->batch_context);
	return outcome;
}

/*
 * Deals with an attempt that the environment has failed; false if woken.  The
 * next one takes fewer messages: what has been staged in vain stays in the
 * child until that is dropped, and less may get through where more does not.
 */
static bool
endure(Worker *worker, int attempted, ErrorData *error)
{
	worker->part = Max(attempted / PART_FACTOR, 1);
	if (wait_for_better(worker, error))
		return false;
	FreeErrorData(error);
	take_fence(worker);
	/* it may be the disk that is full */
	if (worker->slot.worker == 0)
		weir_pipeline_expire(worker->slot.stream);
	return true;
}

/* Notes that the batch in hand is applied. */
static void
finish_batch(Worker *worker)
{
	worker->retries = 0;
	weir_hand_release(&worker->hand);
	MemoryContextReset(worker->batch_context);
	(void) pgstat_report_stat(false);
	if (weir_worker_current() == WEIR_RETRYING && !worker->partly_silent)
		weir_worker_enter(busy_state(worker), NULL, NULL, 0);
}

/* Applies the batch in hand; false if the partitions must be assigned anew. */
static bool
apply_batch(Worker *worker)
{
	int			npositions = weir_consumer_positions(worker->source.consumer, worker->hand.batch.positions);
	int			done = 0;
	bool		applied;

	do
	{
		int			n = Min(worker->hand.batch.nmessages - done, worker->part);
		ErrorData  *error = NULL;

		applied = false;
		switch (apply_part(worker, done, n, npositions, &error))
		{
			case WEIR_APPLIED:
				applied = true;
				worker->last_commit = GetCurrentTimestamp();
				worker->next_close = TimestampTzPlusMilliseconds(worker->last_commit, CLOSE_MS);
				weir_group_applied(&worker->group);
				worker->part = Min(worker->part, worker->hand.max_messages / PART_FACTOR + 1) * PART_FACTOR;
				done += n;
				if (done < worker->hand.batch.nmessages && pay_attention())
					return false;
				break;
			case WEIR_CHANGED:
			case WEIR_AGAIN:	/* the pipeline sees to that */
				/* If it keeps happening, not as fast as we can. */
				(void) pause_for(backoff(worker, RETRY_LAST_CONNECT_MS));
				return false;
			case WEIR_BROKEN:
				ReThrowError(error);
				break;
			case WEIR_RETRY:
				if (!endure(worker, n, error))
					return false;
				break;
		}
	} while (!applied || done < worker->hand.batch.nmessages);
	finish_batch(worker);
	return true;
}

/* Shows a stream as idle that has been read to its end, and stayed there for a while. */
static void
notice_idleness(Worker *worker, TimestampTz now)
{
	if (weir_worker_current() == WEIR_RUNNING && worker->hand.batch.nmessages == 0 &&
		weir_consumer_at_end(worker->source.consumer) &&
		now >= TimestampTzPlusMilliseconds(worker->last_message, IDLE_MS))
	{
		weir_worker_enter(WEIR_IDLE, NULL, NULL, 0);
		(void) pgstat_report_stat(true);
	}
}

/* Leaves partitions out of the stream's watermark that bring nothing for long. */
static void
leave_out_idle(Worker *worker)
{
	int32	   *partitions;
	int			n;

	if (worker->stream->idle_timeout == 0 || worker->hand.batch.nmessages > 0 ||
		worker->doubt_since != 0 || weir_worker_current() == WEIR_RETRYING)
		return;
	partitions = MemoryContextAlloc(worker->batch_context, sizeof(int32) * worker->source.npartitions);
	n = weir_consumer_idle(worker->source.consumer, worker->stream->idle_timeout, partitions);
	if (n > 0)
	{
		weir_pipeline_leave_out(worker->slot.stream, worker->stream->version, n, partitions);
		worker->next_close = GetCurrentTimestamp();
	}
	pfree(partitions);
}

/*
 * Moves windows that the last batch could not: because another worker's batch
 * did not see it, nor it the other, or because only idleness has moved the
 * watermark since.  While batches follow each other, they do it.
 */
static void
close_windows(Worker *worker, TimestampTz now)
{
	if (worker->next_close == 0 || now < worker->next_close)
		return;
	worker->next_close = weir_pipeline_close(worker->slot.stream, worker->stream->version) ? 0 :
		TimestampTzPlusMilliseconds(now, CLOSE_MS);
}

/* Has nothing come for so long that it need not be looked for as often as otherwise? */
static bool
is_calm(const Worker *worker, TimestampTz now)
{
	return weir_worker_current() == WEIR_IDLE &&
		TimestampDifferenceExceeds(worker->last_message, now, CALM_MS);
}

/* Is there nobody to ask about the topic? */
static bool
all_silent(const Worker *worker)
{
	return weir_worker_current() == WEIR_RETRYING && !worker->partly_silent;
}

/* Looks now and then whether definition and topic are as they were; false if not. */
static bool
refresh(Worker *worker, TimestampTz now)
{
	if (now < worker->next_refresh)
		return true;
	worker->next_refresh = TimestampTzPlusMilliseconds(now, is_calm(worker, now) ? CALM_MS : REFRESH_MS);
	/* Nobody wakes us when the extension is dropped, or the stream gets another owner. */
	load_definition(worker);
	weir_pipeline_purge();
	if (worker->hand.batch.nmessages == 0)
		MemoryContextReset(worker->batch_context);
	return all_silent(worker) || !weir_source_changed(&worker->source, worker->stream);
}

/* Makes *until the earlier of the two, where 0 is never. */
static void
sooner(TimestampTz *until, TimestampTz other)
{
	if (other != 0 && (*until == 0 || other < *until))
		*until = other;
}

/* Sleeps until something comes or is due. */
static void
sleep_for_news(Worker *worker, TimestampTz due)
{
	static uint32 wait_event = 0;
	TimestampTz until = worker->next_refresh;
	WaitEvent	events[4];
	int			n;
	long		ms;

	sooner(&until, due);
	sooner(&until, worker->group.due);
	sooner(&until, worker->next_close);
	if (weir_worker_current() == WEIR_RUNNING)
		sooner(&until, TimestampTzPlusMilliseconds(worker->last_message, IDLE_MS));
	if (worker->doubt_since != 0 && weir_worker_current() != WEIR_RETRYING)
		sooner(&until, TimestampTzPlusMilliseconds(worker->doubt_since, DOUBT_MS + 1));

	if (weir_worker_current() == WEIR_REFILLING && worker->refiller.next_try > GetCurrentTimestamp())
		sooner(&until, worker->refiller.next_try);
	if (worker->stream->idle_timeout != 0)
		sooner(&until, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), IDLENESS_MS));

	/* Past deadlines that nothing came of wait for a while, too, lest we spin. */
	ms = until == 0 ? -1 : TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	if (ms == 0)
		ms = due != 0 ? 1 : 100;
	if (wait_event == 0)
		wait_event = weir_wait_event("WeirWorkerMain");
	n = WaitEventSetWait(worker->waits, ms, events, lengthof(events), wait_event);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (events[i].events & WL_SOCKET_READABLE)
			weir_consumer_drain(events[i].user_data);
	}
}

/*
 * Does a little of the refill, if there is one.  When it is complete the
 * process leaves for a fresh one, as a second Kafka client cannot be got rid
 * of without waiting for its threads.
 */
static WeirRefillStep
refill_a_little(Worker *worker)
{
	WeirRefillStep step;

	if (weir_worker_current() != WEIR_REFILLING)
	{
		weir_refiller_attend(&worker->refiller);
		return WEIR_REFILL_NOTHING;
	}
	step = weir_refiller_step(&worker->refiller, worker->stream);
	MemoryContextSwitchTo(worker->batch_context);
	if (worker->refiller.dead)
		leave(WEIR_LEAVE_LOST);
	if (step == WEIR_REFILL_COMPLETE)
	{
		ereport(LOG,
				(errmsg("staged rows of stream \"%s\" that were lost in a crash are back", worker->stream->name)));
		weir_worker_enter(WEIR_RUNNING, NULL, NULL, 0);
		if (worker->refiller.source.consumer)
			leave(WEIR_LEAVE_RESTART);
	}
	else if (worker->refiller.source.consumer && !worker->waits_for_refill)
		make_wait_set(worker);
	if (step == WEIR_REFILL_POSTPONED)
	{
		weir_worker_enter(WEIR_REFILLING, worker->refiller.trouble.message, worker->refiller.trouble.hint,
						  worker->refiller.next_try);
		take_fence(worker);
	}
	else if (step == WEIR_REFILL_PROGRESS)
		weir_worker_enter(WEIR_REFILLING, NULL, NULL, worker->refiller.next_try);
	return step;
}

/* Does what is due beside batches, however busy the stream is; false if it must be looked at anew. */
static bool
keep_house(Worker *worker, TimestampTz now)
{
	notice_idleness(worker, now);
	leave_out_idle(worker);
	close_windows(worker, now);
	if (worker->slot.worker == 0)
		weir_pipeline_maintain(worker->slot.stream, is_calm(worker, now) ? CALM_MS : REFRESH_MS);
	return refresh(worker, now);
}

/* Consumes until something must be looked at anew. */
static void
consume(Worker *worker)
{
	WeirRefillStep step = WEIR_REFILL_NOTHING;

	while (step != WEIR_REFILL_AGAIN)
	{
		TimestampTz now;
		TimestampTz due;
		bool		busy;

		MemoryContextSwitchTo(worker->batch_context);
		if (pay_attention() || !handle_events(worker))
			return;
		weir_group_step(&worker->group, worker->stream, &worker->source);
		fill_batch(worker);
		if (!handle_events(worker))
			return;
		now = GetCurrentTimestamp();
		due = batch_due(worker);
		busy = due != 0 && due <= now;
		if (busy && !apply_batch(worker))
			return;
		if (!keep_house(worker, now))
			return;
		step = refill_a_little(worker);
		if (!busy && step == WEIR_REFILL_NOTHING)
			sleep_for_news(worker, due);
	}
}

/* ---- failing ---- */

/* Stays failed until the user acts. */
static void pg_attribute_noreturn()
stay_failed(Worker *worker)
{
	WeirKafkaError error;
	WeirConsumerEvent event;

	if (worker->source.consumer)
		(void) weir_consumer_assign(worker->source.consumer, 0, NULL, NULL, NULL, &error);
	worker->next_ends = 0;
	note_ends(worker);
	while (!pause_for(REFRESH_MS))
	{
		while (worker->source.consumer && weir_consumer_event(worker->source.consumer, &event))
			;
		weir_refiller_attend(&worker->refiller);
		/* Nobody wakes us when the extension is dropped, or the stream gets another owner. */
		if (worker->stream)
			load_definition(worker);
		note_ends(worker);
		MemoryContextReset(worker->batch_context);
	}
	leave(WEIR_LEAVE_RESTART);
}

/* Decides what becomes of an error. */
static void
take_failure(Worker *worker, ErrorData *error)
{
	if (weir_error_fate(error->sqlerrcode) == WEIR_FATE_ENVIRONMENT)
	{
		(void) wait_for_better(worker, error);
		return;
	}
	weir_worker_enter(WEIR_FAILED, error->message, hint_of(error), 0);
	stay_failed(worker);
}

/* Prepares and consumes once; what was thrown is returned, in the batch's memory. */
static ErrorData *
run_guarded(Worker *worker)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		MemoryContextSwitchTo(worker->batch_context);
		prepare(worker);
		consume(worker);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		weir_shared_set_batch(0);
	}
	PG_END_TRY();
	return error;
}

/* Runs a worker in slot arg. */
void
weir_worker_main(Datum arg)
{
	Worker	   *worker;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	self = worker = MemoryContextAllocZero(TopMemoryContext, sizeof(Worker));
	if (!weir_shared_attach(DatumGetInt32(arg), &worker->slot))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(worker->slot.dboid, InvalidOid, 0);
	pin_settings();
	before_shmem_exit(drop_fence, (Datum) 0);
	/* As if something had been: 0 would stand for "never" in batch_due(). */
	worker->last_commit = GetCurrentTimestamp();
	worker->definition_context = AllocSetContextCreate(TopMemoryContext, "pg_weir definition",
													   ALLOCSET_SMALL_SIZES);
	worker->batch_context = AllocSetContextCreate(TopMemoryContext, "pg_weir batch",
												  ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		ErrorData  *error = run_guarded(worker);

		weir_hand_release(&worker->hand);
		MemoryContextReset(worker->batch_context);
		MemoryContextSwitchTo(worker->batch_context);
		if (error)
		{
			take_failure(worker, error);
			FreeErrorData(error);
		}
	}
}
