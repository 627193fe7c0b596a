/*
 * shared.h
 *	  Shared memory: one slot per stream worker, and the launcher's bell.
 *
 * Floor 1.  Present only when the library is in shared_preload_libraries.
 */
#ifndef WEIR_SHARED_H
#define WEIR_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"

struct PGPROC;

/* The states a worker shows in weir.status.  Each line ends with its next states. */
typedef enum WeirWorkerState
{
	WEIR_WAITING,				/* no process to be had; -> STARTING */
	WEIR_STARTING,				/* connecting, looking up partitions; -> REFILLING, RUNNING, RETRYING, FAILED, STOPPING */
	WEIR_REFILLING,				/* applying, and reading again what a crash has emptied; -> RUNNING, RETRYING, FAILED, STOPPING */
	WEIR_RUNNING,				/* applying; -> REFILLING, IDLE, RETRYING, FAILED, STOPPING */
	WEIR_IDLE,					/* read to the end; -> REFILLING, RUNNING, RETRYING, FAILED, STOPPING */
	WEIR_RETRYING,				/* environment at fault, tries again; -> REFILLING, RUNNING, FAILED, STOPPING */
	WEIR_FAILED,				/* definition or lost data at fault, stays until the user acts; -> STOPPING */
	WEIR_STOPPING				/* leaving; -> slot freed, or STARTING in the next process */
} WeirWorkerState;

#define WEIR_ERROR_LEN 1024

typedef struct WeirWorkerSlot
{
	bool		in_use;
	Oid			dboid;
	Oid			stream;
	int			worker;			/* 0 .. parallelism - 1 */
	pid_t		pid;			/* 0: not started yet */
	WeirWorkerState state;
	TimestampTz since;
	TimestampTz next_try;		/* 0: none */
	char		last_error[WEIR_ERROR_LEN]; /* empty: none */
	char		last_hint[WEIR_ERROR_LEN];
	TimestampTz last_error_at;
	pg_atomic_uint64 batch_since;	/* a TimestampTz: when the running batch began; 0: none runs. Not under the lock */

	/* Between the launcher, the census and the worker. */
	bool		wanted;			/* false: the worker leaves and frees the slot */
	bool		woken;			/* the definition may have changed */
	bool		launched;		/* the postmaster has been asked for a process */
	int			failures;		/* processes lost in a row */
	TimestampTz start_after;	/* not before then */
	struct PGPROC *proc;		/* whose latch to set; NULL: no process */
} WeirWorkerSlot;

/* A worker that should exist, as the census finds it in a database. */
typedef struct WeirWanted
{
	Oid			stream;
	int			worker;
} WeirWanted;

/* How a worker leaves its slot behind. */
typedef enum WeirLeave
{
	WEIR_LEAVE_LOST,			/* died: start another after a pause */
	WEIR_LEAVE_RESTART,			/* wants a fresh start: at once */
	WEIR_LEAVE_STOP				/* not wanted any more: free the slot */
} WeirLeave;

extern void weir_shared_request(void);	/* from _PG_init */
extern bool weir_shared_available(void);
extern const char *weir_shared_state_name(WeirWorkerState state);
extern bool weir_shared_is_well(WeirWorkerState state); /* does a worker in it apply what there is? */

/* Reads slot i (0 .. weir_shared_nslots() - 1) under the lock; false: not in use. */
extern int	weir_shared_nslots(void);
extern bool weir_shared_read_slot(int i, WeirWorkerSlot *copy);

/* Rings the launcher: streams of this database have been started, stopped or altered. Safe after commit (does not throw). */
extern void weir_shared_ring(Oid dboid);

/* Has the scheduler of a database's tasks look what is due.  Safe after commit. */
extern void weir_shared_ring_tasks(Oid dboid);

/* Wakes the workers of a stream, so that they look at their definition.  Safe after commit. */
extern void weir_shared_wake(Oid dboid, Oid stream);

/* Cancels the batches that the workers of a stream (InvalidOid: of all streams of a database) are applying. */
extern void weir_shared_cancel(Oid dboid, Oid stream);

/* How many workers there are, and why there are no more. */
typedef struct WeirCrowd
{
	int			slots_used;		/* of weir_shared_nslots() */
	int			processes;		/* those that have a process */
	bool		no_scheduler;	/* no process was left to look which streams are wanted */
} WeirCrowd;

extern void weir_shared_crowd(WeirCrowd *crowd);

/* Sends all workers of a database away; returns how many processes are still there. */
extern int	weir_shared_retire(Oid dboid);

/* The launcher's side. */
extern void weir_shared_launcher_arrive(void);
extern bool weir_shared_launcher_take_ring(Oid *dboid); /* InvalidOid: every database */
extern void weir_shared_launched(int i);
extern void weir_shared_not_launched(int i, const char *error, const char *hint, TimestampTz start_after);
extern void weir_shared_free_slot(int i);

/* Did the census that was begun come to its end? */
extern void weir_shared_census_begin(void);
extern void weir_shared_census_starved(bool starved);
extern void weir_shared_census_end(void);
extern bool weir_shared_census_done(void);

/* The census's side: from now on these and no others run in this database. */
extern void weir_shared_set_wanted(Oid dboid, const List *wanted);

/* The worker's side: it owns its slot from attach until the process ends. */
extern bool weir_shared_attach(int i, WeirWorkerSlot *copy);
extern void weir_shared_set_state(WeirWorkerState state, const char *error, const char *hint,
								  TimestampTz next_try);
extern bool weir_shared_take_wake(bool *wanted);
extern void weir_shared_set_batch(TimestampTz since);	/* 0: none runs */
extern void weir_shared_set_leave(WeirLeave leave);

#endif							/* WEIR_SHARED_H */
