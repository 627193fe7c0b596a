/*
 * drop.c
 *	  Reads a topic and drops every message: the ceiling of what librdkafka can
 *	  bring in one process.
 *
 *	  drop BOOTSTRAP TOPIC COUNT
 *
 * Prints messages per second, from the first message taken to the last of
 * partition 0's first COUNT.  Takes them in thousands, as pg_weir does, and
 * sleeps until there are more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define AT_ONCE 1000

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "drop: %s: %s\n", what, why);
	exit(1);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		fail(name, error);
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Starts reading partition 0 from its beginning. */
static rd_kafka_t *
start(const char *bootstrap, const char *topic)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(1);
	char		error[512];
	rd_kafka_t *client;

	set(conf, "bootstrap.servers", bootstrap);
	set(conf, "group.id", "drop");
	set(conf, "enable.auto.commit", "false");
	set(conf, "check.crcs", "true");
	client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (client == NULL)
		fail("cannot start a client", error);
	rd_kafka_topic_partition_list_add(partitions, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(client, partitions);
	rd_kafka_topic_partition_list_destroy(partitions);
	return client;
}

/* Drops count messages; returns how long that took. */
static double
drop(rd_kafka_queue_t *queue, long count)
{
	rd_kafka_message_t *messages[AT_ONCE];
	double		began = 0;

	while (count > 0)
	{
		/* with a timeout it would wait for all of the thousand */
		ssize_t		got = rd_kafka_consume_batch_queue(queue, 0, messages, AT_ONCE);

		if (got > 0 && began == 0)
			began = now();
		if (got <= 0)
			usleep(200);
		for (ssize_t i = 0; i < got; i++)
		{
			count -= !messages[i]->err;
			rd_kafka_message_destroy(messages[i]);
		}
	}
	return now() - began;
}

int
main(int argc, char **argv)
{
	long		count = argc == 4 ? atol(argv[3]) : 0;
	rd_kafka_t *client;

	if (count <= 0)
		fail("usage", "drop BOOTSTRAP TOPIC COUNT");
	client = start(argv[1], argv[2]);
	printf("%.0f\n", count / drop(rd_kafka_queue_get_consumer(client), count));
	fflush(stdout);
	/* what librdkafka still holds goes with the process */
	_exit(0);
}
