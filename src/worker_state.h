/*
 * worker_state.h
 *	  The state that a stream worker shows.
 *
 * Floor 4, for worker.c and worker_source.c.
 */
#ifndef WEIR_WORKER_STATE_H
#define WEIR_WORKER_STATE_H

#include "shared.h"

/* Names the stream whose worker this process is. */
extern void weir_worker_state_name(const char *stream);

/* Enters a state, or stays in it with another reason.  why is NULL where nothing is wrong. */
extern void weir_worker_enter(WeirWorkerState next, const char *why, const char *hint,
							  TimestampTz next_try);

extern WeirWorkerState weir_worker_current(void);

#endif							/* WEIR_WORKER_STATE_H */
