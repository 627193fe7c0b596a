/*
 * launcher.c
 *	  Keeps the right stream workers alive.
 *
 * One launcher serves the cluster.  It cannot look into databases, so for
 * each database that rings (and once for each at server start) it has a short
 * process take a census there: which streams should run.  The census writes
 * the slots in shared memory; the launcher asks the postmaster for a process
 * per wanted slot, and again whenever one is lost.  A database without
 * streams thus costs one look.
 *
 *		weir.start ──ring──▶ launcher ──▶ census (in the database) ──▶ slots
 *		                        │ ◀───────────────nudge────────────────┘ │
 *		                        └──▶ worker (worker.c) ◀─────────────────┘
 *
 * It also starts the schedulers of tasks (task_scheduler.c), where they are rung
 * for; a census rings where the server's stop has left runs that are not over.
 *
 * No fault of a database or a stream may end the launcher.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_database.h"
#include "catalog_task.h"
#include "compat.h"
#include "launcher.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "task_shared.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Before the postmaster is asked again for a process it did not have. */
#define SLOT_RETRY_MS 5000

/* A process that was promised to an earlier launcher and has not come by then never will. */
#define ORPHAN_MS 60000

/* How often a census that failed is taken again. */
#define CENSUS_TRIES 5

PGDLLEXPORT void weir_launcher_main(Datum arg);
PGDLLEXPORT void weir_census_main(Datum arg);

/* The launcher's own memory. */
static List *databases = NIL;	/* of Oid: where a census is due */
static BackgroundWorkerHandle *census = NULL;	/* one at a time */
static Oid	census_database;
static int	census_tries;
static TimestampTz census_after;
static BackgroundWorkerHandle **handles;	/* by slot */

/* Fills in what all our processes have in common. */
static void
describe_process(BackgroundWorker *process, const char *function, const char *type)
{
	memset(process, 0, sizeof(*process));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;
	process->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(process->bgw_library_name, "pg_weir", sizeof(process->bgw_library_name));
	strlcpy(process->bgw_function_name, function, sizeof(process->bgw_function_name));
	strlcpy(process->bgw_type, type, sizeof(process->bgw_type));
	strlcpy(process->bgw_name, type, sizeof(process->bgw_name));
}

/* Registers the launcher, while the library is being preloaded. */
void
weir_launcher_register(void)
{
	BackgroundWorker launcher;

	/* pg_upgrade must find a server in which nothing moves. */
	if (IsBinaryUpgrade)
		return;
	describe_process(&launcher, "weir_launcher_main", "pg_weir launcher");
	launcher.bgw_restart_time = 5;
	RegisterBackgroundWorker(&launcher);
}

/* Sets up signals as all our processes want them: noticed at CHECK_FOR_INTERRUPTS. */
static void
accept_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* ---- databases ---- */

/* Notes that a census is due in a database. */
static void
note_database(Oid dboid)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	databases = list_append_unique_oid(databases, dboid);
	MemoryContextSwitchTo(old);
}

/* Notes all databases that can be connected to. */
static void
note_all_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		/* A limit of -2 marks what an interrupted DROP DATABASE left. */
		if (database->datallowconn && database->datconnlimit != -2)
			note_database(database->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

/* Is there such a database (still)? */
static bool
database_exists(Oid dboid)
{
	bool		exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(dboid));
	CommitTransactionCommand();
	return exists;
}

/* Takes the rings of the bell. */
static void
take_rings(void)
{
	Oid			dboid;

	while (weir_shared_launcher_take_ring(&dboid))
	{
		if (OidIsValid(dboid))
			note_database(dboid);
		else
			note_all_databases();
	}
}

/* ---- the census ---- */

/* Sees whether the census that is under way has ended, and how. */
static void
end_census(void)
{
	pid_t		pid;

	if (!census || GetBackgroundWorkerPid(census, &pid) != BGWH_STOPPED)
		return;
	pfree(census);
	census = NULL;
	if (weir_shared_census_done() || ++census_tries >= CENSUS_TRIES)
	{
		census_tries = 0;
		return;
	}
	note_database(census_database);
	census_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000);
}

/* Starts the next census, if one is due and none is under way. */
static void
begin_census(void)
{
	BackgroundWorker process;

	end_census();
	while (!census && databases != NIL && GetCurrentTimestamp() >= census_after)
	{
		/* Off the list first: it may ring again while the census is under way. */
		census_database = linitial_oid(databases);
		databases = list_delete_first(databases);
		if (!database_exists(census_database))
		{
			weir_shared_retire(census_database);
			continue;
		}
		describe_process(&process, "weir_census_main", "pg_weir scheduler");
		snprintf(process.bgw_name, BGW_MAXLEN, "pg_weir scheduler: database %u", census_database);
		process.bgw_main_arg = ObjectIdGetDatum(census_database);
		process.bgw_notify_pid = MyProcPid;
		weir_shared_census_begin();
		if (!RegisterDynamicBackgroundWorker(&process, &census))
		{
			census = NULL;
			note_database(census_database);
			census_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SLOT_RETRY_MS);
			weir_shared_census_starved(true);
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no process is left to look for streams in database %u", census_database),
					 errhint("Increase max_worker_processes.")));
			return;
		}
		weir_shared_census_starved(false);
	}
}

/* Lists the workers that should exist in this database. */
static List *
list_wanted(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (!weir_catalog_usable())
		return NIL;
	foreach(lc, weir_catalog_wanted_streams())
	{
		WeirStream *stream = lfirst(lc);

		for (int i = 0; i < stream->parallelism; i++)
		{
			WeirWanted *wanted = palloc(sizeof(WeirWanted));

			wanted->stream = stream->relid;
			wanted->worker = i;
			result = lappend(result, wanted);
		}
	}
	return result;
}

/* Takes the census of one database and leaves. */
void
weir_census_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);

	accept_signals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	weir_shared_set_wanted(dboid, list_wanted());
	if (weir_catalog_usable() && weir_catalog_task_is_due(true))
		weir_shared_ring_tasks(dboid);
	PopActiveSnapshot();
	CommitTransactionCommand();
	weir_shared_census_end();
	proc_exit(0);
}

/* ---- workers ---- */

/* Forgets the handle of a slot. */
static void
drop_handle(int i)
{
	if (handles[i])
		pfree(handles[i]);
	handles[i] = NULL;
}

/* Notes that there is no process for a worker, and how many others have one. */
static void
lack_process(int i, TimestampTz later)
{
	WeirCrowd	crowd;
	char		hint[WEIR_ERROR_LEN];

	weir_shared_crowd(&crowd);
	snprintf(hint, sizeof(hint), "Increase max_worker_processes, which is %d: %d workers of streams are among those processes.",
			 max_worker_processes, crowd.processes);
	weir_shared_not_launched(i, "no process is left for the stream's worker", hint, later);
}

/* Asks the postmaster for a worker. */
static void
launch(int i, const WeirWorkerSlot *slot)
{
	BackgroundWorker process;
	TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SLOT_RETRY_MS);

	drop_handle(i);
	describe_process(&process, "weir_worker_main", "pg_weir worker");
	snprintf(process.bgw_name, BGW_MAXLEN, "pg_weir worker %u/%d", slot->stream, slot->worker);
	process.bgw_main_arg = Int32GetDatum(i);
	process.bgw_notify_pid = MyProcPid;

	/* Before the worker can be there: it attaches only to a slot that was launched. */
	weir_shared_launched(i);
	if (!RegisterDynamicBackgroundWorker(&process, &handles[i]))
	{
		handles[i] = NULL;
		lack_process(i, later);
	}
}

/* Was the process of this slot lost before it had attached? */
static bool
stillborn(int i, const WeirWorkerSlot *slot)
{
	pid_t		pid;

	if (!slot->launched || slot->pid != 0)
		return false;
	if (handles[i])
		return GetBackgroundWorkerPid(handles[i], &pid) == BGWH_STOPPED;
	return TimestampDifferenceExceeds(slot->since, GetCurrentTimestamp(), ORPHAN_MS);
}

/* Does for one slot what is due; returns when it wants to be looked at again, or 0. */
static TimestampTz
tend_slot(int i, const WeirWorkerSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();

	if (stillborn(i, slot))
	{
		TimestampTz later = TimestampTzPlusMilliseconds(now, SLOT_RETRY_MS);

		weir_shared_not_launched(i, "the stream's worker could not be started",
								 "The server log says why.", later);
		return later;
	}
	if (slot->launched)
		return slot->pid == 0 ? TimestampTzPlusMilliseconds(now, ORPHAN_MS) : 0;
	if (!slot->wanted)
	{
		drop_handle(i);
		weir_shared_free_slot(i);
		return 0;
	}
	if (slot->start_after > now)
		return slot->start_after;
	if (!database_exists(slot->dboid))
	{
		weir_shared_retire(slot->dboid);
		return now;
	}
	launch(i, slot);
	return TimestampTzPlusMilliseconds(now, SLOT_RETRY_MS);
}

/* Does for all slots what is due; returns when to look again, or 0. */
static TimestampTz
tend_slots(void)
{
	TimestampTz next = 0;

	for (int i = 0; i < weir_shared_nslots(); i++)
	{
		WeirWorkerSlot slot;
		TimestampTz due;

		if (!weir_shared_read_slot(i, &slot))
			continue;
		due = tend_slot(i, &slot);
		if (due != 0 && (next == 0 || due < next))
			next = due;
	}
	return next;
}

/* ---- tasks ---- */

/* Asks the postmaster for the scheduler of a database's tasks. */
static void
launch_scheduler(Oid dboid)
{
	BackgroundWorker process;

	describe_process(&process, "weir_task_scheduler_main", "pg_weir task scheduler");
	snprintf(process.bgw_name, BGW_MAXLEN, "pg_weir task scheduler: database %u", dboid);
	process.bgw_main_arg = ObjectIdGetDatum(dboid);
	process.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&process, NULL))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no process is left to look for tasks in database %u", dboid),
				 errhint("Increase max_worker_processes.")));
}

/* Sees that databases have schedulers that were rung for; returns when to look again, or 0. */
static TimestampTz
tend_schedulers(void)
{
	TimestampTz next = 0;

	for (int i = 0; i < WEIR_TASK_DATABASES; i++)
	{
		TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SLOT_RETRY_MS);
		Oid			dboid;

		if (!weir_task_shared_due(i, GetCurrentTimestamp(), &dboid, &next))
			continue;
		if (!database_exists(dboid))
		{
			weir_task_shared_free(i);
			continue;
		}
		weir_task_shared_postpone(i, later);
		launch_scheduler(dboid);
		if (next == 0 || later < next)
			next = later;
	}
	return next;
}

/* Returns the earlier of two times, of which 0 is never. */
static TimestampTz
sooner(TimestampTz a, TimestampTz b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Sleeps until something happens or is due. */
static void
sleep_until(TimestampTz due)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		timeout = -1;
	static uint32 wait_event = 0;

	if (databases != NIL && !census && (due == 0 || census_after < due))
		due = census_after;
	if (due != 0)
	{
		events |= WL_TIMEOUT;
		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due) + 1;
	}
	if (wait_event == 0)
		wait_event = weir_wait_event("WeirLauncherMain");
	(void) WaitLatch(MyLatch, events, timeout, wait_event);
	ResetLatch(MyLatch);
}

/* The launcher's process. */
void
weir_launcher_main(Datum arg)
{
	accept_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	handles = MemoryContextAllocZero(TopMemoryContext,
									 sizeof(BackgroundWorkerHandle *) * weir_shared_nslots());
	weir_shared_launcher_arrive();

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		take_rings();
		begin_census();
		MemoryContextSwitchTo(TopMemoryContext);
		sleep_until(sooner(tend_slots(), tend_schedulers()));
	}
}
