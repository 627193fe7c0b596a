/*
 * consumer.h
 *	  Reading a topic with librdkafka.
 *
 * A consumer reads the partitions it was told to from the offsets it was
 * told, and keeps no position of its own anywhere; what it commits to a group
 * when it is told to, nobody reads.  What it delivers stays in
 * librdkafka's memory until it is released.  It never waits, but in
 * weir_consumer_topic(), weir_consumer_resolve() and weir_consumer_idle(), and
 * there for a second at most.
 *
 * Floor 2.  Of the steps consumer.c alone includes rdkafka.h.
 */
#ifndef WEIR_CONSUMER_H
#define WEIR_CONSUMER_H

#include "batch.h"
#include "nodes/pg_list.h"

typedef struct WeirConsumer WeirConsumer;

typedef struct WeirConsumerSpec
{
	List	   *options;		/* of WeirKafkaOption */
	const char *topic;
	const char *group_id;		/* what weir_consumer_commit() commits to */
	const char *isolation_level;
	int			memory_mb;		/* for everything fetched and not yet released */
} WeirConsumerSpec;

#define WEIR_KAFKA_TEXT_LEN 512

/* What went wrong, in PostgreSQL's terms. */
typedef struct WeirKafkaError
{
	int			sqlstate;
	char		message[WEIR_KAFKA_TEXT_LEN];
	char		hint[WEIR_KAFKA_TEXT_LEN];	/* empty: none */
} WeirKafkaError;

/* What happens beside messages. */
typedef enum WeirConsumerEventKind
{
	WEIR_EVENT_HEALTHY,			/* every broker we read from answers */
	WEIR_EVENT_SILENT,			/* one of them has been silent for too long, or is down */
	WEIR_EVENT_UNREACHABLE,		/* no broker can be reached, or none lets us in */
	WEIR_EVENT_OUT_OF_RANGE,	/* the offset of a partition is not there; it delivers nothing more */
	WEIR_EVENT_REPLACED,		/* another message is where the partition's mark is; it delivers nothing more */
	WEIR_EVENT_TOPIC,			/* the topic or a partition of it is gone or forbidden */
	WEIR_EVENT_SPOILED,			/* messages were skipped: assign again before applying anything */
	WEIR_EVENT_FATAL			/* the client is of no use any more */
} WeirConsumerEventKind;

typedef struct WeirConsumerEvent
{
	WeirConsumerEventKind kind;
	bool		partly;			/* of WEIR_EVENT_SILENT: others that we read from are well */
	int32		partition;		/* of WEIR_EVENT_OUT_OF_RANGE and WEIR_EVENT_REPLACED */
	int64		offset;
	WeirKafkaError error;		/* empty with WEIR_EVENT_HEALTHY */
} WeirConsumerEvent;

typedef struct WeirTopicInfo
{
	bool		exists;
	int			npartitions;	/* numbered from 0 */
	char		cluster_id[128];	/* empty: unknown */
	char		hint[WEIR_KAFKA_TEXT_LEN];	/* topics with a similar name; empty: none */
} WeirTopicInfo;

/* Where to start, beside a time in milliseconds since 1970. */
#define WEIR_OFFSET_LATEST		INT64CONST(-1)
#define WEIR_OFFSET_EARLIEST	INT64CONST(-2)

/*
 * Opens a consumer that reads nothing yet.  Throws if the options are of no
 * use; whether there is a broker shows later.  From now on this process
 * leaves without running exit handlers, which would race with librdkafka's
 * threads; so only a background worker may call this.
 */
extern WeirConsumer *weir_consumer_open(const WeirConsumerSpec *spec);

/* Looks the topic up; false: could not, see *error. */
extern bool weir_consumer_topic(WeirConsumer *consumer, WeirTopicInfo *info, WeirKafkaError *error);

/*
 * Finds the offsets at which to start: starts[i] is a time, WEIR_OFFSET_EARLIEST
 * or WEIR_OFFSET_LATEST.  False: could not, see *error.
 */
extern bool weir_consumer_resolve(WeirConsumer *consumer, int n, const int32 *partitions,
								  const int64 *starts, int64 *offsets, WeirKafkaError *error);

/*
 * Reads these partitions from these offsets, and no others.  What was
 * fetched before is forgotten, but for messages that have been delivered.
 * Where marks says what stood before an offset (NULL: nowhere), reading begins
 * there, to see whether it still does.
 */
extern bool weir_consumer_assign(WeirConsumer *consumer, int n, const int32 *partitions,
								 const int64 *offsets, const WeirMark *marks, WeirKafkaError *error);

/* Becomes readable when something arrives; drain it, then poll until there is nothing more. */
extern int	weir_consumer_fd(const WeirConsumer *consumer);
extern void weir_consumer_drain(WeirConsumer *consumer);

/* Takes at most max messages and about max_bytes; 0: there are none now. */
extern int	weir_consumer_poll(WeirConsumer *consumer, WeirMessage *messages, int max, Size max_bytes);

/* Gives messages back; their bytes are gone then. */
extern void weir_consumer_release(WeirMessage *messages, int n);
extern WeirHeader *weir_consumer_headers(const WeirMessage *message, int *nheaders);

/* Takes the next event; false: there is none. */
extern bool weir_consumer_event(WeirConsumer *consumer, WeirConsumerEvent *event);

/* Brings the error of WEIR_EVENT_UNREACHABLE up to date with what connections have said since. */
extern void weir_consumer_renew_error(const WeirConsumer *consumer, WeirKafkaError *error);

/*
 * Writes where the partitions stand that have moved, or of which something
 * new is known, since the last call; counts all messages polled.  positions
 * has room for every partition.  has_news: is there something beside messages?
 */
extern bool weir_consumer_has_news(const WeirConsumer *consumer);
extern int	weir_consumer_positions(WeirConsumer *consumer, WeirPosition *positions);

/*
 * Writes the partitions that have been at their end for so long (in
 * microseconds), as the broker confirms, and have not been told since; returns
 * their number.
 */
extern int	weir_consumer_idle(WeirConsumer *consumer, int64 timeout, int32 *partitions);

/* What has become of the last commit to the consumer's group. */
typedef enum WeirCommit
{
	WEIR_COMMIT_NONE,			/* there was none */
	WEIR_COMMIT_SENT,
	WEIR_COMMIT_DONE,
	WEIR_COMMIT_FAILED
} WeirCommit;

/*
 * Commits offsets to the group, and does not wait for the answer; it comes
 * while weir_consumer_event() is called.
 */
extern void weir_consumer_commit(WeirConsumer *consumer, int n, const int32 *partitions, const int64 *offsets);
extern WeirCommit weir_consumer_committed(const WeirConsumer *consumer, WeirKafkaError *error);

/* Have all partitions been read to their ends? */
extern bool weir_consumer_at_end(const WeirConsumer *consumer);

#endif							/* WEIR_CONSUMER_H */
