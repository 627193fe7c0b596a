/*
 * shared.c
 *	  Shared memory: one slot per stream worker, and the launcher's bell.
 *
 * Who decides what a slot says: the census (launcher.c) which workers are
 * wanted, the launcher which processes are asked for, the worker (worker.c)
 * its state.  This file only keeps them from stepping on each other: one lock
 * guards everything here, and is never held while waiting for anything.
 */
#include "postgres.h"

#include "guc.h"
#include "miscadmin.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "task_shared.h"
#include "utils/timestamp.h"

#define TRANCHE_NAME "pg_weir"

/* Databases that may have rung before the launcher looks; more become "all". */
#define MAX_RINGS 64

typedef struct SharedState
{
	LWLock	   *lock;
	struct PGPROC *launcher;	/* NULL: not running */
	bool		census_done;
	bool		census_starved; /* no process was left for it */
	bool		homeless;		/* a census found no slot for some worker */
	bool		ring_all;
	int			nrings;
	Oid			rings[MAX_RINGS];
	int			nslots;
	WeirWorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

static const char *const state_names[] = {
	[WEIR_WAITING] = "waiting for a slot",
	[WEIR_STARTING] = "starting",
	[WEIR_REFILLING] = "refilling",
	[WEIR_RUNNING] = "running",
	[WEIR_IDLE] = "idle",
	[WEIR_RETRYING] = "retrying",
	[WEIR_FAILED] = "failed",
	[WEIR_STOPPING] = "stopping",
};

static SharedState *shared = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* The slot of this process, if it is a stream worker. */
static int	my_slot = -1;
static WeirLeave my_leave = WEIR_LEAVE_LOST;

/* Returns the bytes of shared memory wanted. */
static Size
shared_size(void)
{
	return add_size(offsetof(SharedState, slots),
					mul_size(weir_max_workers, sizeof(WeirWorkerSlot)));
}

/* Reserves shared memory and the lock. */
static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestAddinShmemSpace(weir_task_shared_size());
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

/* Finds or creates the shared state. */
static void
shmem_startup(void)
{
	bool		found;
	void	   *tasks;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("pg_weir", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &GetNamedLWLockTranche(TRANCHE_NAME)->lock;
		shared->nslots = weir_max_workers;
	}
	tasks = ShmemInitStruct("pg_weir tasks", weir_task_shared_size(), &found);
	weir_task_shared_init(tasks, shared->lock, found);
	LWLockRelease(AddinShmemInitLock);
}

/* Installs the hooks; called while the library is being preloaded. */
void
weir_shared_request(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* Tells whether the library was preloaded. */
bool
weir_shared_available(void)
{
	return shared != NULL;
}

/* Returns the name of a state as weir.status shows it. */
const char *
weir_shared_state_name(WeirWorkerState state)
{
	return state_names[state];
}

/* Tells whether a worker in this state applies what there is. */
bool
weir_shared_is_well(WeirWorkerState state)
{
	return state == WEIR_REFILLING || state == WEIR_RUNNING || state == WEIR_IDLE;
}

int
weir_shared_nslots(void)
{
	return shared ? shared->nslots : 0;
}

/* Copies a slot; false if it is not in use. */
bool
weir_shared_read_slot(int i, WeirWorkerSlot *copy)
{
	if (!shared)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	*copy = shared->slots[i];
	LWLockRelease(shared->lock);
	return copy->in_use;
}

/* Sets the launcher's latch; the caller holds the lock. */
static void
nudge_launcher(void)
{
	if (shared->launcher)
		SetLatch(&shared->launcher->procLatch);
}

/* Makes a slot's worker look at its definition; the caller holds the lock. */
static void
nudge_worker(WeirWorkerSlot *slot)
{
	slot->woken = true;
	if (slot->proc)
		SetLatch(&slot->proc->procLatch);
}

/* Asks for the scheduler of a database's tasks. */
void
weir_shared_ring_tasks(Oid dboid)
{
	if (!shared || !weir_task_shared_ring(dboid))
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	nudge_launcher();
	LWLockRelease(shared->lock);
}

/* Rings the launcher for one database. */
void
weir_shared_ring(Oid dboid)
{
	bool		known = false;

	if (!shared)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nrings; i++)
		known |= shared->rings[i] == dboid;
	if (!known && shared->nrings < MAX_RINGS)
		shared->rings[shared->nrings++] = dboid;
	else if (!known)
		shared->ring_all = true;
	nudge_launcher();
	LWLockRelease(shared->lock);
}

/* Wakes the workers of a stream. */
void
weir_shared_wake(Oid dboid, Oid stream)
{
	if (!shared)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		WeirWorkerSlot *slot = &shared->slots[i];

		if (slot->in_use && slot->dboid == dboid && slot->stream == stream)
			nudge_worker(slot);
	}
	LWLockRelease(shared->lock);
}

/* Cancels the batches that the workers of a stream, or of a whole database, are applying. */
void
weir_shared_cancel(Oid dboid, Oid stream)
{
	if (!shared)
		return;
	/* under the lock, or the pid might be another process's */
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		WeirWorkerSlot *slot = &shared->slots[i];

		if (slot->in_use && slot->dboid == dboid && slot->proc &&
			(slot->stream == stream || !OidIsValid(stream)))
			(void) kill(slot->pid, SIGINT);
	}
	LWLockRelease(shared->lock);
}

/* Counts the workers. */
void
weir_shared_crowd(WeirCrowd *crowd)
{
	memset(crowd, 0, sizeof(*crowd));
	if (!shared)
		return;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->nslots; i++)
	{
		crowd->slots_used += shared->slots[i].in_use;
		crowd->processes += shared->slots[i].proc != NULL;
	}
	crowd->no_scheduler = shared->census_starved;
	LWLockRelease(shared->lock);
}

/* Marks every worker of a database as not wanted; returns how many are alive. */
int
weir_shared_retire(Oid dboid)
{
	int			alive = 0;

	if (!shared)
		return 0;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		WeirWorkerSlot *slot = &shared->slots[i];

		if (!slot->in_use || slot->dboid != dboid)
			continue;
		slot->wanted = false;
		nudge_worker(slot);
		if (slot->proc)
			alive++;
	}
	nudge_launcher();
	LWLockRelease(shared->lock);
	return alive;
}

/* Forgets the launcher that is leaving. */
static void
launcher_depart(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->launcher == MyProc)
		shared->launcher = NULL;
	LWLockRelease(shared->lock);
}

/* Makes this process the launcher, which looks at every database first. */
void
weir_shared_launcher_arrive(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = MyProc;
	shared->ring_all = true;
	LWLockRelease(shared->lock);
	before_shmem_exit(launcher_depart, (Datum) 0);
}

/* Takes one ring of the bell: a database, or InvalidOid for all of them. */
bool
weir_shared_launcher_take_ring(Oid *dboid)
{
	bool		rung = true;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->ring_all)
	{
		shared->ring_all = false;
		shared->nrings = 0;
		*dboid = InvalidOid;
	}
	else if (shared->nrings > 0)
		*dboid = shared->rings[--shared->nrings];
	else
		rung = false;
	LWLockRelease(shared->lock);
	return rung;
}

/* Notes whether there was a process for the census that is due. */
void
weir_shared_census_starved(bool starved)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->census_starved = starved;
	LWLockRelease(shared->lock);
}

/* Notes whether a census has come to its end. */
static void
set_census_done(bool done)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->census_done = done;
	LWLockRelease(shared->lock);
}

void
weir_shared_census_begin(void)
{
	set_census_done(false);
}

void
weir_shared_census_end(void)
{
	set_census_done(true);
}

bool
weir_shared_census_done(void)
{
	bool		done;

	LWLockAcquire(shared->lock, LW_SHARED);
	done = shared->census_done;
	LWLockRelease(shared->lock);
	return done;
}

/* Enters a state; the caller holds the lock. */
static void
enter_state(WeirWorkerSlot *slot, WeirWorkerState state)
{
	if (slot->state != state)
		slot->since = GetCurrentTimestamp();
	slot->state = state;
}

/* Notes that the postmaster has been asked for a process. */
void
weir_shared_launched(int i)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->slots[i].launched = true;
	if (shared->slots[i].state == WEIR_WAITING)
	{
		shared->slots[i].last_error[0] = '\0';
		shared->slots[i].last_hint[0] = '\0';
		shared->slots[i].last_error_at = 0;
		shared->slots[i].next_try = 0;
	}
	enter_state(&shared->slots[i], WEIR_STARTING);
	LWLockRelease(shared->lock);
}

/* Notes that there was no process to be had, or that it came to nothing. */
void
weir_shared_not_launched(int i, const char *error, const char *hint, TimestampTz start_after)
{
	WeirWorkerSlot *slot = &shared->slots[i];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->launched = false;
	slot->start_after = start_after;
	slot->next_try = start_after;
	slot->last_error_at = GetCurrentTimestamp();
	strlcpy(slot->last_error, error, WEIR_ERROR_LEN);
	strlcpy(slot->last_hint, hint, WEIR_ERROR_LEN);
	enter_state(slot, WEIR_WAITING);
	LWLockRelease(shared->lock);
}

/* Empties a slot, and has workers without one looked for again; the caller holds the lock. */
static void
free_slot(WeirWorkerSlot *slot)
{
	memset(slot, 0, sizeof(*slot));
	if (!shared->homeless)
		return;
	shared->homeless = false;
	shared->ring_all = true;
	nudge_launcher();
}

/* Frees a slot whose worker is not wanted and not there. */
void
weir_shared_free_slot(int i)
{
	WeirWorkerSlot *slot = &shared->slots[i];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (slot->in_use && !slot->wanted && !slot->launched && slot->proc == NULL)
		free_slot(slot);
	LWLockRelease(shared->lock);
}

/* Finds the slot of a worker, or a free one; the caller holds the lock. */
static WeirWorkerSlot *
find_slot(Oid dboid, const WeirWanted *wanted)
{
	WeirWorkerSlot *free_slot = NULL;

	for (int i = 0; i < shared->nslots; i++)
	{
		WeirWorkerSlot *slot = &shared->slots[i];

		if (!slot->in_use)
		{
			if (!free_slot)
				free_slot = slot;
		}
		else if (slot->dboid == dboid && slot->stream == wanted->stream &&
				 slot->worker == wanted->worker)
			return slot;
	}
	return free_slot;
}

/* Makes sure that a wanted worker has a slot; the caller holds the lock. */
static bool
want_worker(Oid dboid, const WeirWanted *wanted)
{
	WeirWorkerSlot *slot = find_slot(dboid, wanted);

	if (!slot)
		return false;
	if (!slot->in_use)
	{
		memset(slot, 0, sizeof(*slot));
		slot->in_use = true;
		slot->dboid = dboid;
		slot->stream = wanted->stream;
		slot->worker = wanted->worker;
		slot->state = WEIR_STARTING;
		slot->since = GetCurrentTimestamp();
	}
	slot->wanted = true;
	return true;
}

/* Makes the slots of a database fit the list, of WeirWanted *. */
void
weir_shared_set_wanted(Oid dboid, const List *wanted)
{
	ListCell   *lc;
	int			homeless = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		if (shared->slots[i].in_use && shared->slots[i].dboid == dboid)
			shared->slots[i].wanted = false;
	}
	foreach(lc, wanted)
	{
		if (!want_worker(dboid, lfirst(lc)))
			homeless++;
	}
	for (int i = 0; i < shared->nslots; i++)
	{
		WeirWorkerSlot *slot = &shared->slots[i];

		if (slot->in_use && slot->dboid == dboid && !slot->wanted)
			nudge_worker(slot);
	}
	shared->homeless |= homeless > 0;
	nudge_launcher();
	LWLockRelease(shared->lock);

	if (homeless > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d stream workers have no slot", homeless),
				 errhint("Increase weir.max_workers.")));
}

/* Gives up the slot of this process, as weir_shared_set_leave() said. */
static void
worker_depart(int code, Datum arg)
{
	WeirWorkerSlot *slot = &shared->slots[my_slot];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot->pid = 0;
	slot->proc = NULL;
	slot->launched = false;
	slot->start_after = 0;
	pg_atomic_write_u64(&slot->batch_since, 0);
	if (my_leave == WEIR_LEAVE_STOP)
		free_slot(slot);
	else
	{
		if (my_leave == WEIR_LEAVE_LOST && slot->state == WEIR_STARTING)
		{
			strlcpy(slot->last_error, "the stream's worker ended before it had started", WEIR_ERROR_LEN);
			strlcpy(slot->last_hint, "The server log says why.", WEIR_ERROR_LEN);
			slot->last_error_at = GetCurrentTimestamp();
		}
		/* A failure stays readable until the next process says better. */
		if (slot->state != WEIR_FAILED)
			enter_state(slot, WEIR_STARTING);
		if (my_leave == WEIR_LEAVE_LOST)
		{
			int			seconds = 1 << Min(slot->failures++, 6);

			slot->start_after = GetCurrentTimestamp() + (seconds - 1) * USECS_PER_SEC;
		}
	}
	nudge_launcher();
	LWLockRelease(shared->lock);
}

/*
 * Makes slot i this process's own.  False: it is not wanted any more, or
 * another process has it.
 */
bool
weir_shared_attach(int i, WeirWorkerSlot *copy)
{
	WeirWorkerSlot *slot = &shared->slots[i];
	bool		mine;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	mine = slot->in_use && slot->wanted && slot->launched && slot->proc == NULL;
	if (mine)
	{
		slot->pid = MyProcPid;
		slot->proc = MyProc;
		slot->woken = false;
		enter_state(slot, WEIR_STARTING);
		*copy = *slot;
	}
	LWLockRelease(shared->lock);

	if (mine)
	{
		my_slot = i;
		before_shmem_exit(worker_depart, (Datum) 0);
	}
	return mine;
}

/* Writes the state of this process's slot; a NULL error leaves the last one. */
void
weir_shared_set_state(WeirWorkerState state, const char *error, const char *hint,
					  TimestampTz next_try)
{
	WeirWorkerSlot *slot = &shared->slots[my_slot];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	enter_state(slot, state);
	slot->next_try = next_try;
	if (error)
	{
		strlcpy(slot->last_error, error, WEIR_ERROR_LEN);
		strlcpy(slot->last_hint, hint ? hint : "", WEIR_ERROR_LEN);
		slot->last_error_at = GetCurrentTimestamp();
	}
	if (weir_shared_is_well(state))
		slot->failures = 0;
	LWLockRelease(shared->lock);
}

/* Was this worker woken since it last asked?  Also says whether it is still wanted. */
bool
weir_shared_take_wake(bool *wanted)
{
	WeirWorkerSlot *slot = &shared->slots[my_slot];
	bool		woken;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	woken = slot->woken;
	slot->woken = false;
	*wanted = slot->wanted;
	LWLockRelease(shared->lock);
	return woken;
}

/* Notes when this worker's batch began. */
void
weir_shared_set_batch(TimestampTz since)
{
	pg_atomic_write_u64(&shared->slots[my_slot].batch_since, (uint64) since);
}

/* Says how this process means to leave. */
void
weir_shared_set_leave(WeirLeave leave)
{
	my_leave = leave;
}
