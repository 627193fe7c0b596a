/*
 * api_status.c
 *	  SQL-callable: what the workers are doing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "shared.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "version.h"

#define WORKER_SLOTS_COLUMNS 12

PG_FUNCTION_INFO_V1(weir_worker_slots);
PG_FUNCTION_INFO_V1(weir_worker_shortage);
PG_FUNCTION_INFO_V1(weir_obstacle);

/* Sets a column to a text, or to NULL if it is empty. */
static void
set_text(const char *text, Datum *value, bool *isnull)
{
	*isnull = text[0] == '\0';
	if (!*isnull)
		*value = CStringGetTextDatum(text);
}

/* Sets a column to a time, or to NULL if it is 0. */
static void
set_time(TimestampTz time, Datum *value, bool *isnull)
{
	*isnull = time == 0;
	*value = TimestampTzGetDatum(time);
}

/* Sets a column to the processes that a worker waits for, or to NULL if it waits for no lock. */
static void
set_blockers(const WeirWorkerSlot *slot, Datum *value, bool *isnull)
{
	PGPROC	   *proc = slot->proc;

	/* a hint only, so read as it is: pg_blocking_pids() stops all lock traffic */
	*isnull = proc == NULL || (proc->wait_event_info & 0xFF000000) != PG_WAIT_LOCK;
	if (!*isnull)
		*value = DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(slot->pid));
}

/* May the caller see a worker's errors, which may name what is in its owner's streams? */
static bool
may_see(const WeirWorkerSlot *slot)
{
	if (superuser())
		return true;
	return slot->dboid == MyDatabaseId && get_rel_name(slot->stream) != NULL &&
		has_privs_of_role(GetUserId(), weir_relation_owner(slot->stream));
}

/* weir_internal.worker_slots(): one row per slot in use. */
Datum
weir_worker_slots(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < weir_shared_nslots(); i++)
	{
		WeirWorkerSlot slot;
		Datum		values[WORKER_SLOTS_COLUMNS];
		bool		nulls[WORKER_SLOTS_COLUMNS] = {0};

		if (!weir_shared_read_slot(i, &slot) || !may_see(&slot))
			continue;
		values[0] = ObjectIdGetDatum(slot.dboid);
		values[1] = ObjectIdGetDatum(slot.stream);
		values[2] = Int32GetDatum(slot.worker);
		values[3] = Int32GetDatum(slot.pid);
		nulls[3] = slot.pid == 0;
		values[4] = CStringGetTextDatum(weir_shared_state_name(slot.state));
		set_time(slot.since, &values[5], &nulls[5]);
		set_text(slot.last_error, &values[6], &nulls[6]);
		set_text(slot.last_hint, &values[7], &nulls[7]);
		set_time(slot.last_error_at, &values[8], &nulls[8]);
		set_time(slot.next_try, &values[9], &nulls[9]);
		set_time((TimestampTz) pg_atomic_read_u64(&slot.batch_since), &values[10], &nulls[10]);
		set_blockers(&slot, &values[11], &nulls[11]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* weir_internal.worker_shortage(): the slots, and why a worker has none; NULLs if it will have one. */
Datum
weir_worker_shortage(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[4];
	bool		nulls[4] = {0};
	WeirCrowd	crowd;
	const char *error = "";
	const char *hint = "";

	weir_shared_crowd(&crowd);
	if (crowd.no_scheduler)
	{
		error = "no process is left to look which streams are to run";
		hint = psprintf("Increase max_worker_processes, which is %d: %d workers of streams are among those processes.",
						max_worker_processes, crowd.processes);
	}
	else if (crowd.slots_used > 0 && crowd.slots_used >= weir_shared_nslots())
	{
		error = psprintf("all %d slots for workers of streams are taken", crowd.slots_used);
		hint = "Increase weir.max_workers, or stop another stream.";
	}

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int32GetDatum(weir_shared_nslots());
	values[1] = Int32GetDatum(crowd.slots_used);
	set_text(error, &values[2], &nulls[2]);
	set_text(hint, &values[3], &nulls[3]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* weir_internal.obstacle(): why no stream can run in this database now; NULLs if they can. */
Datum
weir_obstacle(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	const char *state = NULL;
	const char *error = NULL;
	const char *hint = NULL;

	if (RecoveryInProgress())
	{
		state = "standby";
		hint = "Streams run here once this server is promoted.";
	}
	else if (!weir_shared_available())
	{
		state = "not preloaded";
		error = "pg_weir is not in shared_preload_libraries";
		hint = "Add pg_weir to shared_preload_libraries in postgresql.conf and restart the server.";
	}
	else if (!weir_version_fits())
	{
		state = "version mismatch";
		error = weir_version_error();
		hint = weir_version_hint();
	}

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	set_text(state ? state : "", &values[0], &nulls[0]);
	set_text(error ? error : "", &values[1], &nulls[1]);
	set_text(hint ? hint : "", &values[2], &nulls[2]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
