/*
 * kafka_offsets.c
 *	  Asks a Kafka cluster which offset a partition has at a time.
 */
#include "postgres.h"

#include "kafka_offsets.h"

/* Asks for the partitions of a list, whose offsets are times; returns the first error. */
static rd_kafka_resp_err_t
ask(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int timeout_ms)
{
	rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(rk, list, timeout_ms);

	for (int i = 0; i < list->cnt && !err; i++)
		err = list->elems[i].err;
	return err;
}

/* Asks once for the partitions whose offset is still negative, and fills them in. */
static rd_kafka_resp_err_t
ask_missing(rd_kafka_t *rk, const char *topic, int n, int64 time, int64 *offsets, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (int i = 0; i < n; i++)
	{
		if (offsets[i] < 0)
			rd_kafka_topic_partition_list_add(list, topic, i)->offset = time;
	}
	if (list->cnt > 0)
		err = ask(rk, list, timeout_ms);
	for (int i = 0; i < list->cnt && !err; i++)
		offsets[list->elems[i].partition] = list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

/* Finds the offset of each partition at a time. */
rd_kafka_resp_err_t
weir_kafka_offsets_at(rd_kafka_t *rk, const char *topic, int n, int64 time,
					  int64 *offsets, int timeout_ms)
{
	rd_kafka_resp_err_t err;

	for (int i = 0; i < n; i++)
		offsets[i] = -1;
	err = ask_missing(rk, topic, n, time, offsets, timeout_ms);

	/* nothing as late as that time: then it is the end, as of now */
	if (!err)
		err = ask_missing(rk, topic, n, WEIR_TIME_END, offsets, timeout_ms);
	return err;
}
