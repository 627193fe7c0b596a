/*
 * worker_refill.h
 *	  A worker's second job: reading again what a crash has emptied.
 *
 * Floor 4, for worker.c.
 */
#ifndef WEIR_WORKER_REFILL_H
#define WEIR_WORKER_REFILL_H

#include "refill.h"
#include "worker_source.h"

typedef struct WeirRefiller
{
	WeirRefill	refill;
	bool		letters;		/* replayed dead letters may be to come back */
	WeirSource	source;			/* a consumer of its own, opened when it is needed */
	bool		assigned;
	bool		dead;			/* the consumer is beyond help: begin with another process */
	int			wasted;			/* messages read since then that nobody wanted */
	int			retries;		/* failures in a row */
	TimestampTz next_try;		/* not before then; 0: at once */
	WeirKafkaError trouble;		/* why not */
	WeirMessage *messages;
	WeirPosition *positions;
	int			positions_room;
	MemoryContext context;		/* of ranges */
	MemoryContext batch_context;
} WeirRefiller;

typedef enum WeirRefillStep
{
	WEIR_REFILL_NOTHING,		/* nothing could be done now */
	WEIR_REFILL_PROGRESS,
	WEIR_REFILL_COMPLETE,		/* there is nothing left to do */
	WEIR_REFILL_POSTPONED,		/* a transaction was rolled back, and will be tried again at next_try */
	WEIR_REFILL_AGAIN			/* so it was, and something has changed: prepare anew */
} WeirRefillStep;

/* Finds out what is to be done for this worker.  Throws. */
extern void weir_refiller_begin(WeirRefiller *refiller, const WeirStream *stream, int worker);

/* Is there something to do? */
extern bool weir_refiller_has_work(const WeirRefiller *refiller);

/* Does a little of it, without waiting for anything.  Throws where no consumer can be had, or the definition is at fault. */
extern WeirRefillStep weir_refiller_step(WeirRefiller *refiller, const WeirStream *stream);

/* Keeps what the consumer reports from piling up while no step is made. */
extern void weir_refiller_attend(WeirRefiller *refiller);

#endif							/* WEIR_WORKER_REFILL_H */
