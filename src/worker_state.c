/*
 * worker_state.c
 *	  The state that a stream worker shows.
 *
 * One function changes it, and does what follows from a change: the slot in
 * shared memory (weir.status), pg_stat_activity, and the server log, where
 * what lasts is written once.
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "worker_state.h"

#define TO(state) (1 << (state))

/* Which states may follow which: the comments of WeirWorkerState, once more. */
static const int next_states[] PG_USED_FOR_ASSERTS_ONLY = {
	[WEIR_WAITING] = TO(WEIR_STARTING),
	[WEIR_STARTING] = TO(WEIR_REFILLING) | TO(WEIR_RUNNING) | TO(WEIR_RETRYING) | TO(WEIR_FAILED) | TO(WEIR_STOPPING),
	[WEIR_REFILLING] = TO(WEIR_RUNNING) | TO(WEIR_RETRYING) | TO(WEIR_FAILED) | TO(WEIR_STOPPING),
	[WEIR_RUNNING] = TO(WEIR_REFILLING) | TO(WEIR_IDLE) | TO(WEIR_RETRYING) | TO(WEIR_FAILED) | TO(WEIR_STOPPING),
	[WEIR_IDLE] = TO(WEIR_REFILLING) | TO(WEIR_RUNNING) | TO(WEIR_RETRYING) | TO(WEIR_FAILED) | TO(WEIR_STOPPING),
	[WEIR_RETRYING] = TO(WEIR_REFILLING) | TO(WEIR_RUNNING) | TO(WEIR_FAILED) | TO(WEIR_STOPPING),
	[WEIR_FAILED] = TO(WEIR_STOPPING),
	[WEIR_STOPPING] = 0,
};

static WeirWorkerState current = WEIR_STARTING;
static TimestampTz current_next_try = 0;
static const char *stream_name = "";

/* Names the stream whose worker this process is. */
void
weir_worker_state_name(const char *stream)
{
	stream_name = MemoryContextStrdup(TopMemoryContext, stream);
}

WeirWorkerState
weir_worker_current(void)
{
	return current;
}

/* Writes to the server log what lasts, and that it is over. */
static void
log_change(WeirWorkerState next, const char *why, const char *hint)
{
	if (next == WEIR_FAILED)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" has failed: %s", stream_name, why),
				 hint && *hint ? errhint("%s", hint) : 0));
	else if (next == WEIR_RETRYING)
		ereport(LOG,
				(errmsg("stream \"%s\" is retrying: %s", stream_name, why),
				 hint && *hint ? errhint("%s", hint) : 0));
	else if (current == WEIR_RETRYING && weir_shared_is_well(next))
		ereport(LOG, (errmsg("stream \"%s\" is running again", stream_name)));
}

/* Enters a state, or stays in it with another reason. */
void
weir_worker_enter(WeirWorkerState next, const char *why, const char *hint, TimestampTz next_try)
{
	char		activity[NAMEDATALEN * 2 + 64];

	Assert(next == current || (next_states[current] & TO(next)));
	if (next == current && !why && next_try == current_next_try)
		return;

	if (next != current)
		log_change(next, why, hint);
	weir_shared_set_state(next, why, hint, next_try);
	current = next;
	current_next_try = next_try;

	snprintf(activity, sizeof(activity), "%s: %s", stream_name, weir_shared_state_name(next));
	pgstat_report_activity(next == WEIR_RUNNING || next == WEIR_REFILLING || next == WEIR_STARTING ?
						   STATE_RUNNING : STATE_IDLE, activity);
}
