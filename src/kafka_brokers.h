/*
 * kafka_brokers.h
 *	  Knows which brokers a client of librdkafka is connected to, and why it
 *	  is not to others.
 *
 * Floor 1, for those who may have librdkafka's threads.
 */
#ifndef WEIR_KAFKA_BROKERS_H
#define WEIR_KAFKA_BROKERS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "kafka_client.h"
#include "nodes/pg_list.h"

/* A broker we know of. */
typedef struct WeirBroker
{
	char	   *address;		/* host:port */
	int32		id;				/* -1: not known */
	bool		configured;		/* in bootstrap.servers */
	char		state[32];		/* librdkafka's word for it */
	rd_kafka_resp_err_t err;	/* of the last failure */
	char	   *reason;			/* NULL: it has not failed */
} WeirBroker;

typedef struct WeirBrokers
{
	List	   *list;			/* of WeirBroker */
	rd_kafka_queue_t *queue;
	int			pipe[2];		/* librdkafka writes when there is an event */
	MemoryContext scratch;		/* reset after each event */
} WeirBrokers;

/* Gets ready, before there is a client. */
extern void weir_brokers_init(WeirBrokers *brokers);

/* Listens to a client, which must have error, statistics and log events, and statistics often. */
extern void weir_brokers_watch(WeirBrokers *brokers, rd_kafka_t *rk);

/* Adds a broker, unless it is known by that address. */
extern WeirBroker *weir_brokers_add(WeirBrokers *brokers, const char *address);

/* Takes in what there is to know; sleeps until there is something, at most until a time. */
extern void weir_brokers_drain(WeirBrokers *brokers);
extern void weir_brokers_sleep(WeirBrokers *brokers, TimestampTz until);

/*
 * Waits for the connections: until enough is true, or all brokers have been
 * settled for a while, or it is time, or the process is asked to stop.
 */
extern void weir_brokers_wait(WeirBrokers *brokers, bool (*enough) (WeirBrokers *), TimestampTz until);

extern bool weir_broker_is_up(const WeirBroker *broker);
extern bool weir_brokers_any_up(WeirBrokers *brokers);
extern bool weir_brokers_all_up(WeirBrokers *brokers);
extern bool weir_brokers_all_settled(WeirBrokers *brokers); /* each is up, or has failed */

#endif							/* WEIR_KAFKA_BROKERS_H */
