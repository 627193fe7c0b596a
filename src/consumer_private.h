/*
 * consumer_private.h
 *	  What the files of the consumer share: its state, and the events and
 *	  errors that several of them report.
 *
 * For consumer*.c alone.
 */
#ifndef WEIR_CONSUMER_PRIVATE_H
#define WEIR_CONSUMER_PRIVATE_H

#include "postgres.h"

#include "consumer.h"
#include "kafka_client.h"

/* Messages taken from the queue at once. */
#define CHUNK 1000

/* Events that may wait for the worker: one of each kind, and some partitions out of range. */
#define MAX_EVENTS 32

/*
 * Up to 2.1 librdkafka looks only once a second whether a queue that was full
 * has room again, which would cap a worker at a queue's worth a second.  Any
 * request makes it look; this often at most is one sent for that alone, and
 * not where polls have got less than they wanted for longer than it takes
 * librdkafka to look by itself: no queue was full then.
 */
#define NUDGE_MS 10
#define NUDGE_FOR_MS 1500
#define FETCHES_WITHOUT_NUDGE 0x02020000	/* rd_kafka_version() */

/* What is known of a partition. */
typedef struct PartitionState
{
	int32		partition;
	int64		resume_at;		/* nothing below is delivered */
	WeirMark	mark;			/* what was there, below that; offset -1: not known */
	bool		replaced;		/* something else is there: nothing is delivered */
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
	TimestampTz filled_at;		/* when a poll last got all that it wanted */
	rd_kafka_message_t *chunk[CHUNK];

	WeirConsumerEvent events[MAX_EVENTS];
	int			nevents;

	WeirKafkaError trouble;		/* of a connection, in the broker's or system's words */
	TimestampTz trouble_at;

	WeirCommit	commit;			/* the last one */
	WeirKafkaError commit_error;

	TimestampTz log_minute;
	int			nlogs;
};

/* Puts an error of Kafka into our terms; returns false. */
extern bool weir_consumer_describe(WeirConsumer *consumer, WeirKafkaError *error,
								   rd_kafka_resp_err_t err, const char *reason);

/* Did a connection break lately, and say why? */
extern bool weir_consumer_has_trouble(const WeirConsumer *consumer);

/* The same for a broker that cannot be reached, with the reason its connection gave. */
extern bool weir_consumer_describe_unreachable(WeirConsumer *consumer, WeirKafkaError *error,
											   rd_kafka_resp_err_t err, const char *reason);

/* Forgets an event that is not true any more. */
extern void weir_consumer_forget_event(WeirConsumer *consumer, int i);

/* Keeps an event for the worker to take. */
extern void weir_consumer_note_event(WeirConsumer *consumer, WeirConsumerEventKind kind,
									 int32 partition, int64 offset,
									 rd_kafka_resp_err_t err, const char *reason);

/* What is known of a partition; NULL if it is not one of ours. */
extern PartitionState *weir_consumer_find_partition(WeirConsumer *consumer, int32 partition);

/*
 * Has the threads of a client to be sleep as soundly as they can.  Fetches
 * wait at the broker for so long where nothing comes.
 */
extern void weir_consumer_calm_threads(rd_kafka_conf_t *conf, int longest_fetch_ms);

/* Takes the answer to a commit. */
extern void weir_consumer_take_commit(WeirConsumer *consumer, rd_kafka_event_t *rkev);

/* Takes in errors of connections, statistics and logs. */
extern void weir_consumer_serve_main_queue(WeirConsumer *consumer);

#endif							/* WEIR_CONSUMER_PRIVATE_H */
