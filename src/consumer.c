/*
 * consumer.c
 *	  Reading a topic with librdkafka.
 *
 * Two queues: the consumer's brings messages, ends of partitions and what
 * went wrong with a partition; the main one brings errors of connections,
 * statistics and logs.  Both write into one pipe when they become non-empty,
 * so that the worker can sleep on it beside its latch.
 *
 * No callbacks are used: librdkafka would call them from its threads or under
 * its locks, where ereport() must never happen.  What to do about anything
 * that is reported here is worker.c's to decide.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/int.h"
#include "consumer.h"
#include "health.h"
#include "kafka_client.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The longest that any call here waits for a broker. */
#define CALL_TIMEOUT_MS 900

/* Messages taken from the queue at once. */
#define CHUNK 1000

/* Events that may wait for the worker: one of each kind, and some partitions out of range. */
#define MAX_EVENTS 32

/* How long the words of a broken connection explain that there is none. */
#define TROUBLE_MS 15000

/* Log lines a minute; more are counted only. */
#define MAX_LOGS 20

/* Descriptors that librdkafka opens: a socket and a pipe for each of few brokers. */
#define EXTERNAL_FDS 8

/*
 * Up to 2.1 librdkafka looks only once a second whether a queue that was full
 * has room again, which would cap a worker at a queue's worth a second.  Any
 * request makes it look; this often at most is one sent for that alone.
 */
#define NUDGE_MS 10
#define NUDGE_BELOW 90000		/* messages queued; librdkafka fetches below 100,000 */
#define NUDGE_TIMEOUT_MS 1
#define FETCHES_WITHOUT_NUDGE 0x02020000	/* rd_kafka_version() */

/* What is known of a partition. */
typedef struct PartitionState
{
	int32		partition;
	int64		next_offset;	/* everything below was delivered; -1: nothing yet */
	int64		after_message;	/* the same, as the last message alone has it */
	int64		end_offset;		/* last stable offset; -1: unknown */
	bool		at_end;
	TimestampTz at_end_since;
	bool		told_idle;		/* by weir_consumer_idle, since it is at its end */
	int64		told_offset;	/* what the last weir_consumer_positions() said */
	int64		told_end;
} PartitionState;

struct WeirConsumer
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	rd_kafka_queue_t *main_queue;
	rd_kafka_queue_t *queue;
	char	   *topic_name;
	bool		read_committed;
	int			pipe[2];
	MemoryContext scratch;		/* for what one call allocates */

	PartitionState *partitions;
	int			npartitions;
	int		   *by_number;		/* index into partitions, or -1 */
	int			max_number;
	int			nat_end;		/* partitions that are at their end */

	Size		average;		/* size of recent messages */
	TimestampTz nudged_at;
	rd_kafka_message_t *chunk[CHUNK];

	WeirConsumerEvent events[MAX_EVENTS];
	int			nevents;

	WeirKafkaError trouble;		/* of a connection, in the broker's or system's words */
	TimestampTz trouble_at;

	TimestampTz log_minute;
	int			nlogs;
};

/* Leaves at once: OpenSSL's exit handlers would free what client threads use. */
static void
exit_without_handlers(int code, Datum arg)
{
	_exit(code);
}

/* Makes the pipe, and accounts for the descriptors librdkafka will open. */
static void
open_pipe(WeirConsumer *consumer)
{
	for (int i = 0; i < EXTERNAL_FDS; i++)
	{
		if (!AcquireExternalFD())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("could not reserve file descriptors for the Kafka client"),
					 errhint("Increase max_files_per_process.")));
	}
	if (pipe(consumer->pipe) != 0 ||
		fcntl(consumer->pipe[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(consumer->pipe[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(consumer->pipe[0], F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(consumer->pipe[1], F_SETFD, FD_CLOEXEC) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create a pipe for the Kafka client: %m")));
}

/* Adds a property of our own that bounds memory or sets a pace. */
static void
set_number(rd_kafka_conf_t *conf, const char *name, int64 value)
{
	char		text[32];
	char		errbuf[WEIR_KAFKA_ERRLEN];

	snprintf(text, sizeof(text), INT64_FORMAT, value);
	if (!weir_kafka_conf_set(conf, name, text, errbuf, sizeof(errbuf)))
		elog(ERROR, "librdkafka refused %s = %s: %s", name, text, errbuf);
}

/* Sets a bound on memory; what the server's options say may only be less. */
static void
set_bound(rd_kafka_conf_t *conf, List *options, const char *name, int64 bound)
{
	const char *chosen = weir_kafka_option_value(options, name);

	set_number(conf, name, chosen ? Min(strtoll(chosen, NULL, 10), bound) : bound);
}

/*
 * Divides the budget.  Half is for the queue, a quarter for one fetch (which
 * comes on top of a full queue), a quarter for the batch in hand.
 */
static void
set_budget(rd_kafka_conf_t *conf, List *options, int memory_mb)
{
	int64		bytes = (int64) memory_mb * 1024 * 1024;
	int64		fetch = Min(Max(bytes / 4, 1024 * 1024), 64 * 1024 * 1024);

	set_bound(conf, options, "queued.max.messages.kbytes", Min(bytes / 2 / 1024, 2097151));
	set_bound(conf, options, "fetch.max.bytes", fetch);
	set_bound(conf, options, "max.partition.fetch.bytes", fetch);
}

/* Makes the configuration, or throws. */
static rd_kafka_conf_t *
make_conf(const WeirConsumerSpec *spec)
{
	char		errbuf[WEIR_KAFKA_ERRLEN];
	rd_kafka_conf_t *conf = weir_kafka_conf_create(spec->options, errbuf, sizeof(errbuf));

	if (!conf ||
		!weir_kafka_conf_consumer(conf, spec->group_id, spec->isolation_level,
								  errbuf, sizeof(errbuf)))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("the options of the Kafka server cannot be used"),
				 errdetail("%s", errbuf),
				 errhint("Correct them with ALTER SERVER or ALTER USER MAPPING.")));

	set_budget(conf, spec->options, spec->memory_mb);
	set_number(conf, "statistics.interval.ms", 5000);
	if (rd_kafka_version() >= FETCHES_WITHOUT_NUDGE)
		set_number(conf, "fetch.queue.backoff.ms", NUDGE_MS);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS | RD_KAFKA_EVENT_LOG);
	return conf;
}

/* Starts the client and its threads. */
static void
start_client(WeirConsumer *consumer, const WeirConsumerSpec *spec)
{
	rd_kafka_conf_t *conf = make_conf(spec);
	char		errbuf[WEIR_KAFKA_ERRLEN];

	consumer->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, errbuf, sizeof(errbuf));
	if (!consumer->rk)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not start a Kafka client"),
				 errdetail("%s", errbuf)));
	}
	rd_kafka_set_log_queue(consumer->rk, NULL);
	consumer->main_queue = rd_kafka_queue_get_main(consumer->rk);
	consumer->queue = rd_kafka_queue_get_consumer(consumer->rk);
	rd_kafka_queue_io_event_enable(consumer->main_queue, consumer->pipe[1], "m", 1);
	rd_kafka_queue_io_event_enable(consumer->queue, consumer->pipe[1], "c", 1);
	consumer->topic = rd_kafka_topic_new(consumer->rk, spec->topic, NULL);
	if (!consumer->topic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" cannot be the name of a topic", spec->topic)));
}

/* Opens a consumer that reads nothing yet. */
WeirConsumer *
weir_consumer_open(const WeirConsumerSpec *spec)
{
	WeirConsumer *consumer = MemoryContextAllocZero(TopMemoryContext, sizeof(WeirConsumer));

	consumer->topic_name = MemoryContextStrdup(TopMemoryContext, spec->topic);
	consumer->read_committed = strcmp(spec->isolation_level, "read_committed") == 0;
	consumer->scratch = AllocSetContextCreate(TopMemoryContext, "pg_weir consumer call",
											  ALLOCSET_DEFAULT_SIZES);
	consumer->average = 256;
	open_pipe(consumer);
	on_proc_exit(exit_without_handlers, (Datum) 0);
	start_client(consumer, spec);
	return consumer;
}

/* Puts an error of Kafka into our terms; returns false. */
static bool
describe(WeirConsumer *consumer, WeirKafkaError *error, rd_kafka_resp_err_t err, const char *reason)
{
	MemoryContext old = MemoryContextSwitchTo(consumer->scratch);
	const char *text = weir_kafka_error_text(err, reason);
	const char *hint = weir_kafka_error_hint(err, reason);

	error->sqlstate = weir_kafka_sqlstate(err);
	strlcpy(error->message, text, sizeof(error->message));
	strlcpy(error->hint, hint ? hint : "", sizeof(error->hint));
	MemoryContextSwitchTo(old);
	MemoryContextReset(consumer->scratch);
	return false;
}

/* Did a connection break lately, and say why? */
static bool
has_trouble(const WeirConsumer *consumer)
{
	return consumer->trouble_at != 0 &&
		!TimestampDifferenceExceeds(consumer->trouble_at, GetCurrentTimestamp(), TROUBLE_MS);
}

/*
 * The same for what librdkafka only says in general ("timed out", "all
 * brokers down"): what a connection said lately is more to the point.
 */
static bool
describe_unreachable(WeirConsumer *consumer, WeirKafkaError *error, rd_kafka_resp_err_t err,
					 const char *reason)
{
	if (has_trouble(consumer))
		*error = consumer->trouble;
	else
		describe(consumer, error, err, reason);
	return false;
}

/* Forgets an event that waits. */
static void
forget_event(WeirConsumer *consumer, int i)
{
	consumer->nevents--;
	memmove(consumer->events + i, consumer->events + i + 1,
			sizeof(WeirConsumerEvent) * (consumer->nevents - i));
}

/*
 * Finds room for an event; NULL if it need not be noted.  Of most kinds the
 * last one says it all, so that no flood can wash away that messages were
 * skipped.  Where many partitions are out of range those that find no room
 * say so again, when all are assigned anew.
 */
static WeirConsumerEvent *
room_for_event(WeirConsumer *consumer, WeirConsumerEventKind kind)
{
	for (int i = consumer->nevents - 1; i >= 0 && kind != WEIR_EVENT_OUT_OF_RANGE; i--)
	{
		if (consumer->events[i].kind == kind)
			forget_event(consumer, i);
	}
	if (kind == WEIR_EVENT_OUT_OF_RANGE && consumer->nevents >= MAX_EVENTS - WEIR_EVENT_FATAL - 1)
		return NULL;
	return &consumer->events[consumer->nevents++];
}

/* Notes an event for the worker. */
static void
note_event(WeirConsumer *consumer, WeirConsumerEventKind kind, int32 partition, int64 offset,
		   rd_kafka_resp_err_t err, const char *reason)
{
	WeirConsumerEvent *event = room_for_event(consumer, kind);

	if (!event)
		return;
	memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->partition = partition;
	event->offset = offset;
	if (kind == WEIR_EVENT_UNREACHABLE)
		describe_unreachable(consumer, &event->error, err, reason);
	else if (kind != WEIR_EVENT_HEALTHY)
		describe(consumer, &event->error, err, reason);
}

/* ---- calls that ask a broker ---- */

static void serve_main_queue(WeirConsumer *consumer);

/* Says why a call failed; returns false. */
static bool
fail_call(WeirConsumer *consumer, WeirKafkaError *error, rd_kafka_resp_err_t err)
{
	if (err != RD_KAFKA_RESP_ERR__TIMED_OUT && err != RD_KAFKA_RESP_ERR__TRANSPORT &&
		err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		return describe(consumer, error, err, NULL);
	serve_main_queue(consumer);
	describe_unreachable(consumer, error, err, NULL);
	if (!has_trouble(consumer))
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
	rd_kafka_resp_err_t err;

	err = rd_kafka_metadata(consumer->rk, 0, consumer->topic, &metadata, CALL_TIMEOUT_MS);
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

	/* Several slow answers in a row must not keep the server from stopping. */
	CHECK_FOR_INTERRUPTS();
	list = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
	{
		if (offsets[i] < 0)
			rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i])->offset = starts[i];
	}
	if (list->cnt > 0)
		err = rd_kafka_offsets_for_times(consumer->rk, list, CALL_TIMEOUT_MS);
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

/* ---- reading ---- */

/* Forgets the old partitions and makes room for n new ones. */
static void
reset_partitions(WeirConsumer *consumer, int n, const int32 *partitions)
{
	if (consumer->partitions)
	{
		pfree(consumer->partitions);
		pfree(consumer->by_number);
	}
	consumer->max_number = -1;
	for (int i = 0; i < n; i++)
		consumer->max_number = Max(consumer->max_number, partitions[i]);
	consumer->partitions = MemoryContextAllocZero(TopMemoryContext, sizeof(PartitionState) * Max(n, 1));
	consumer->by_number = MemoryContextAlloc(TopMemoryContext, sizeof(int) * (consumer->max_number + 2));
	for (int i = 0; i <= consumer->max_number; i++)
		consumer->by_number[i] = -1;
	consumer->npartitions = n;
	consumer->nat_end = 0;
}

/* Reads these partitions from these offsets. */
bool
weir_consumer_assign(WeirConsumer *consumer, int n, const int32 *partitions,
					 const int64 *offsets, WeirKafkaError *error)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
	rd_kafka_resp_err_t err;

	reset_partitions(consumer, n, partitions);
	for (int i = 0; i < n; i++)
	{
		PartitionState *state = &consumer->partitions[i];

		state->partition = partitions[i];
		state->next_offset = -1;
		state->after_message = -1;
		state->end_offset = -1;
		state->told_offset = -1;
		state->told_end = -1;
		consumer->by_number[partitions[i]] = i;
		rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i])->offset = offsets[i];
	}
	err = rd_kafka_assign(consumer->rk, list);
	rd_kafka_topic_partition_list_destroy(list);

	/* What happened to partitions before is of no interest any more. */
	consumer->nevents = 0;
	return err ? describe(consumer, error, err, NULL) : true;
}

int
weir_consumer_fd(const WeirConsumer *consumer)
{
	return consumer->pipe[0];
}

/* Empties the pipe. */
void
weir_consumer_drain(WeirConsumer *consumer)
{
	char		bytes[256];

	while (read(consumer->pipe[0], bytes, sizeof(bytes)) == sizeof(bytes))
		;
}

/* Returns what is known of a partition; NULL if we do not read it. */
static PartitionState *
find_partition(WeirConsumer *consumer, int32 partition)
{
	if (partition < 0 || partition > consumer->max_number || consumer->by_number[partition] < 0)
		return NULL;
	return &consumer->partitions[consumer->by_number[partition]];
}

/* Notes that a partition was read to its end. */
static void
reach_end(WeirConsumer *consumer, PartitionState *state, int64 offset)
{
	if (!state->at_end)
	{
		consumer->nat_end++;
		state->at_end_since = GetCurrentTimestamp();
		state->told_idle = false;
	}
	state->at_end = true;
	state->next_offset = Max(state->next_offset, offset);
	state->end_offset = offset;
}

/* Deals with what is on the queue in place of a message. */
static void
take_error(WeirConsumer *consumer, const rd_kafka_message_t *rkm)
{
	PartitionState *state = find_partition(consumer, rkm->partition);
	const char *reason = rd_kafka_message_errstr(rkm);

	switch (rkm->err)
	{
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			if (state)
				reach_end(consumer, state, rkm->offset);
			break;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			note_event(consumer, WEIR_EVENT_OUT_OF_RANGE, rkm->partition, rkm->offset, rkm->err, reason);
			break;
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			note_event(consumer, WEIR_EVENT_TOPIC, rkm->partition, rkm->offset, rkm->err, reason);
			break;
		case RD_KAFKA_RESP_ERR__FATAL:
			note_event(consumer, WEIR_EVENT_FATAL, rkm->partition, rkm->offset, rkm->err, reason);
			break;
		case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			/* About consumer groups, which we do not use. */
			break;
		default:
			/* Above all a bad CRC or compression: librdkafka goes on behind it. */
			note_event(consumer, WEIR_EVENT_SPOILED, rkm->partition, rkm->offset, rkm->err, reason);
			break;
	}
}

/* Fills in a message; the bytes stay librdkafka's. */
static void
fill_message(WeirMessage *message, rd_kafka_message_t *rkm)
{
	rd_kafka_timestamp_type_t type;
	int64		ms = rd_kafka_message_timestamp(rkm, &type);

	message->partition = rkm->partition;
	message->offset = rkm->offset;
	message->has_timestamp = type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && ms != -1;
	message->log_append_time = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
	message->timestamp = 0;
	if (message->has_timestamp)
	{
		/* Any 64-bit number may come; one that is no timestamp of ours is none. */
		if (pg_mul_s64_overflow(ms, 1000, &message->timestamp) ||
			pg_sub_s64_overflow(message->timestamp,
								(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY,
								&message->timestamp) ||
			!IS_VALID_TIMESTAMP(message->timestamp))
			message->has_timestamp = false;
	}
	message->key = rkm->key;
	message->key_len = rkm->key_len;
	message->value = rkm->payload;
	message->value_len = rkm->len;
	message->handle = rkm;
}

/* Notes that a message of a partition was delivered. */
static void
advance(WeirConsumer *consumer, PartitionState *state, int64 offset)
{
	if (state->at_end)
		consumer->nat_end--;
	state->at_end = false;
	state->next_offset = offset + 1;
	state->after_message = offset + 1;
}

/* How many messages to take, so that their size stays about within max_bytes. */
static int
chunk_size(const WeirConsumer *consumer, int max, Size max_bytes)
{
	Size		fitting = max_bytes / Max(consumer->average, 1);

	return Max(1, Min(Min(max, CHUNK), (int) Min(fitting, CHUNK)));
}

/*
 * Makes librdkafka look whether there is room for another fetch: asks the
 * leaders of partitions that are behind for an offset, and does not wait for
 * what they say.
 */
static void
nudge_fetchers(WeirConsumer *consumer)
{
	rd_kafka_topic_partition_list_t *list;
	TimestampTz now = GetCurrentTimestamp();
	int			pace = NUDGE_MS * (1 + consumer->npartitions / 100);

	if (rd_kafka_version() >= FETCHES_WITHOUT_NUDGE ||
		consumer->nat_end == consumer->npartitions ||
		!TimestampDifferenceExceeds(consumer->nudged_at, now, pace) ||
		rd_kafka_queue_length(consumer->queue) > NUDGE_BELOW)
		return;
	consumer->nudged_at = now;
	list = rd_kafka_topic_partition_list_new(consumer->npartitions);
	for (int i = 0; i < consumer->npartitions; i++)
	{
		if (!consumer->partitions[i].at_end)
			rd_kafka_topic_partition_list_add(list, consumer->topic_name,
											  consumer->partitions[i].partition)->offset = WEIR_OFFSET_LATEST;
	}
	(void) rd_kafka_offsets_for_times(consumer->rk, list, NUDGE_TIMEOUT_MS);
	rd_kafka_topic_partition_list_destroy(list);
}

/* Takes at most max messages and about max_bytes. */
int
weir_consumer_poll(WeirConsumer *consumer, WeirMessage *messages, int max, Size max_bytes)
{
	int			n = 0;
	Size		bytes = 0;

	while (n < max && bytes < max_bytes)
	{
		int			wanted = chunk_size(consumer, max - n, max_bytes - bytes);
		Size		before = bytes;
		int			n_before = n;
		ssize_t		got = rd_kafka_consume_batch_queue(consumer->queue, 0, consumer->chunk, wanted);

		if (got <= 0)
			break;
		for (ssize_t i = 0; i < got; i++)
		{
			rd_kafka_message_t *rkm = consumer->chunk[i];
			PartitionState *state = find_partition(consumer, rkm->partition);

			if (rkm->err || !state)
			{
				if (rkm->err)
					take_error(consumer, rkm);
				rd_kafka_message_destroy(rkm);
				continue;
			}
			advance(consumer, state, rkm->offset);
			bytes += rkm->len + rkm->key_len;
			fill_message(&messages[n++], rkm);
		}
		if (n > n_before)
			consumer->average = (consumer->average * 3 + (bytes - before) / (n - n_before)) / 4;
	}
	if (n > 0)
		nudge_fetchers(consumer);
	return n;
}

/* Gives messages back to librdkafka. */
void
weir_consumer_release(WeirMessage *messages, int n)
{
	for (int i = 0; i < n; i++)
		rd_kafka_message_destroy(messages[i].handle);
}

/* Returns the headers of a message. */
WeirHeader *
weir_consumer_headers(const WeirMessage *message, int *nheaders)
{
	rd_kafka_headers_t *headers;
	WeirHeader *result;

	*nheaders = 0;
	if (rd_kafka_message_headers(message->handle, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return NULL;
	result = palloc(sizeof(WeirHeader) * Max(rd_kafka_header_cnt(headers), 1));
	for (;;)
	{
		const void *value;
		size_t		size;
		WeirHeader *header = &result[*nheaders];

		if (rd_kafka_header_get_all(headers, *nheaders, &header->name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		header->value = value;
		header->value_len = size;
		(*nheaders)++;
	}
	return result;
}

/* The last stable offset as far as we know: at least what we have read. */
static int64
known_end(const PartitionState *state)
{
	return Max(state->end_offset, state->next_offset);
}

/* Is more known of a partition than its messages say and was told before? */
static bool
has_news(const PartitionState *state)
{
	return state->next_offset > Max(state->told_offset, state->after_message) ||
		known_end(state) != state->told_end;
}

/* Is there something that weir_consumer_positions() would write, beside messages? */
bool
weir_consumer_has_news(const WeirConsumer *consumer)
{
	for (int i = 0; i < consumer->npartitions; i++)
	{
		if (has_news(&consumer->partitions[i]))
			return true;
	}
	return false;
}

/*
 * Learns of the end of a partition while statistics say nothing newer: the
 * high watermark of the last fetch, which may be beyond the last stable offset.
 */
static void
guess_end(WeirConsumer *consumer, PartitionState *state)
{
	int64		low;
	int64		high;

	if (state->at_end || state->end_offset >= state->next_offset)
		return;
	if (rd_kafka_get_watermark_offsets(consumer->rk, consumer->topic_name, state->partition,
									   &low, &high) == RD_KAFKA_RESP_ERR_NO_ERROR)
		state->end_offset = high;
}

/* Writes where the partitions stand that have moved or of which something new is known. */
int
weir_consumer_positions(WeirConsumer *consumer, WeirPosition *positions)
{
	int			n = 0;

	for (int i = 0; i < consumer->npartitions; i++)
	{
		PartitionState *state = &consumer->partitions[i];

		guess_end(consumer, state);
		if (state->next_offset == state->told_offset && known_end(state) == state->told_end)
			continue;
		positions[n].partition = state->partition;
		positions[n].next_offset = state->next_offset;
		positions[n].end_offset = known_end(state);
		state->told_offset = positions[n].next_offset;
		state->told_end = positions[n].end_offset;
		n++;
	}
	return n;
}

/* Lists the partitions that seem to be idle and were not told yet. */
static int
seem_idle(const WeirConsumer *consumer, int64 timeout, int32 *partitions)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	for (int i = 0; i < consumer->npartitions && consumer->nat_end > 0; i++)
	{
		const PartitionState *state = &consumer->partitions[i];

		if (state->at_end && !state->told_idle && now - state->at_end_since >= timeout)
			partitions[n++] = state->partition;
	}
	return n;
}

/*
 * Writes the partitions that have been at their end for long and were not
 * told yet.  The broker is asked: a silent one may have more for us.
 */
int
weir_consumer_idle(WeirConsumer *consumer, int64 timeout, int32 *partitions)
{
	int			nseem = seem_idle(consumer, timeout, partitions);
	int			n = 0;
	int64	   *ends;
	int64	   *latest;
	WeirKafkaError error;

	if (nseem == 0)
		return 0;
	ends = palloc(sizeof(int64) * nseem);
	latest = palloc(sizeof(int64) * nseem);
	for (int i = 0; i < nseem; i++)
		latest[i] = WEIR_OFFSET_LATEST;
	if (weir_consumer_resolve(consumer, nseem, partitions, latest, ends, &error))
	{
		for (int i = 0; i < nseem; i++)
		{
			PartitionState *state = find_partition(consumer, partitions[i]);

			state->told_idle = ends[i] <= state->next_offset;
			if (state->told_idle)
				partitions[n++] = partitions[i];
			else
				state->at_end_since = GetCurrentTimestamp();
		}
	}
	pfree(ends);
	pfree(latest);
	return n;
}

/* Have all partitions been read to their ends? */
bool
weir_consumer_at_end(const WeirConsumer *consumer)
{
	return consumer->nat_end == consumer->npartitions;
}

/* ---- the main queue ---- */

/* Takes note of a partition's end as the statistics have it. */
static void
learn_end_offset(void *arg, int32 partition, int64 end_offset)
{
	PartitionState *state = find_partition(arg, partition);

	if (state && end_offset >= state->next_offset)
		state->end_offset = end_offset;
}

/* Judges the statistics: well, or which broker is not. */
static void
take_statistics(WeirConsumer *consumer, const char *statistics)
{
	MemoryContext old = MemoryContextSwitchTo(consumer->scratch);
	WeirHealth	health;
	char		reason[WEIR_KAFKA_TEXT_LEN];

	weir_health_read(statistics, consumer->topic_name, consumer->read_committed,
					 &health, learn_end_offset, consumer);
	MemoryContextSwitchTo(old);
	MemoryContextReset(consumer->scratch);

	if (health.unwell > 0)
	{
		WeirConsumerEvent *event;

		note_event(consumer, WEIR_EVENT_SILENT, -1, -1, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
		if (health.down)
			snprintf(reason, sizeof(reason), "broker %s is not connected", health.broker);
		else
			snprintf(reason, sizeof(reason), "broker %s has not answered for more than %d seconds",
					 health.broker, (int) (WEIR_SILENCE_US / 1000000));
		event = &consumer->events[consumer->nevents - 1];
		strlcpy(event->error.message, reason, sizeof(event->error.message));
	}
	else if (health.leaders > 0)
		note_event(consumer, WEIR_EVENT_HEALTHY, -1, -1, 0, NULL);
}

/* Writes a log line of librdkafka's to the server log, but not too many. */
static void
take_log(WeirConsumer *consumer, rd_kafka_event_t *rkev)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *facility;
	const char *text;
	int			level;

	if (rd_kafka_event_log(rkev, &facility, &text, &level) != 0)
		return;
	if (now - consumer->log_minute > USECS_PER_MINUTE)
	{
		if (consumer->nlogs > MAX_LOGS)
			ereport(LOG,
					(errmsg("%d more messages of the Kafka client were not logged",
							consumer->nlogs - MAX_LOGS)));
		consumer->log_minute = now;
		consumer->nlogs = 0;
	}
	if (consumer->nlogs++ < MAX_LOGS)
		ereport(LOG, (errmsg("Kafka client: %s", text)));
}

/* Keeps the words of a connection that broke. */
static void
note_trouble(WeirConsumer *consumer, rd_kafka_resp_err_t err, const char *reason)
{
	describe(consumer, &consumer->trouble, err, reason);
	consumer->trouble_at = GetCurrentTimestamp();
}

/* Notes an error of the client or its connections. */
static void
take_client_error(WeirConsumer *consumer, rd_kafka_event_t *rkev)
{
	rd_kafka_resp_err_t err = rd_kafka_event_error(rkev);
	const char *reason = rd_kafka_event_error_string(rkev);
	char		fatal[WEIR_KAFKA_ERRLEN];

	if (rd_kafka_event_error_is_fatal(rkev) || err == RD_KAFKA_RESP_ERR__FATAL)
	{
		err = rd_kafka_fatal_error(consumer->rk, fatal, sizeof(fatal));
		note_event(consumer, WEIR_EVENT_FATAL, -1, -1, err, fatal);
		return;
	}
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__RESOLVE:
			/* One broker, or one address: no more than a reason, if all are down. */
			note_trouble(consumer, err, reason);
			break;
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
			note_trouble(consumer, err, reason);
			note_event(consumer, WEIR_EVENT_UNREACHABLE, -1, -1, err, reason);
			break;
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			note_event(consumer, WEIR_EVENT_UNREACHABLE, -1, -1, err, reason);
			break;
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			note_event(consumer, WEIR_EVENT_TOPIC, -1, -1, err, reason);
			break;
		default:
			/* Passing trouble, which librdkafka deals with and logs. */
			break;
	}
}

/* Empties the main queue. */
static void
serve_main_queue(WeirConsumer *consumer)
{
	rd_kafka_event_t *rkev;

	while ((rkev = rd_kafka_queue_poll(consumer->main_queue, 0)) != NULL)
	{
		switch (rd_kafka_event_type(rkev))
		{
			case RD_KAFKA_EVENT_ERROR:
				take_client_error(consumer, rkev);
				break;
			case RD_KAFKA_EVENT_STATS:
				take_statistics(consumer, rd_kafka_event_stats(rkev));
				break;
			case RD_KAFKA_EVENT_LOG:
				take_log(consumer, rkev);
				break;
			default:
				break;
		}
		rd_kafka_event_destroy(rkev);
	}
}

/* Takes the next event. */
bool
weir_consumer_event(WeirConsumer *consumer, WeirConsumerEvent *event)
{
	serve_main_queue(consumer);
	if (consumer->nevents == 0)
		return false;
	*event = consumer->events[0];
	forget_event(consumer, 0);
	return true;
}
