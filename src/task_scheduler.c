/*
 * task_scheduler.c
 *	  The scheduler of a database's tasks: starts sessions for runs whose turn
 *	  has come, and notices those that are gone.
 *
 * It is there while a run is not over or a schedule is due soon, and leaves
 * then; whoever rings (weir.tick, weir.run_task …) makes the launcher start it
 * again.  What becomes of runs is decided in SQL, by functions that it calls
 * (catalog_task.c); commands are run by sessions of their own (task_session.c),
 * which note themselves how that went.
 *
 *		weir.tick ──ring──▶ launcher ──▶ scheduler ──▶ sessions, as the owners
 *		                                   ▲ ◀──────── their end ────┘
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog.h"
#include "catalog_task.h"
#include "compat.h"
#include "guc.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "task_session.h"
#include "task_shared.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Before the postmaster is asked again for a process it did not have, and after an error. */
#define AGAIN_MS 5000

/* How often a session that is to be canceled is told so, and how many times before it is ended. */
#define CANCEL_MS 500
#define CANCELS 10

/* What is due and has no room is looked at this often. */
#define ROOM_MS 200

/* How often old runs are deleted. */
#define PURGE_MS (10 * 60 * 1000)

PGDLLEXPORT void weir_task_scheduler_main(Datum arg);

/* A session that this process has started. */
typedef struct Session
{
	int64		run;
	int			attempt;
	int			cancels;
	BackgroundWorkerHandle *handle;
} Session;

static List *sessions = NIL;	/* of Session *, in TopMemoryContext */
static TimestampTz purge_after = 0;
static TimestampTz launch_after = 0;

/* ---- transactions ---- */

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* ---- sessions ---- */

/* Returns the session that this process has started for an attempt, or NULL. */
static Session *
find_session(int64 run, int attempt)
{
	ListCell   *lc;

	foreach(lc, sessions)
	{
		Session    *session = lfirst(lc);

		if (session->run == run && session->attempt == attempt)
			return session;
	}
	return NULL;
}

/* Is a session there for a run, or coming? */
static bool
is_alive(const WeirTaskRun *run)
{
	ListCell   *lc;
	pid_t		pid;

	foreach(lc, sessions)
	{
		Session    *session = lfirst(lc);

		if (session->run == run->run && session->attempt == run->attempt &&
			GetBackgroundWorkerPid(session->handle, &pid) != BGWH_STOPPED)
			return true;
	}
	/* an earlier scheduler may have started it */
	return run->pid != 0 && weir_task_shared_has_session(run->pid);
}

/* Tells a session to end its statement; one that does not, to end itself. */
static void
cancel(const WeirTaskRun *run)
{
	Session    *session = find_session(run->run, run->attempt);
	int			signal = session != NULL && ++session->cancels > CANCELS ? SIGTERM : SIGINT;

	if (run->pid != 0 && weir_task_shared_has_session(run->pid))
		(void) kill(run->pid, signal);
}

/* Notes in the server's log how an attempt ended. */
static void
log_lost(const WeirTaskRun *run, const char *state)
{
	if (state != NULL)
		ereport(LOG,
				(errmsg("the session of run " INT64_FORMAT " of a task is gone: attempt %d, now %s",
						run->run, run->attempt, state)));
}

/* Looks after runs that a session is there for; does one of them need another look soon? */
static bool
tend_runs(void)
{
	ListCell   *lc;
	bool		soon = false;

	foreach(lc, weir_catalog_task_active())
	{
		WeirTaskRun *run = lfirst(lc);

		if (!is_alive(run))
		{
			/* what is said here is all there is: a session that can speak does so itself */
			log_lost(run, weir_catalog_task_break(run, true, ERRCODE_CONNECTION_FAILURE,
												  run->pid == 0 ? "the task's session could not be started: the server log may say why" :
												  "the task's session ended before its command did: it was terminated, or the server stopped"));
			continue;
		}
		soon |= find_session(run->run, run->attempt) == NULL;
		if (run->cancel_requested)
		{
			cancel(run);
			soon = true;
		}
	}
	return soon;
}

/* Forgets sessions that have ended. */
static void
forget_sessions(void)
{
	ListCell   *lc;

	foreach(lc, sessions)
	{
		Session    *session = lfirst(lc);
		pid_t		pid;

		if (GetBackgroundWorkerPid(session->handle, &pid) != BGWH_STOPPED)
			continue;
		sessions = foreach_delete_current(sessions, lc);
		pfree(session->handle);
		pfree(session);
	}
}

/* Starts a session for a run; false if there is no process for it. */
static bool
launch(const WeirTaskRun *run)
{
	WeirTaskTicket ticket = {MyDatabaseId, run->owner, run->run, run->attempt, run->activity};
	BackgroundWorker process = {0};
	BackgroundWorkerHandle *handle;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		ok;

	process.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process.bgw_start_time = BgWorkerStart_RecoveryFinished;
	process.bgw_restart_time = BGW_NEVER_RESTART;
	process.bgw_notify_pid = MyProcPid;
	strlcpy(process.bgw_library_name, "pg_weir", sizeof(process.bgw_library_name));
	strlcpy(process.bgw_function_name, "weir_task_session_main", sizeof(process.bgw_function_name));
	strlcpy(process.bgw_type, "pg_weir task", sizeof(process.bgw_type));
	snprintf(process.bgw_name, BGW_MAXLEN, "pg_weir task run " INT64_FORMAT, run->run);
	StaticAssertStmt(sizeof(ticket) <= BGW_EXTRALEN, "a ticket must fit into bgw_extra");
	memcpy(process.bgw_extra, &ticket, sizeof(ticket));
	ok = RegisterDynamicBackgroundWorker(&process, &handle);
	if (ok)
	{
		Session    *session = palloc0(sizeof(Session));

		session->run = run->run;
		session->attempt = run->attempt;
		session->handle = handle;
		sessions = lappend(sessions, session);
	}
	MemoryContextSwitchTo(old);
	return ok;
}

/* Notes that no session can be started for a run, or not now. */
static void
give_up(const WeirTaskRun *run)
{
	begin();
	if (run->obstacle != NULL)
	{
		char	   *state = weir_catalog_task_break(run, false, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, run->obstacle);

		ereport(LOG,
				(errmsg("run " INT64_FORMAT " of task \"%s\" cannot begin: %s; attempt %d, now %s",
						run->run, run->task, run->obstacle, run->attempt, state == NULL ? "over" : state)));
	}
	else
	{
		weir_catalog_task_put_back(run->run, psprintf("no process is left: max_worker_processes is %d", max_worker_processes));
		launch_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), AGAIN_MS);
	}
	commit();
}

/* Starts sessions for runs that have been picked. */
static void
launch_all(List *runs)
{
	ListCell   *lc;

	foreach(lc, runs)
	{
		WeirTaskRun *run = lfirst(lc);

		if (run->obstacle != NULL || !launch(run))
		{
			give_up(run);
			weir_shared_ring_tasks(MyDatabaseId);	/* that may let others go */
		}
	}
}

/* ---- the loop ---- */

/* Deletes runs that were over long ago, now and then. */
static void
purge(TimestampTz now)
{
	if (now < purge_after || weir_task_run_retention < 0)
		return;
	purge_after = TimestampTzPlusMilliseconds(now, PURGE_MS);
	weir_catalog_task_purge(weir_task_run_retention);
}

/* Notes an earlier time; 0 is never. */
static void
sooner(TimestampTz *due, TimestampTz other)
{
	if (other != 0 && (*due == 0 || other < *due))
		*due = other;
}

/* Does what is due; returns when to look again (0: when woken), and whether to stay. */
static TimestampTz
look(bool *stay)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due;
	MemoryContext context = CurrentMemoryContext;
	List	   *runs = NIL;
	bool		soon;

	*stay = false;
	begin();
	MemoryContextSwitchTo(context);
	if (!weir_catalog_usable())
	{
		commit();
		return 0;
	}
	purge(now);
	soon = tend_runs();
	due = weir_catalog_task_step(stay);
	if (now >= launch_after)
		runs = weir_catalog_task_take(weir_task_workers);
	commit();

	launch_all(runs);
	if (soon)
		sooner(&due, TimestampTzPlusMilliseconds(now, CANCEL_MS));
	if (launch_after > now)
		sooner(&due, launch_after);
	/* where there is no room now, the end of a session makes some */
	if (due != 0 && due <= now)
		due = TimestampTzPlusMilliseconds(now, ROOM_MS);
	return due;
}

/* The same; an error is logged, and all is tried again. */
static TimestampTz
look_guarded(MemoryContext context, bool *stay)
{
	volatile TimestampTz due = 0;

	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		due = look(stay);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), AGAIN_MS);
		*stay = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	MemoryContextReset(context);
	return due;
}

/* Sleeps until something happens or is due. */
static void
sleep_until(TimestampTz due)
{
	static uint32 wait_event = 0;
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		ms = -1;

	if (wait_event == 0)
		wait_event = weir_wait_event("WeirTaskScheduler");
	if (due != 0)
	{
		events |= WL_TIMEOUT;
		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due) + 1;
	}
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, events, ms, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Makes settings hold that the loop relies on, whatever the database's are. */
static void
pin_settings(void)
{
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "10s", PGC_SUSET, PGC_S_OVERRIDE);
}

/* The scheduler's process. */
void
weir_task_scheduler_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!weir_task_shared_attach_scheduler(dboid))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	pin_settings();
	context = AllocSetContextCreate(TopMemoryContext, "pg_weir task scheduler", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		TimestampTz due;
		bool		stay;

		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		weir_task_shared_take_ring();
		due = look_guarded(context, &stay);
		forget_sessions();
		if (!stay && sessions == NIL && weir_task_shared_may_leave())
			proc_exit(0);
		sleep_until(due);
	}
}
