/*
 * worker_source.h
 *	  Which partitions a worker reads, and from where.
 *
 * Floor 4, for worker.c.
 */
#ifndef WEIR_WORKER_SOURCE_H
#define WEIR_WORKER_SOURCE_H

#include "catalog.h"
#include "consumer.h"

typedef struct WeirSource
{
	WeirConsumer *consumer;		/* NULL: not open yet */
	int			worker;			/* reads partitions p with p mod parallelism = worker */
	int			npartitions;	/* of the topic, as assigned */
	TimestampTz missing_since;	/* the topic was there before; 0: it is */
	bool		doubtful;		/* something happened to the topic since it was assigned */
	Bitmapset  *unmarked;		/* partitions whose mark the topic has no more */
} WeirSource;

/*
 * All of these run outside a transaction, and throw: with a SQLSTATE of the
 * environment what may mend itself, with another one what the user must see to.
 */

/* Opens the consumer with the rights and secrets of the stream's owner, and so many megabytes. */
extern void weir_source_open(WeirSource *source, const WeirStream *stream, int worker, int memory_mb);

/* Registers partitions that are new, and reads ours from their applied offsets. */
extern void weir_source_assign(WeirSource *source, const WeirStream *stream);

/* Has the topic got other partitions, or gone, or moved since?  Throws if we may not read it any more. */
extern bool weir_source_changed(WeirSource *source, const WeirStream *stream);

/* Deals with a partition whose applied offset, or mark, is not there any more. */
extern void weir_source_out_of_range(WeirSource *source, const WeirStream *stream,
									 int32 partition, int64 offset);

/* Deals with a partition that has another message where its mark was. */
extern void weir_source_replaced(WeirSource *source, const WeirStream *stream,
								 int32 partition, int64 offset);

/* Throws an error of Kafka. */
extern void weir_source_throw(const WeirKafkaError *error) pg_attribute_noreturn();

#endif							/* WEIR_WORKER_SOURCE_H */
