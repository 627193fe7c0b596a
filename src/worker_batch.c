/*
 * worker_batch.c
 *	  The batch that a worker has in hand: filled from the consumer up to the
 *	  stream's limits, and given back.  When it is applied is worker.c's
 *	  business.
 */
#include "postgres.h"

#include "guc.h"
#include "utils/memutils.h"
#include "worker_batch.h"

/* Makes room for batches as large as the stream's limits say. */
void
weir_hand_allocate(WeirHand *hand, const WeirStream *stream)
{
	hand->max_messages = stream->batch_rows;
	hand->max_bytes = Min((Size) stream->batch_bytes, (Size) weir_worker_memory * 1024 * 1024 / 4);
	hand->batch.messages = MemoryContextAllocHuge(TopMemoryContext, sizeof(WeirMessage) * hand->max_messages);
	hand->batch.headers_of = weir_consumer_headers;
	hand->batch.topic = stream->topic;
}

/* Makes room for the positions of so many partitions. */
void
weir_hand_allocate_positions(WeirHand *hand, int npartitions)
{
	if (npartitions <= hand->positions_room)
		return;
	if (hand->batch.positions)
		pfree(hand->batch.positions);
	hand->positions_room = npartitions;
	hand->batch.positions = MemoryContextAlloc(TopMemoryContext, sizeof(WeirPosition) * npartitions);
}

/* Is the batch as large as it may be? */
static bool
is_full(const WeirHand *hand)
{
	return hand->batch.nmessages >= hand->max_messages || hand->bytes >= hand->max_bytes;
}

/* Takes what has been fetched. */
int
weir_hand_fill(WeirHand *hand, WeirConsumer *consumer)
{
	int			before = hand->batch.nmessages;
	int			got = weir_consumer_poll(consumer, hand->batch.messages + before,
										 hand->max_messages - before, hand->max_bytes - hand->bytes);

	for (int i = before; i < before + got; i++)
		hand->bytes += hand->batch.messages[i].value_len + hand->batch.messages[i].key_len;
	hand->batch.nmessages += got;
	hand->drained = !is_full(hand);
	return got;
}

/* Gives the messages back. */
void
weir_hand_release(WeirHand *hand)
{
	weir_consumer_release(hand->batch.messages, hand->batch.nmessages);
	hand->batch.nmessages = 0;
	hand->batch.npositions = 0;
	hand->bytes = 0;
}
