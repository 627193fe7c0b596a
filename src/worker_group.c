/*
 * worker_group.c
 *	  Telling a consumer group how far a stream is applied, for the tools that
 *	  show the lag of groups.
 *
 *		stale ──▶ read the applied offsets ──▶ WAL is flushed that far ──▶ sent ──▶ known
 *		  ▲                                                                  │
 *		  └──────────────────────────── later, failed ◀──────────────────────┘
 *
 * Batches commit without waiting for the disk: a crash may take the last ones
 * back, and the applied offsets with them.  A group must never be told more
 * than what then remains.  So offsets are sent only once everything is
 * flushed that was written when they were read.
 *
 * Nothing is ever read back, and a failure disturbs nobody: it is logged, now
 * and then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker_group.h"

#define COMMIT_MS 2000			/* between commits */
#define FLUSH_MS 500			/* then we flush ourselves */
#define FLUSH_LOOK_MS 100
#define ANSWER_MS 60000			/* then there will be none */
#define RETRY_MS 5000
#define COMPLAIN_MS (10 * 60 * 1000)
#define LEAVE_MS 500

/* The worker begins to read. */
void
weir_group_begin(WeirGroup *group)
{
	group->stale = true;
	group->known = false;
	group->lsn = InvalidXLogRecPtr;
	group->next = 0;
	group->due = GetCurrentTimestamp();
}

/* A batch has been applied. */
void
weir_group_applied(WeirGroup *group)
{
	if (!group->stale && !group->sent && group->lsn == InvalidXLogRecPtr)
		group->due = group->next;
	group->stale = true;
}

/*
 * Returns where WAL ends now: the end of the last record, not the place behind
 * the header of a page that has none yet, which could never be flushed.
 */
static XLogRecPtr
end_of_wal(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/* Is this a partition of ours, in a topic that has it? */
static bool
is_ours(const WeirStream *stream, const WeirSource *source, const WeirProgress *progress)
{
	return progress->partition >= 0 && progress->partition < source->npartitions &&
		progress->partition % stream->parallelism == source->worker;
}

/* Takes offsets over; false if the group has them already. */
static bool
take_offsets(WeirGroup *group, const WeirStream *stream, const WeirSource *source, List *all)
{
	int			room = list_length(all) + 1;
	int32	   *partitions = MemoryContextAlloc(TopMemoryContext, sizeof(int32) * room);
	int64	   *offsets = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * room);
	int			n = 0;
	bool		same;
	ListCell   *lc;

	foreach(lc, all)
	{
		WeirProgress *progress = lfirst(lc);

		if (!is_ours(stream, source, progress))
			continue;
		partitions[n] = progress->partition;
		offsets[n++] = progress->applied_offset;
	}
	same = group->known && n == group->n &&
		memcmp(partitions, group->partitions, sizeof(int32) * n) == 0 &&
		memcmp(offsets, group->offsets, sizeof(int64) * n) == 0;
	if (group->partitions)
	{
		pfree(group->partitions);
		pfree(group->offsets);
	}
	group->partitions = partitions;
	group->offsets = offsets;
	group->n = n;
	return n > 0 && !same;
}

/* Reads the applied offsets; false if there is nothing new.  Waits for locks for so long, 0: as ever. */
static bool
read_offsets(WeirGroup *group, const WeirStream *stream, const WeirSource *source, int lock_timeout)
{
	char		timeout[16];
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz now = GetCurrentTimestamp();
	bool		news;

	StartTransactionCommand();
	snprintf(timeout, sizeof(timeout), "%d", lock_timeout);
	if (lock_timeout > 0)
		(void) set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	news = weir_catalog_usable() &&
		take_offsets(group, stream, source, weir_catalog_load_partitions(stream->relid));
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);

	group->stale = false;
	group->since = now;
	group->next = TimestampTzPlusMilliseconds(now, COMMIT_MS);
	group->lsn = news ? end_of_wal() : InvalidXLogRecPtr;
	return news;
}

/* Are the offsets on disk?  If nobody has seen to it for long, we do. */
static bool
is_flushed(const WeirGroup *group, TimestampTz now)
{
	if (GetFlushRecPtr(NULL) >= group->lsn)
		return true;
	if (!TimestampDifferenceExceeds(group->since, now, FLUSH_MS))
		return false;
	XLogFlush(group->lsn);
	return true;
}

/* Sends the offsets. */
static void
send_offsets(WeirGroup *group, const WeirSource *source)
{
	weir_consumer_commit(source->consumer, group->n, group->partitions, group->offsets);
	group->lsn = InvalidXLogRecPtr;
	group->known = false;
	group->sent = true;
	group->since = GetCurrentTimestamp();
	group->due = TimestampTzPlusMilliseconds(group->since, ANSWER_MS);
}

/* Says in the log that the group cannot be told, but not too often. */
static void
complain(WeirGroup *group, const WeirStream *stream, const char *why, const char *hint, TimestampTz now)
{
	if (group->failing && !TimestampDifferenceExceeds(group->complained_at, now, COMPLAIN_MS))
		return;
	group->failing = true;
	group->complained_at = now;
	ereport(WARNING,
			(errcode(ERRCODE_CONNECTION_EXCEPTION),
			 errmsg("applied offsets of stream \"%s\" could not be committed to consumer group \"%s\": %s",
					stream->name, stream->commit_to_group, why),
			 errdetail("The stream goes on all the same."),
			 hint[0] ? errhint("%s", hint) : 0));
}

/* The group was not told: the same again, later. */
static void
try_later(WeirGroup *group, TimestampTz now)
{
	group->sent = false;
	group->stale = true;
	group->next = TimestampTzPlusMilliseconds(now, RETRY_MS);
	group->due = group->next;
}

/* Looks for the answer. */
static void
take_answer(WeirGroup *group, const WeirStream *stream, const WeirSource *source, TimestampTz now)
{
	WeirKafkaError error;

	switch (weir_consumer_committed(source->consumer, &error))
	{
		case WEIR_COMMIT_DONE:
			if (group->failing)
				ereport(LOG,
						(errmsg("applied offsets of stream \"%s\" are committed to consumer group \"%s\" again",
								stream->name, stream->commit_to_group)));
			group->failing = false;
			group->sent = false;
			group->known = true;
			group->due = group->stale ? group->next : 0;
			break;
		case WEIR_COMMIT_FAILED:
			complain(group, stream, error.message, error.hint, now);
			try_later(group, now);
			break;
		default:
			if (!TimestampDifferenceExceeds(group->since, now, ANSWER_MS))
				break;
			complain(group, stream, "the coordinator of the group does not answer", "", now);
			try_later(group, now);
			break;
	}
}

/* Does what is to be done. */
void
weir_group_step(WeirGroup *group, const WeirStream *stream, const WeirSource *source)
{
	TimestampTz now;

	if (stream->commit_to_group == NULL || (!group->stale && !group->sent && group->lsn == InvalidXLogRecPtr))
	{
		group->due = 0;
		return;
	}
	now = GetCurrentTimestamp();
	if (group->sent)
		take_answer(group, stream, source, now);
	else if (group->lsn != InvalidXLogRecPtr)
	{
		if (is_flushed(group, now))
			send_offsets(group, source);
		else
			group->due = TimestampTzPlusMilliseconds(now, FLUSH_LOOK_MS);
	}
	else if (now >= group->next)
		group->due = read_offsets(group, stream, source, 0) ? now : 0;
}

/* Waits for the answer to the last commit, if there was one. */
static void
await_answer(const WeirSource *source, TimestampTz until)
{
	static uint32 wait_event = 0;
	WeirConsumerEvent event;
	WeirKafkaError error;

	if (wait_event == 0)
		wait_event = weir_wait_event("WeirWorkerGroup");
	while (weir_consumer_committed(source->consumer, &error) == WEIR_COMMIT_SENT)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (left <= 0)
			break;
		(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								 weir_consumer_fd(source->consumer), left, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		weir_consumer_drain(source->consumer);
		while (weir_consumer_event(source->consumer, &event))
			;
	}
}

/* Tells the group for the last time. */
void
weir_group_leave(WeirGroup *group, const WeirStream *stream, const WeirSource *source)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LEAVE_MS);

	if (stream->commit_to_group == NULL || source->consumer == NULL ||
		(group->known && !group->stale))
		return;
	PG_TRY();
	{
		/* who holds the table may be waiting for us */
		if (read_offsets(group, stream, source, LEAVE_MS))
		{
			XLogFlush(group->lsn);
			/* lest its answer is taken for the next one's */
			await_answer(source, until);
			send_offsets(group, source);
			await_answer(source, until);
		}
	}
	PG_CATCH();
	{
		/* the next process tells it */
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
}
