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

/* The states a worker shows in weir.status.  Each line ends with its next states. */
typedef enum WeirWorkerState
{
	WEIR_STARTING,				/* connecting, looking up partitions; -> RUNNING, RETRYING, FAILED */
	WEIR_RUNNING,				/* applying; -> IDLE, RETRYING, FAILED, STOPPING */
	WEIR_IDLE,					/* read to the end; -> RUNNING, RETRYING, FAILED, STOPPING */
	WEIR_RETRYING,				/* environment at fault, waits for next_try; -> STARTING, RUNNING */
	WEIR_FAILED,				/* definition or lost data at fault; stays until altered, sought or restarted by the user */
	WEIR_STOPPING				/* -> slot freed */
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
	char		last_error[WEIR_ERROR_LEN];	/* empty: none */
	char		last_hint[WEIR_ERROR_LEN];
	TimestampTz last_error_at;
} WeirWorkerSlot;

extern void weir_shared_request(void);	/* from _PG_init */
extern bool weir_shared_available(void);

/* Reads slot i (0 .. weir_shared_nslots() - 1) under the lock; false: not in use. */
extern int	weir_shared_nslots(void);
extern bool weir_shared_read_slot(int i, WeirWorkerSlot *copy);

/* Rings the launcher: streams of this database have been started, stopped or altered. Safe after commit (does not throw). */
extern void weir_shared_ring(Oid dboid);

#endif							/* WEIR_SHARED_H */
