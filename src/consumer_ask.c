/*
 * consumer_ask.c
 *	  The consumer asks brokers: is the topic there, which offsets has it.
 *
 * These calls wait, for less than a second each, so that the process can
 * always be told to leave.  A broker that is waiting for messages of ours
 * answers only when it has waited long enough (FETCH_WAIT_MS): one call more
 * than an answer should need is made before there is said to be none.
 */
#include "postgres.h"

#include "consumer_private.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The longest that any call here waits for a broker. */
#define CALL_TIMEOUT_MS 900

/* How often to ask before giving up: what is being read from may be about to answer. */
static int
tries(const WeirConsumer *consumer)
{
	return consumer->npartitions > 0 ? 3 : 1;
}

/* Says why a call failed; returns false. */
static bool
fail_call(WeirConsumer *consumer, WeirKafkaError *error, rd_kafka_resp_err_t err)
{
	if (err != RD_KAFKA_RESP_ERR__TIMED_OUT && err != RD_KAFKA_RESP_ERR__TRANSPORT &&
		err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		return weir_consumer_describe(consumer, error, err, NULL);
	weir_consumer_serve_main_queue(consumer);
	weir_consumer_describe_unreachable(consumer, error, err, NULL);
	if (!weir_consumer_has_trouble(consumer))
		strlcpy(error->message, "no broker answers", sizeof(error->message));
	return false;
}

/* Names the topics that are nearest to the one that is not there. */
static void
hint_topics(WeirConsumer *consumer, WeirTopicInfo *info)
{
	const struct rd_kafka_metadata *metadata;
	MemoryContext old;
	const char *hint;

	if (rd_kafka_metadata(consumer->rk, 1, NULL, &metadata, CALL_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	old = MemoryContextSwitchTo(consumer->scratch);
	hint = weir_kafka_topic_hint(metadata, consumer->topic_name);
	if (hint)
		strlcpy(info->hint, hint, sizeof(info->hint));
	MemoryContextSwitchTo(old);
	MemoryContextReset(consumer->scratch);
	rd_kafka_metadata_destroy(metadata);
}

/* Reads what the broker says about our topic. */
static rd_kafka_resp_err_t
read_metadata(WeirConsumer *consumer, WeirTopicInfo *info)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;

	for (int try = tries(consumer); try > 0; try--)
	{
		CHECK_FOR_INTERRUPTS();
		err = rd_kafka_metadata(consumer->rk, 0, consumer->topic, &metadata, CALL_TIMEOUT_MS);
		if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
			break;
	}
	if (err)
		return err;
	err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		if (strcmp(metadata->topics[i].topic, consumer->topic_name) != 0)
			continue;
		err = metadata->topics[i].err;
		info->npartitions = metadata->topics[i].partition_cnt;
	}
	rd_kafka_metadata_destroy(metadata);
	return err;
}

/* Looks the topic up. */
bool
weir_consumer_topic(WeirConsumer *consumer, WeirTopicInfo *info, WeirKafkaError *error)
{
	rd_kafka_resp_err_t err;
	char	   *cluster_id;

	CHECK_FOR_INTERRUPTS();
	memset(info, 0, sizeof(*info));
	err = read_metadata(consumer, info);
	if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
	{
		info->npartitions = 0;
		hint_topics(consumer, info);
	}
	else if (err)
		return fail_call(consumer, error, err);

	info->exists = info->npartitions > 0;
	/* Metadata has just been read, so this does not wait. */
	cluster_id = rd_kafka_clusterid(consumer->rk, 0);
	if (cluster_id)
	{
		strlcpy(info->cluster_id, cluster_id, sizeof(info->cluster_id));
		rd_kafka_mem_free(consumer->rk, cluster_id);
	}
	return true;
}

/*
 * Asks for the offsets at starts[] of those partitions whose offsets[] are
 * negative yet.  Where nothing is as late as a time, they stay so.
 */
static rd_kafka_resp_err_t
offsets_at(WeirConsumer *consumer, int n, const int32 *partitions, const int64 *starts, int64 *offsets)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

	list = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
	{
		if (offsets[i] < 0)
			rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i])->offset = starts[i];
	}
	for (int try = tries(consumer); try > 0 && list->cnt > 0; try--)
	{
		/* Several slow answers in a row must not keep the server from stopping. */
		CHECK_FOR_INTERRUPTS();
		err = rd_kafka_offsets_for_times(consumer->rk, list, CALL_TIMEOUT_MS);
		if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
			break;
	}
	for (int i = 0; i < n && !err; i++)
	{
		rd_kafka_topic_partition_t *found =
			rd_kafka_topic_partition_list_find(list, consumer->topic_name, partitions[i]);

		if (!found)
			continue;
		err = found->err;
		offsets[i] = found->offset;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return err;
}

/* Finds the offsets at which to start. */
bool
weir_consumer_resolve(WeirConsumer *consumer, int n, const int32 *partitions,
					  const int64 *starts, int64 *offsets, WeirKafkaError *error)
{
	int64	   *ends = palloc(sizeof(int64) * Max(n, 1));
	rd_kafka_resp_err_t err;

	for (int i = 0; i < n; i++)
	{
		offsets[i] = -1;
		ends[i] = WEIR_OFFSET_LATEST;
	}
	err = offsets_at(consumer, n, partitions, starts, offsets);

	/* Nothing is as late as the time given: then it is the end, as of now. */
	if (!err)
		err = offsets_at(consumer, n, partitions, ends, offsets);
	for (int i = 0; i < n && !err; i++)
	{
		if (offsets[i] < 0)
			err = RD_KAFKA_RESP_ERR__NO_OFFSET;
	}
	pfree(ends);
	return err ? fail_call(consumer, error, err) : true;
}
