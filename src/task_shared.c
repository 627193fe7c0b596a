/*
 * task_shared.c
 *	  Shared memory of tasks: a slot for each database in which some run.
 *
 * A slot is taken by whoever rings first, and is free again when the
 * database's scheduler has left.  What tasks there are is in the database
 * alone.  The lock is shared.c's.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "task_shared.h"
#include "utils/timestamp.h"

/* Before another scheduler takes the place of one that has died. */
#define PAUSE_MS 1000

typedef struct TaskSlot
{
	Oid			dboid;			/* InvalidOid: free */
	bool		rung;			/* something may be due that the scheduler has not seen */
	bool		retired;		/* a command wants the database to itself */
	TimestampTz start_after;	/* no scheduler is started before then */
	struct PGPROC *scheduler;	/* NULL: none */
	pid_t		sessions[WEIR_TASK_SESSIONS];	/* 0: none */
} TaskSlot;

typedef struct TaskState
{
	LWLock	   *lock;
	TaskSlot	slots[WEIR_TASK_DATABASES];
} TaskState;

static TaskState *state = NULL;

/* The slot of this process's database, if it is one of tasks; where its pid is, if it is a session. */
static TaskSlot *my_slot = NULL;
static int	my_session = -1;

Size
weir_task_shared_size(void)
{
	return sizeof(TaskState);
}

/* Takes the memory, and makes it ready unless another process has. */
void
weir_task_shared_init(void *memory, void *lock, bool found)
{
	state = memory;
	if (found)
		return;
	memset(state, 0, sizeof(TaskState));
	state->lock = lock;
}

/* Returns the slot of a database, or a free one for it; NULL if there is none.  The caller holds the lock. */
static TaskSlot *
find_slot(Oid dboid, bool make)
{
	TaskSlot   *unused = NULL;

	for (int i = 0; i < WEIR_TASK_DATABASES; i++)
	{
		TaskSlot   *slot = &state->slots[i];

		if (slot->dboid == dboid)
			return slot;
		if (!OidIsValid(slot->dboid) && unused == NULL)
			unused = slot;
	}
	if (!make || unused == NULL)
		return NULL;
	memset(unused, 0, sizeof(TaskSlot));
	unused->dboid = dboid;
	return unused;
}

/* Are there processes of a slot?  The caller holds the lock. */
static int
count_processes(const TaskSlot *slot)
{
	int			n = slot->scheduler != NULL && slot->scheduler != MyProc;

	for (int i = 0; i < WEIR_TASK_SESSIONS; i++)
		n += slot->sessions[i] != 0 && slot->sessions[i] != MyProcPid;
	return n;
}

/* Rings for a database.  Where all slots are taken, the next tick tries again. */
bool
weir_task_shared_ring(Oid dboid)
{
	TaskSlot   *slot;
	bool		launch = false;

	if (!state)
		return false;
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	slot = find_slot(dboid, true);
	if (slot != NULL)
	{
		slot->rung = true;
		slot->retired = false;
		launch = slot->scheduler == NULL;
		if (!launch)
			SetLatch(&slot->scheduler->procLatch);
	}
	LWLockRelease(state->lock);
	return launch;
}

/* Tells whether a scheduler is to be started, or when. */
bool
weir_task_shared_due(int i, TimestampTz now, Oid *dboid, TimestampTz *next)
{
	TaskSlot   *slot = &state->slots[i];
	bool		due;

	LWLockAcquire(state->lock, LW_SHARED);
	due = OidIsValid(slot->dboid) && slot->rung && !slot->retired && slot->scheduler == NULL;
	*dboid = slot->dboid;
	if (due && slot->start_after > now)
	{
		due = false;
		if (*next == 0 || slot->start_after < *next)
			*next = slot->start_after;
	}
	LWLockRelease(state->lock);
	return due;
}

/* Keeps the launcher from starting a scheduler for a while: one is coming, or none is to be had. */
void
weir_task_shared_postpone(int i, TimestampTz until)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->slots[i].start_after = until;
	LWLockRelease(state->lock);
}

/* Frees the slot of a database that is gone. */
void
weir_task_shared_free(int i)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (count_processes(&state->slots[i]) == 0)
		memset(&state->slots[i], 0, sizeof(TaskSlot));
	LWLockRelease(state->lock);
}

/* Forgets the scheduler that is leaving; where it was not its own will, another one is to come. */
static void
detach_scheduler(int code, Datum arg)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (my_slot != NULL && my_slot->scheduler == MyProc)
	{
		my_slot->scheduler = NULL;
		my_slot->rung = !my_slot->retired;
		my_slot->start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PAUSE_MS);
	}
	LWLockRelease(state->lock);
}

/* Makes this process the scheduler of a database. */
bool
weir_task_shared_attach_scheduler(Oid dboid)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	my_slot = find_slot(dboid, false);
	if (my_slot != NULL && (my_slot->retired || my_slot->scheduler != NULL))
		my_slot = NULL;
	if (my_slot != NULL)
	{
		my_slot->scheduler = MyProc;
		my_slot->start_after = 0;
	}
	LWLockRelease(state->lock);
	if (my_slot == NULL)
		return false;
	before_shmem_exit(detach_scheduler, (Datum) 0);
	return true;
}

/* Notes that what was rung for is being looked at. */
void
weir_task_shared_take_ring(void)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	my_slot->rung = false;
	LWLockRelease(state->lock);
}

/* Lets the scheduler go, unless somebody has rung. */
bool
weir_task_shared_may_leave(void)
{
	bool		leave;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	leave = !my_slot->rung;
	if (leave)
	{
		my_slot->scheduler = NULL;
		if (count_processes(my_slot) == 0)
			my_slot->dboid = InvalidOid;
		my_slot = NULL;
	}
	LWLockRelease(state->lock);
	return leave;
}

/* Is this process a session of this database's tasks? */
bool
weir_task_shared_has_session(pid_t pid)
{
	bool		has = false;

	LWLockAcquire(state->lock, LW_SHARED);
	for (int i = 0; i < WEIR_TASK_SESSIONS; i++)
		has |= my_slot->sessions[i] == pid;
	LWLockRelease(state->lock);
	return has;
}

/* Forgets the session that is leaving. */
static void
detach_session(int code, Datum arg)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	my_slot->sessions[my_session] = 0;
	if (my_slot->scheduler == NULL && !my_slot->rung && !my_slot->retired && count_processes(my_slot) == 0)
		my_slot->dboid = InvalidOid;
	LWLockRelease(state->lock);
}

/* Makes this process a session of a database's tasks. */
bool
weir_task_shared_attach_session(Oid dboid)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	my_slot = find_slot(dboid, false);
	for (int i = 0; my_slot != NULL && !my_slot->retired && my_session < 0 && i < WEIR_TASK_SESSIONS; i++)
	{
		if (my_slot->sessions[i] == 0)
			my_session = i;
	}
	if (my_session >= 0)
		my_slot->sessions[my_session] = MyProcPid;
	LWLockRelease(state->lock);
	if (my_session < 0)
		return false;
	before_shmem_exit(detach_session, (Datum) 0);
	return true;
}

/* Sends all processes of a database's tasks away, but for this one. */
int
weir_task_shared_retire(Oid dboid)
{
	TaskSlot   *slot;
	int			alive = 0;

	if (!state)
		return 0;
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	slot = find_slot(dboid, false);
	if (slot != NULL)
	{
		/* under the lock, or a pid might be another process's */
		slot->retired = true;
		if (slot->scheduler != NULL)
			(void) kill(slot->scheduler->pid, SIGTERM);
		for (int i = 0; i < WEIR_TASK_SESSIONS; i++)
		{
			if (slot->sessions[i] != 0 && slot->sessions[i] != MyProcPid)
				(void) kill(slot->sessions[i], SIGTERM);
		}
		alive = count_processes(slot);
	}
	LWLockRelease(state->lock);
	return alive;
}
