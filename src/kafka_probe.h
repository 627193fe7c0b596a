/*
 * kafka_probe.h
 *	  Tries a connection to Kafka out, and says in plain words what is there
 *	  and what is wrong.
 *
 * Floor 2.  Starts librdkafka's threads, so only a process that is about to
 * end may call it: probe.c.
 */
#ifndef WEIR_KAFKA_PROBE_H
#define WEIR_KAFKA_PROBE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* One thing found out. */
typedef struct WeirProbeRow
{
	const char *test;			/* options, dns, connect, tls, authentication, metadata, cluster, broker, topic, offset, probe */
	bool		ok;
	int			sqlstate;		/* what it would be as an error */
	const char *detail;
	const char *hint;			/* empty: none */
	int32		partition;		/* of an offset that was found */
	int64		offset;
} WeirProbeRow;

/* What to find out. */
typedef struct WeirProbeRequest
{
	const char *topic;			/* NULL: what there is */
	const char *isolation_level;	/* not NULL: the offsets of the topic's partitions, as it sees them */
	int64		time;			/* at this time: see kafka_offsets.h */
} WeirProbeRequest;

typedef void (*WeirProbeEmit) (const WeirProbeRow *row, void *arg);

/*
 * Connects with options (a List of WeirKafkaOption), and emits a row for
 * everything found until the deadline: brokers and topics, or why there are
 * none.  With a topic, it is only that topic that is looked for among them.
 *
 * Returns early when the process is asked to stop.  Leaves librdkafka's
 * handle and threads behind.
 */
extern void weir_kafka_probe(List *options, const WeirProbeRequest *request,
							 TimestampTz deadline, WeirProbeEmit emit, void *arg);

#endif							/* WEIR_KAFKA_PROBE_H */
