/*
 * worker_ends.h
 *	  How far partitions go, while nothing of them can be applied.
 *
 * Floor 4, for worker.c.
 */
#ifndef WEIR_WORKER_ENDS_H
#define WEIR_WORKER_ENDS_H

#include "worker_source.h"

/*
 * Asks the broker where our partitions end, and saves what has changed.
 * Waits for the broker for a few seconds at most, for nobody else, and never
 * throws.  Runs outside a transaction; may let session locks go.
 */
extern void weir_ends_note(const WeirSource *source, const WeirStream *stream);

#endif							/* WEIR_WORKER_ENDS_H */
