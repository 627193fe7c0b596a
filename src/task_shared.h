/*
 * task_shared.h
 *	  Shared memory of tasks: a slot for each database in which some run.
 *
 * Floor 1.
 */
#ifndef WEIR_TASK_SHARED_H
#define WEIR_TASK_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Databases that run tasks at a time; sessions of tasks in each. */
#define WEIR_TASK_DATABASES 64
#define WEIR_TASK_SESSIONS 64

extern Size weir_task_shared_size(void);
extern void weir_task_shared_init(void *memory, void *lock, bool found);

/* Asks for the scheduler of a database, or wakes it.  Safe after commit.  true: the launcher must start it. */
extern bool weir_task_shared_ring(Oid dboid);

/* The launcher's side: is a scheduler to be started for slot i? */
extern bool weir_task_shared_due(int i, TimestampTz now, Oid *dboid, TimestampTz *next);
extern void weir_task_shared_postpone(int i, TimestampTz until);
extern void weir_task_shared_free(int i);

/* The scheduler's side.  false: it is not wanted. */
extern bool weir_task_shared_attach_scheduler(Oid dboid);
extern void weir_task_shared_take_ring(void);
extern bool weir_task_shared_may_leave(void);	/* false: it was rung for again */

extern bool weir_task_shared_has_session(pid_t pid);

/* A session's side, before it connects.  false: it is not wanted. */
extern bool weir_task_shared_attach_session(Oid dboid);

/* Ends whatever runs for tasks of a database; returns how many processes are still there. */
extern int	weir_task_shared_retire(Oid dboid);

#endif							/* WEIR_TASK_SHARED_H */
