/*
 * worker_batch.h
 *	  The batch that a worker has in hand: messages that it has taken from the
 *	  consumer and has not applied yet.
 *
 * Floor 4.
 */
#ifndef WEIR_WORKER_BATCH_H
#define WEIR_WORKER_BATCH_H

#include "batch.h"
#include "catalog.h"
#include "consumer.h"

typedef struct WeirHand
{
	WeirBatch	batch;			/* messages and positions are allocated once */
	Size		bytes;
	int			max_messages;
	Size		max_bytes;
	int			positions_room;
	bool		drained;		/* the last poll got less than it wanted */
} WeirHand;

/* Makes room for batches as large as the stream's limits say. */
extern void weir_hand_allocate(WeirHand *hand, const WeirStream *stream);

/* Makes room for the positions of so many partitions. */
extern void weir_hand_allocate_positions(WeirHand *hand, int npartitions);

/* Takes what has been fetched; returns how many messages that was. */
extern int	weir_hand_fill(WeirHand *hand, WeirConsumer *consumer);

/* Gives the messages back. */
extern void weir_hand_release(WeirHand *hand);

#endif							/* WEIR_WORKER_BATCH_H */
