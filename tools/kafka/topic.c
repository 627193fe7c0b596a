/*
 * topic.c
 *	  Creates, deletes, grows and trims topics with librdkafka's admin client.
 *
 *	  topic NAME --partitions N [--config name=value]...
 *	  topic NAME --add-partitions N			N more than there are
 *	  topic NAME --delete-records PARTITION:OFFSET	everything below OFFSET
 *	  topic NAME --delete
 *
 * Each returns when the change can be seen in the broker's metadata.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kafka-tool.h"

#define ADMIN_TIMEOUT_MS	30000
#define POLL_INTERVAL_NS	20000000

typedef struct TopicArgs
{
	const char *name;
	int			partitions;		/* 0: do not create */
	int			add_partitions; /* 0: do not grow */
	int			delete_topic;
	const char *delete_records; /* PARTITION:OFFSET or NULL */
	char	   *configs[64];
	int			nconfigs;
} TopicArgs;

/* Dies if the topic of a result carries an error. */
static void
check_topic_results(const rd_kafka_topic_result_t **results, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (rd_kafka_topic_result_error(results[i]))
			die("topic \"%s\": %s", rd_kafka_topic_result_name(results[i]),
				rd_kafka_topic_result_error_string(results[i]));
	}
}

/* Dies if a partition of a DeleteRecords result carries an error. */
static void
check_delete_records(rd_kafka_event_t *event)
{
	const rd_kafka_topic_partition_list_t *offsets =
		rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));

	for (int i = 0; i < offsets->cnt; i++)
	{
		if (offsets->elems[i].err)
			die("topic \"%s\", partition %d: %s", offsets->elems[i].topic,
				offsets->elems[i].partition, rd_kafka_err2str(offsets->elems[i].err));
	}
}

/* Waits for the answer to an admin request and dies if it is an error. */
static void
finish_request(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS);
	const rd_kafka_topic_result_t **results = NULL;
	size_t		count = 0;

	if (event == NULL)
		die("the broker did not answer in time");
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));

	switch (rd_kafka_event_type(event))
	{
		case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
			results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
			break;
		case RD_KAFKA_EVENT_DELETETOPICS_RESULT:
			results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
			break;
		case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
			results = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &count);
			break;
		case RD_KAFKA_EVENT_DELETERECORDS_RESULT:
			check_delete_records(event);
			break;
	}
	check_topic_results(results, count);
	rd_kafka_event_destroy(event);
}

/* Counts the partitions of a topic that have a leader; 0 without a topic. */
static int
count_partitions(rd_kafka_t *rk, const char *name)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
	const rd_kafka_metadata_t *metadata;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &metadata, ADMIN_TIMEOUT_MS);
	int			count = 0;

	if (err)
		die("topic \"%s\": %s", name, rd_kafka_err2str(err));
	if (metadata->topic_cnt == 1 && !metadata->topics[0].err)
	{
		for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
			count += metadata->topics[0].partitions[i].leader >= 0;
	}
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(topic);
	return count;
}

/* Returns once the topic has this many partitions with a leader. */
static void
await_partitions(rd_kafka_t *rk, const char *name, int expected)
{
	const struct timespec interval = {0, POLL_INTERVAL_NS};

	for (int i = 0; i < ADMIN_TIMEOUT_MS / (POLL_INTERVAL_NS / 1000000); i++)
	{
		if (count_partitions(rk, name) == expected)
			return;
		nanosleep(&interval, NULL);
	}
	die("topic \"%s\" does not show %d partitions", name, expected);
}

static void
create_topic(rd_kafka_t *rk, rd_kafka_queue_t *queue, TopicArgs *args)
{
	char		reason[512];
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(args->name, args->partitions, 1, reason, sizeof(reason));

	if (topic == NULL)
		die("%s", reason);
	for (int i = 0; i < args->nconfigs; i++)
	{
		char	   *value = strchr(args->configs[i], '=');

		if (value == NULL)
			die("topic option \"%s\" is not of the form name=value", args->configs[i]);
		*value = '\0';
		rd_kafka_NewTopic_set_config(topic, args->configs[i], value + 1);
	}
	rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
	finish_request(queue);
	rd_kafka_NewTopic_destroy(topic);
	await_partitions(rk, args->name, args->partitions);
}

static void
delete_topic(rd_kafka_t *rk, rd_kafka_queue_t *queue, TopicArgs *args)
{
	rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(args->name);

	rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
	finish_request(queue);
	rd_kafka_DeleteTopic_destroy(topic);
	await_partitions(rk, args->name, 0);
}

static void
add_partitions(rd_kafka_t *rk, rd_kafka_queue_t *queue, TopicArgs *args)
{
	char		reason[512];
	int			total = count_partitions(rk, args->name) + args->add_partitions;
	rd_kafka_NewPartitions_t *partitions =
		rd_kafka_NewPartitions_new(args->name, total, reason, sizeof(reason));

	if (partitions == NULL)
		die("%s", reason);
	rd_kafka_CreatePartitions(rk, &partitions, 1, NULL, queue);
	finish_request(queue);
	rd_kafka_NewPartitions_destroy(partitions);
	await_partitions(rk, args->name, total);
}

static void
delete_records(rd_kafka_t *rk, rd_kafka_queue_t *queue, TopicArgs *args)
{
	rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
	rd_kafka_DeleteRecords_t *records;
	int			partition;
	long long	offset;
	char		rest;

	if (sscanf(args->delete_records, "%d:%lld%c", &partition, &offset, &rest) != 2)
		die("--delete-records wants PARTITION:OFFSET, not \"%s\"", args->delete_records);
	rd_kafka_topic_partition_list_add(offsets, args->name, partition)->offset = offset;
	records = rd_kafka_DeleteRecords_new(offsets);
	rd_kafka_DeleteRecords(rk, &records, 1, NULL, queue);
	finish_request(queue);
	rd_kafka_DeleteRecords_destroy(records);
	rd_kafka_topic_partition_list_destroy(offsets);
}

/* Reads a count of partitions, which is at least 1. */
static int
parse_count(const char *text)
{
	long long	count = parse_number(text, "the number of partitions");

	if (count < 1 || count > 10000)
		die("the number of partitions must be between 1 and 10000");
	return (int) count;
}

static void
parse_args(int argc, char **argv, TopicArgs *args)
{
	static const struct option options[] = {
		{"partitions", required_argument, NULL, 'p'},
		{"config", required_argument, NULL, 'c'},
		{"add-partitions", required_argument, NULL, 'a'},
		{"delete-records", required_argument, NULL, 'r'},
		{"delete", no_argument, NULL, 'd'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		if (option == 'p')
			args->partitions = parse_count(optarg);
		else if (option == 'a')
			args->add_partitions = parse_count(optarg);
		else if (option == 'r')
			args->delete_records = optarg;
		else if (option == 'd')
			args->delete_topic = 1;
		else if (option == 'c' && args->nconfigs < 64)
			args->configs[args->nconfigs++] = optarg;
		else
			die("wrong or too many options of topic");
	}
	if (optind != argc - 1)
		die("topic wants exactly one topic name");
	args->name = argv[optind];
}

int
topic_main(int argc, char **argv)
{
	TopicArgs	args = {0};
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;

	parse_args(argc, argv, &args);
	rk = client_new(rd_kafka_conf_new());
	queue = rd_kafka_queue_new(rk);

	if (args.partitions > 0)
		create_topic(rk, queue, &args);
	else if (args.add_partitions > 0)
		add_partitions(rk, queue, &args);
	else if (args.delete_records != NULL)
		delete_records(rk, queue, &args);
	else if (args.delete_topic)
		delete_topic(rk, queue, &args);
	else
		die("topic wants --partitions, --add-partitions, --delete-records or --delete");

	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy(rk);
	return 0;
}
