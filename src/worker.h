/*
 * worker.h
 *	  One process reads one stream, or one Nth of its partitions.
 *
 * Floor 4.
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include "postgres.h"

/*
 * Makes the workers of a stream, and the launcher, look at its definition
 * now.  For after commit: does not throw, and does nothing where the library
 * is not preloaded.
 */
extern void weir_worker_wake(Oid dboid, Oid stream);

#endif							/* WEIR_WORKER_H */
