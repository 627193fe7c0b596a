/*
 * consumer_commit.c
 *	  The consumer tells Kafka how far it is, for whoever looks there.
 *
 * Offsets are committed to a consumer group like those of any consumer, but
 * nobody reads them back.  No group is joined: as long as it has no members,
 * the coordinator takes what it is given.  What is said here is never waited
 * for; the answer comes through the main queue (consumer_serve.c).
 */
#include "postgres.h"

#include "consumer_private.h"

/* Returns the remedy for an error that only groups have. */
static const char *
hint_of(rd_kafka_resp_err_t err)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			return "The user of Kafka needs the right to Read the group.";
		case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
		case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
		case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
			return "The group has consumers of its own; give a name that nobody else uses.";
		default:
			return NULL;
	}
}

/* Keeps why a commit has failed. */
static void
note_failure(WeirConsumer *consumer, rd_kafka_resp_err_t err)
{
	const char *hint = hint_of(err);

	consumer->commit = WEIR_COMMIT_FAILED;
	weir_consumer_describe(consumer, &consumer->commit_error, err, NULL);
	if (hint)
		strlcpy(consumer->commit_error.hint, hint, sizeof(consumer->commit_error.hint));
}

/* Sends offsets to the group. */
void
weir_consumer_commit(WeirConsumer *consumer, int n, const int32 *partitions, const int64 *offsets)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
	rd_kafka_resp_err_t err;

	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i])->offset = offsets[i];
	consumer->commit = WEIR_COMMIT_SENT;
	err = rd_kafka_commit_queue(consumer->rk, list, consumer->main_queue, NULL, NULL);
	rd_kafka_topic_partition_list_destroy(list);
	if (err)
		note_failure(consumer, err);
}

/* Takes the answer. */
void
weir_consumer_take_commit(WeirConsumer *consumer, rd_kafka_event_t *rkev)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(rkev);
	rd_kafka_resp_err_t err = rd_kafka_event_error(rkev);

	for (int i = 0; list != NULL && i < list->cnt && !err; i++)
		err = list->elems[i].err;
	if (err)
		note_failure(consumer, err);
	else
		consumer->commit = WEIR_COMMIT_DONE;
}

/* What has become of the last commit? */
WeirCommit
weir_consumer_committed(const WeirConsumer *consumer, WeirKafkaError *error)
{
	if (consumer->commit == WEIR_COMMIT_FAILED)
		*error = consumer->commit_error;
	return consumer->commit;
}
