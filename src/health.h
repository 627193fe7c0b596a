/*
 * health.h
 *	  What librdkafka's statistics say about brokers and partitions.
 *
 * Floor 1.
 */
#ifndef WEIR_HEALTH_H
#define WEIR_HEALTH_H

#include "batch.h"

/* A broker that has said nothing for this long is not well. */
#define WEIR_SILENCE_US (10 * INT64CONST(1000000))

typedef struct WeirHealth
{
	int			leaders;		/* brokers that we read partitions from */
	int			unwell;			/* of those, down or silent */
	char		broker[256];	/* one of the unwell */
	bool		down;			/* it is not connected; else it is silent */
} WeirHealth;

/* Called for each partition of the topic with its last stable offset. */
typedef void (*WeirEndOffsetFn) (void *arg, int32 partition, int64 end_offset);

extern void weir_health_read(const char *statistics, const char *topic, bool read_committed,
							 WeirHealth *health, WeirEndOffsetFn end_offset, void *arg);

#endif							/* WEIR_HEALTH_H */
