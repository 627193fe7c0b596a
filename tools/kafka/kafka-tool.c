/*
 * kafka-tool.c
 *	  A small Kafka client for the sandbox: no JVM to wait for.
 *
 *	  kafka-tool -b BOOTSTRAP [-X option=value]... ping
 *	  kafka-tool -b BOOTSTRAP [-X option=value]... offsets TOPIC
 *	  kafka-tool -b BOOTSTRAP [-X option=value]... topic NAME ...
 *	  kafka-tool -b BOOTSTRAP [-X option=value]... produce TOPIC ...
 *	  kafka-tool -b BOOTSTRAP [-X option=value]... group NAME TOPIC ...
 *
 * This file reads the common options and asks the broker questions; topic.c
 * changes topics, produce.c sends messages, group.c is about consumer groups.
 * Consuming is left to kcat.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kafka-tool.h"

#define REQUEST_TIMEOUT_MS	5000
#define MAX_COMMON_OPTIONS	32

typedef struct Subcommand
{
	const char *name;
	int			(*run) (int argc, char **argv);
} Subcommand;

/* The options given by -b and -X, as name=value. */
static const char *common_options[MAX_COMMON_OPTIONS];
static int	common_option_count = 0;

void
die(const char *fmt,...)
{
	va_list		args;

	fflush(stdout);
	fputs("kafka-tool: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);

	/* _exit: the client's threads may still be at work. */
	_exit(1);
}

long long
parse_number(const char *text, const char *what)
{
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0)
		die("%s must be a whole number, not \"%s\"", what, text);
	return number;
}

void
conf_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		reason[512];

	if (rd_kafka_conf_set(conf, name, value, reason, sizeof(reason)) != RD_KAFKA_CONF_OK)
		die("%s", reason);
}

/* Sets an option written as name=value. */
static void
conf_set_pair(rd_kafka_conf_t *conf, const char *pair)
{
	const char *value = strchr(pair, '=');
	char	   *name;

	if (value == NULL)
		die("option \"%s\" is not of the form name=value", pair);
	name = strndup(pair, value - pair);
	conf_set(conf, name, value + 1);
	free(name);
}

static rd_kafka_t *
new_of_type(rd_kafka_conf_t *conf, rd_kafka_type_t type)
{
	char		reason[512];
	rd_kafka_t *rk;

	/* Broker trouble is reported by what fails, not by the log. */
	conf_set(conf, "log_level", "2");
	for (int i = 0; i < common_option_count; i++)
		conf_set_pair(conf, common_options[i]);
	rk = rd_kafka_new(type, conf, reason, sizeof(reason));
	if (rk == NULL)
		die("%s", reason);
	return rk;
}

rd_kafka_t *
client_new(rd_kafka_conf_t *conf)
{
	return new_of_type(conf, RD_KAFKA_PRODUCER);
}

rd_kafka_t *
consumer_new(rd_kafka_conf_t *conf)
{
	return new_of_type(conf, RD_KAFKA_CONSUMER);
}

/* Fetches the metadata of one topic, or of all when topic_name is NULL. */
static const rd_kafka_metadata_t *
fetch_metadata(rd_kafka_t *rk, const char *topic_name)
{
	const rd_kafka_metadata_t *metadata;
	rd_kafka_topic_t *topic = NULL;
	rd_kafka_resp_err_t err;

	if (topic_name != NULL)
		topic = rd_kafka_topic_new(rk, topic_name, NULL);
	err = rd_kafka_metadata(rk, topic == NULL, topic, &metadata, REQUEST_TIMEOUT_MS);
	if (err)
		die("%s", rd_kafka_err2str(err));
	if (topic != NULL)
		rd_kafka_topic_destroy(topic);
	return metadata;
}

/* Succeeds when a broker answers. */
static int
ping_main(int argc, char **argv)
{
	rd_kafka_t *rk = client_new(rd_kafka_conf_new());

	rd_kafka_metadata_destroy(fetch_metadata(rk, NULL));
	rd_kafka_destroy(rk);
	return 0;
}

/* Prints each partition of a topic with its first and its next offset. */
static int
offsets_main(int argc, char **argv)
{
	rd_kafka_t *rk = client_new(rd_kafka_conf_new());
	const rd_kafka_metadata_t *metadata;
	const rd_kafka_metadata_topic_t *topic;

	if (argc != 2)
		die("usage: offsets TOPIC");
	metadata = fetch_metadata(rk, argv[1]);
	topic = &metadata->topics[0];
	if (topic->err)
		die("topic \"%s\": %s", argv[1], rd_kafka_err2str(topic->err));

	for (int i = 0; i < topic->partition_cnt; i++)
	{
		int64_t		low;
		int64_t		high;
		rd_kafka_resp_err_t err;

		err = rd_kafka_query_watermark_offsets(rk, argv[1], i, &low, &high, REQUEST_TIMEOUT_MS);
		if (err)
			die("topic \"%s\", partition %d: %s", argv[1], i, rd_kafka_err2str(err));
		printf("%d\t%lld\t%lld\n", i, (long long) low, (long long) high);
	}
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_destroy(rk);
	return 0;
}

/* Remembers an option for client_new. */
static void
add_common_option(const char *name, const char *value)
{
	char	   *pair;

	if (common_option_count == MAX_COMMON_OPTIONS || asprintf(&pair, "%s%s", name, value) < 0)
		die("too many options");
	common_options[common_option_count++] = pair;
}

int
main(int argc, char **argv)
{
	static const Subcommand subcommands[] = {
		{"ping", ping_main},
		{"offsets", offsets_main},
		{"topic", topic_main},
		{"produce", produce_main},
		{"group", group_main},
	};
	int			option;

	while ((option = getopt(argc, argv, "+b:X:")) != -1)
	{
		if (option == 'b')
			add_common_option("bootstrap.servers=", optarg);
		else if (option == 'X')
			add_common_option("", optarg);
		else
			die("usage: kafka-tool -b BOOTSTRAP [-X option=value]... SUBCOMMAND ...");
	}
	argc -= optind;
	argv += optind;

	for (size_t i = 0; argc > 0 && i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
	{
		if (strcmp(argv[0], subcommands[i].name) == 0)
		{
			/* 0, not 1: getopt shall forget the leading "+" as well. */
			optind = 0;
			return subcommands[i].run(argc, argv);
		}
	}
	die("expected a subcommand: ping, offsets, topic, produce or group");
}
