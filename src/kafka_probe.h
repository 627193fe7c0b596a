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
	const char *test;			/* options, dns, connect, tls, authentication, metadata, cluster, broker, topic, probe */
	bool		ok;
	const char *detail;
	const char *hint;			/* empty: none */
} WeirProbeRow;

typedef void (*WeirProbeEmit) (const WeirProbeRow *row, void *arg);

/*
 * Connects with options (a List of WeirKafkaOption), and emits a row for
 * everything found until the deadline: brokers and topics, or why there are
 * none.  With a topic, it is only that topic that is looked for among them.
 *
 * Returns early when the process is asked to stop.  Leaves librdkafka's
 * handle and threads behind.
 */
extern void weir_kafka_probe(List *options, const char *topic, TimestampTz deadline,
							 WeirProbeEmit emit, void *arg);

#endif							/* WEIR_KAFKA_PROBE_H */
