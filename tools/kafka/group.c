/*
 * group.c
 *	  Looks at the offsets of a consumer group, or sets them.
 *
 *	  group NAME TOPIC						partition and offset; nothing where there is none
 *	  group NAME TOPIC --commit PARTITION:OFFSET
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kafka-tool.h"

#define REQUEST_TIMEOUT_MS	10000
#define MAX_PARTITIONS		100

/* Prints what is committed. */
static void
print_committed(rd_kafka_t *rk, const char *topic)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(MAX_PARTITIONS);
	rd_kafka_resp_err_t err;

	rd_kafka_topic_partition_list_add_range(list, topic, 0, MAX_PARTITIONS - 1);
	err = rd_kafka_committed(rk, list, REQUEST_TIMEOUT_MS);
	if (err)
		die("%s", rd_kafka_err2str(err));
	for (int i = 0; i < list->cnt; i++)
	{
		if (list->elems[i].offset >= 0)
			printf("%d\t%lld\n", list->elems[i].partition, (long long) list->elems[i].offset);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

/* Commits an offset, given as PARTITION:OFFSET. */
static void
commit(rd_kafka_t *rk, const char *topic, char *what)
{
	char	   *colon = strchr(what, ':');
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t err;

	if (colon == NULL)
		die("expected PARTITION:OFFSET, not \"%s\"", what);
	*colon = '\0';
	rd_kafka_topic_partition_list_add(list, topic, (int) parse_number(what, "a partition"))->offset =
		parse_number(colon + 1, "an offset");
	err = rd_kafka_commit(rk, list, 0);
	if (err)
		die("%s", rd_kafka_err2str(err));
	rd_kafka_topic_partition_list_destroy(list);
}

int
group_main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	if (argc != 3 && !(argc == 5 && strcmp(argv[3], "--commit") == 0))
		die("usage: group NAME TOPIC [--commit PARTITION:OFFSET]");
	conf_set(conf, "group.id", argv[1]);
	rk = consumer_new(conf);
	if (argc == 5)
		commit(rk, argv[2], argv[4]);
	else
		print_committed(rk, argv[2]);
	/* it holds nothing, and waits long for its threads */
	fflush(stdout);
	_exit(0);
}
