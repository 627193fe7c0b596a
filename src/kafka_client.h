/*
 * kafka_client.h
 *	  librdkafka's configuration made from a server's options, and its errors
 *	  in PostgreSQL's terms.
 *
 * Floor 1, for the consumer, the sinks' producer and the probe: they, and
 * nobody else, include rdkafka.h, and they get it from here.  No function
 * here connects or starts a thread, so all may be called in a session.  None
 * throws, but for lack of memory.
 */
#ifndef WEIR_KAFKA_CLIENT_H
#define WEIR_KAFKA_CLIENT_H

#include "postgres.h"

#include <librdkafka/rdkafka.h>

#include "kafka_options.h"

#define WEIR_KAFKA_ERRLEN 512	/* a good size for errbuf below */

/*
 * Makes a configuration out of options (a List of WeirKafkaOption), above our
 * defaults and below what we insist on: logs go to a queue (the caller must
 * call rd_kafka_set_log_queue, and empty it), CRCs are checked, no topics are
 * created by asking for them, memory is bounded.
 *
 * The caller owns the result: rd_kafka_new takes it over when it succeeds,
 * else rd_kafka_conf_destroy.  On failure returns NULL and says why in
 * errbuf, in plain words and without secrets.
 */
extern rd_kafka_conf_t *weir_kafka_conf_create(List *options, char *errbuf, Size errlen);

/*
 * Adds what a stream's consumer needs: it owns its offsets (no commits, no
 * reset of its own: a position that is gone is an error), and hears of the
 * end of each partition.  isolation_level is the stream's.
 *
 * Events are up to the caller (rd_kafka_conf_set_events), as is
 * statistics.interval.ms through weir_kafka_conf_set.
 */
extern bool weir_kafka_conf_consumer(rd_kafka_conf_t *conf, const char *group_id,
									 const char *isolation_level,
									 char *errbuf, Size errlen);

/* Sets one property that is the extension's own.  Never for names that users chose. */
extern bool weir_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
								char *errbuf, Size errlen);

/*
 * Would librdkafka take this value?  Says why not in errbuf.  The option must
 * be on the allowlist: librdkafka loads libraries while it reads some others.
 */
extern bool weir_kafka_value_valid(const WeirOptionRule *rule, const char *value,
								   char *errbuf, Size errlen);

/* The SQLSTATE of an error of librdkafka or of a broker (weir_error_fate then knows its fate). */
extern int	weir_kafka_sqlstate(rd_kafka_resp_err_t err);

/* Which part of a connection an error concerns; CONNECT stands for all others too. */
typedef enum WeirKafkaTrouble
{
	WEIR_TROUBLE_CONNECT,
	WEIR_TROUBLE_DNS,
	WEIR_TROUBLE_TLS,
	WEIR_TROUBLE_AUTHENTICATION
} WeirKafkaTrouble;

extern WeirKafkaTrouble weir_kafka_error_trouble(rd_kafka_resp_err_t err, const char *reason);

/*
 * An error in plain words, palloc'd: `could not connect to "localhost:9092":
 * connection refused`.  reason is what came with the error (of an error
 * event, or NULL); it holds no secrets.
 */
extern char *weir_kafka_error_text(rd_kafka_resp_err_t err, const char *reason);

/* A hint with the remedy, palloc'd, or NULL where there is none. */
extern char *weir_kafka_error_hint(rd_kafka_resp_err_t err, const char *reason);

/*
 * The broker that an error event is about: "host:port" out of librdkafka's
 * "sasl_ssl://host:port/bootstrap: …", palloc'd; or NULL.
 */
extern char *weir_kafka_error_broker(const char *reason);

/*
 * A hint that names the topics nearest to the one that is not there, palloc'd:
 * `Perhaps you meant "sensors".`; or NULL.
 */
extern char *weir_kafka_topic_hint(const rd_kafka_metadata_t *metadata, const char *topic);

#endif							/* WEIR_KAFKA_CLIENT_H */
