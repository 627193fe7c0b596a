/*
 * pace.c
 *	  Sends messages at an even rate, each with the time at which it was handed
 *	  to librdkafka.
 *
 *	  pace BOOTSTRAP TOPIC RATE SECONDS
 *
 * A message: {"id":7,"sent":1767607200123456,"note":"…"}, of about 125 bytes;
 * sent counts microseconds since 1970.  Every millisecond those that are due
 * are sent; linger.ms is 0, so what is due at once goes out at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define NOTE "as long a text as it takes to make the whole of it a message of average size"

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "pace: %s: %s\n", what, why);
	exit(1);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		fail(name, error);
}

static long
microseconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000L + time.tv_nsec / 1000;
}

static rd_kafka_t *
start(const char *bootstrap)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		error[512];
	rd_kafka_t *client;

	set(conf, "bootstrap.servers", bootstrap);
	set(conf, "linger.ms", "0");
	set(conf, "acks", "1");
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (client == NULL)
		fail("cannot start a client", error);
	return client;
}

static void
send_one(rd_kafka_t *client, rd_kafka_topic_t *topic, long id)
{
	char		text[256];
	int			length = snprintf(text, sizeof(text), "{\"id\":%ld,\"sent\":%ld,\"note\":\"%s\"}",
								  id, microseconds(CLOCK_REALTIME), NOTE);

	while (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, text, length, NULL, 0, NULL) != 0)
	{
		if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail("cannot send", rd_kafka_err2str(rd_kafka_last_error()));
		rd_kafka_poll(client, 10);
	}
}

int
main(int argc, char **argv)
{
	long		rate = argc == 5 ? atol(argv[3]) : 0;
	long		count = argc == 5 ? rate * atol(argv[4]) : 0;
	rd_kafka_t *client;
	rd_kafka_topic_t *topic;
	long		began;

	if (count <= 0)
		fail("usage", "pace BOOTSTRAP TOPIC RATE SECONDS");
	client = start(argv[1]);
	topic = rd_kafka_topic_new(client, argv[2], NULL);
	began = microseconds(CLOCK_MONOTONIC);
	for (long id = 0; id < count;)
	{
		struct timespec millisecond = {0, 1000000};
		long		due = (microseconds(CLOCK_MONOTONIC) - began) * rate / 1000000 + 1;

		while (id < due && id < count)
			send_one(client, topic, id++);
		rd_kafka_poll(client, 0);
		nanosleep(&millisecond, NULL);
	}
	if (rd_kafka_flush(client, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail("not all messages were sent", "no broker answers");
	return 0;
}
