/*
 * api_wait.c
 *	  weir.wait: waits until a stream has applied what the broker has now.
 *
 * Asks the broker once where its partitions end, then looks at what workers
 * have committed until it is that far.
 */
#include "postgres.h"

#include "arguments.h"
#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "kafka_options.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "probe.h"
#include "shared.h"
#include "storage/latch.h"
#include "stream_options.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How often to look. */
#define POLL_MS 5

/* How long to ask the broker before looking at the workers again, and the pause between attempts. */
#define PROBE_SLICE_MS 3000
#define PROBE_PAUSE_MS 200

/*
 * How long a worker must have been seen as failed: one that was woken by what
 * has just been committed may be on its way out of that state.
 */
#define FAILED_MS 200

#define TIME_END INT64CONST(-1)

PG_FUNCTION_INFO_V1(weir_wait);

/* Everything about one call. */
typedef struct Wait
{
	WeirStream *stream;
	Interval   *timeout;
	TimestampTz deadline;
	TimestampTz failed_since;	/* 0: no worker is failed */
	TimestampTz next_probe;
	List	   *ends;			/* of WeirProbeOffset */
	bool		asked;			/* ends are known */
	const WeirProbeRow *problem;	/* why they are not */
	WeirLatest	latest;
	MemoryContext scratch;		/* reset at each look */
} Wait;

/* ---------- what is there ---------- */

/* Raises 42501 unless the caller may read the stream. */
static void
check_rights(const WeirStream *stream)
{
	if (pg_class_aclcheck(stream->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		!weir_is_owner(stream->relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for stream \"%s\"", stream->name),
				 errhint("GRANT SELECT ON %s.",
						 quote_qualified_identifier(stream->schema, stream->name))));
}

/* Reads a worker slot of the stream; false if slot i is none. */
static bool
read_slot(const Wait *wait, int i, WeirWorkerSlot *slot)
{
	return weir_shared_read_slot(i, slot) &&
		slot->dboid == MyDatabaseId && slot->stream == wait->stream->relid;
}

/* Raises 55000 if the stream does not run, and will not by waiting. */
static void
check_wanted(Wait *wait)
{
	const char *name = wait->stream->name;

	if (!weir_catalog_latest(wait->stream->relid, &wait->latest))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("stream \"%s\" has been dropped", name)));
	if (!wait->latest.wanted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" is stopped", name),
				 errhint("Start it with weir.start().")));
	if (wait->latest.changed_here)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" has been started or changed in this transaction", name),
				 errdetail("Its workers see that when the transaction has committed."),
				 errhint("COMMIT first.")));
}

/* Raises 55000 for a worker that stays failed. */
static void
raise_failure(Wait *wait, const WeirWorkerSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();

	if (wait->failed_since == 0)
		wait->failed_since = now;
	if (!TimestampDifferenceExceeds(wait->failed_since, now, FAILED_MS))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("stream \"%s\" has failed", wait->stream->name),
			 errdetail("%s", slot->last_error),
			 slot->last_hint[0] != '\0' ? errhint("%s", slot->last_hint) : 0));
}

/* Do all workers of the stream run?  Throws if one of them has failed for good. */
static bool
workers_run(Wait *wait)
{
	int			running = 0;
	bool		failed = false;
	WeirWorkerSlot slot;

	for (int i = 0; i < weir_shared_nslots(); i++)
	{
		if (!read_slot(wait, i, &slot) || slot.woken)
			continue;
		if (weir_shared_is_well(slot.state))
			running++;
		if (slot.state != WEIR_FAILED)
			continue;
		failed = true;
		raise_failure(wait, &slot);
	}
	if (!failed)
		wait->failed_since = 0;
	return running >= wait->latest.parallelism;
}

/* Returns the first partition that is not as far as the broker was, or NULL; how far it is in *applied. */
static WeirProbeOffset *
find_lagging(const Wait *wait, int64 *applied)
{
	List	   *partitions = weir_catalog_latest_applied(wait->stream->relid);
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, wait->ends)
	{
		WeirProbeOffset *end = lfirst(lc);

		*applied = 0;
		foreach(lc2, partitions)
		{
			WeirApplied *partition = lfirst(lc2);

			if (partition->partition == end->partition)
				*applied = partition->offset;
		}
		if (*applied < end->offset)
			return end;
	}
	return NULL;
}

/* ---------- waiting ---------- */

/* Asks the broker for the ends of its partitions; what may mend itself is left for another try. */
static void
ask_broker(Wait *wait)
{
	WeirStream *stream = wait->stream;
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait->deadline);
	const WeirProbeRow *problem = NULL;

	wait->ends = weir_probe_offsets(weir_kafka_server_for(stream->server, stream->owner), stream->owner,
									stream->topic, stream->isolation_level, TIME_END,
									(int) Min(left, PROBE_SLICE_MS), &problem);
	wait->asked = problem == NULL;
	if (problem != NULL && weir_error_fate(problem->sqlstate) != WEIR_FATE_ENVIRONMENT)
		weir_probe_throw(problem);

	/* an attempt cut short by the deadline knows less than the one before */
	if (problem == NULL || wait->problem == NULL || left >= PROBE_SLICE_MS)
		wait->problem = problem;
	wait->next_probe = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PROBE_PAUSE_MS);
}

/* Has the stream applied what the broker had when it was asked? */
static bool
is_there(Wait *wait)
{
	MemoryContext old = MemoryContextSwitchTo(wait->scratch);
	bool		there;
	int64		applied;

	check_wanted(wait);
	there = workers_run(wait) && wait->asked && find_lagging(wait, &applied) == NULL;
	MemoryContextSwitchTo(old);
	MemoryContextReset(wait->scratch);
	return there;
}

/* Sleeps a moment. */
static void
pause_for(long ms)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = weir_wait_event("WeirWait");
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Appends what each worker that does not run is doing. */
static void
describe_workers(const Wait *wait, StringInfo buf)
{
	WeirWorkerSlot slot;
	int			n = 0;

	for (int i = 0; i < weir_shared_nslots(); i++)
	{
		if (!read_slot(wait, i, &slot))
			continue;
		n++;
		if (weir_shared_is_well(slot.state))
			continue;
		appendStringInfo(buf, " Worker %d is %s%s%s.", slot.worker, weir_shared_state_name(slot.state),
						 slot.last_error[0] != '\0' ? ": " : "", slot.last_error);
	}
	if (n == 0)
		appendStringInfoString(buf, " No worker has been launched yet.");
}

/* Raises 57014, with what is missing. */
static void
raise_timeout(const Wait *wait)
{
	StringInfoData buf;
	WeirProbeOffset *end;
	int64		applied;

	initStringInfo(&buf);
	if (!wait->asked)
		appendStringInfo(&buf, "The broker could not be asked: %s.",
						 wait->problem ? wait->problem->detail : "there was no time to");
	else if ((end = find_lagging(wait, &applied)) != NULL)
		appendStringInfo(&buf, "Partition %d is applied up to offset " INT64_FORMAT
						 ", which is " INT64_FORMAT " short of offset " INT64_FORMAT ".",
						 end->partition, applied, end->offset - applied, end->offset);
	else
		appendStringInfoString(&buf, "Everything is applied, but not all workers run.");
	describe_workers(wait, &buf);
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("stream \"%s\" has not caught up within %s", wait->stream->name,
					DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(wait->timeout)))),
			 errdetail_internal("%s", buf.data),
			 wait->problem && wait->problem->hint[0] != '\0' ? errhint("%s", wait->problem->hint) : 0));
}

/* Waits. */
static void
wait_until_there(Wait *wait)
{
	while (!is_there(wait))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= wait->deadline)
			raise_timeout(wait);
		if (!wait->asked && now >= wait->next_probe)
			ask_broker(wait);
		else
			pause_for(POLL_MS);
	}
}

/* Returns when an interval from now is over. */
static TimestampTz
deadline_of(const Interval *timeout)
{
	int64		ms = (timeout->day * USECS_PER_DAY + timeout->time) / 1000;

	/* longer than anybody lives is for ever, and fits */
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(ms, INT64CONST(100) * 365 * 86400 * 1000));
}

/* weir.wait */
Datum
weir_wait(PG_FUNCTION_ARGS)
{
	Wait		wait = {0};

	wait.stream = weir_arg_stream(fcinfo);
	check_rights(wait.stream);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" must not be NULL", "timeout_after")));
	wait.timeout = PG_GETARG_INTERVAL_P(1);
	weir_option_check_duration("timeout_after", wait.timeout, true);
	if (wait.stream->topic == NULL)
		PG_RETURN_VOID();

	wait.deadline = deadline_of(wait.timeout);
	wait.scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_weir wait", ALLOCSET_DEFAULT_SIZES);
	wait_until_there(&wait);
	PG_RETURN_VOID();
}
