/*
 * consumer_read.c
 *	  The consumer reads: messages, ends of partitions, positions.
 */
#include "postgres.h"

#include <unistd.h>

#include "common/int.h"
#include "consumer_private.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Messages queued; librdkafka fetches below 100,000. */
#define NUDGE_BELOW 90000
#define NUDGE_TIMEOUT_MS 1

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
					 const int64 *offsets, const WeirMark *marks, WeirKafkaError *error)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
	rd_kafka_resp_err_t err;

	reset_partitions(consumer, n, partitions);
	for (int i = 0; i < n; i++)
	{
		PartitionState *state = &consumer->partitions[i];

		state->partition = partitions[i];
		state->resume_at = offsets[i];
		state->mark.offset = -1;
		if (marks && marks[i].offset < offsets[i])
			state->mark = marks[i];
		state->next_offset = -1;
		state->after_message = -1;
		state->end_offset = -1;
		state->told_offset = -1;
		state->told_end = -1;
		consumer->by_number[partitions[i]] = i;
		rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i])->offset =
			state->mark.offset >= 0 ? state->mark.offset : offsets[i];
	}
	err = rd_kafka_assign(consumer->rk, list);
	rd_kafka_topic_partition_list_destroy(list);

	/* What happened to partitions before is of no interest any more. */
	consumer->nevents = 0;
	return err ? weir_consumer_describe(consumer, error, err, NULL) : true;
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
PartitionState *
weir_consumer_find_partition(WeirConsumer *consumer, int32 partition)
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
	PartitionState *state = weir_consumer_find_partition(consumer, rkm->partition);
	const char *reason = rd_kafka_message_errstr(rkm);

	switch (rkm->err)
	{
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			if (state && rkm->offset == state->mark.offset)
				weir_consumer_note_event(consumer, WEIR_EVENT_OUT_OF_RANGE, rkm->partition, rkm->offset, rkm->err, reason);
			else if (state)
				reach_end(consumer, state, rkm->offset);
			break;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			weir_consumer_note_event(consumer, WEIR_EVENT_OUT_OF_RANGE, rkm->partition, rkm->offset, rkm->err, reason);
			break;
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			weir_consumer_note_event(consumer, WEIR_EVENT_TOPIC, rkm->partition, rkm->offset, rkm->err, reason);
			break;
		case RD_KAFKA_RESP_ERR__FATAL:
			weir_consumer_note_event(consumer, WEIR_EVENT_FATAL, rkm->partition, rkm->offset, rkm->err, reason);
			break;
		case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			/* About consumer groups, of which we are no member. */
			break;
		default:
			/* Above all a bad CRC or compression: librdkafka goes on behind it. */
			weir_consumer_note_event(consumer, WEIR_EVENT_SPOILED, rkm->partition, rkm->offset, rkm->err, reason);
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
	message->was_duplicate = false;
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

/*
 * Is a message to be delivered?  Not if it is there for the sake of the mark
 * alone, which it is compared with, nor what follows something else there.
 */
static bool
is_new(WeirConsumer *consumer, PartitionState *state, rd_kafka_message_t *rkm)
{
	WeirMessage message;

	if (rkm->offset >= state->resume_at || state->replaced)
		return !state->replaced;
	if (rkm->offset != state->mark.offset)
		return false;
	fill_message(&message, rkm);
	state->replaced = weir_mark_of(&message).crc != state->mark.crc;
	if (state->replaced)
		weir_consumer_note_event(consumer, WEIR_EVENT_REPLACED, rkm->partition, rkm->offset,
								 RD_KAFKA_RESP_ERR__BAD_MSG, NULL);
	return false;
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
		TimestampDifferenceExceeds(consumer->filled_at, now, NUDGE_FOR_MS) ||
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
			PartitionState *state = weir_consumer_find_partition(consumer, rkm->partition);

			if (rkm->err || !state || !is_new(consumer, state, rkm))
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
	if (n >= max || bytes >= max_bytes)
		consumer->filled_at = GetCurrentTimestamp();
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
			PartitionState *state = weir_consumer_find_partition(consumer, partitions[i]);

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
