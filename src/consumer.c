/*
 * consumer.c
 *	  Reading a topic with librdkafka: the client itself, and what is said of
 *	  its faults.
 *
 * Two queues: the consumer's brings messages, ends of partitions and what
 * went wrong with a partition (consumer_read.c); the main one brings errors of
 * connections, statistics and logs (consumer_serve.c).  Both write into one
 * pipe when they become non-empty, so that the worker can sleep on it beside
 * its latch.  consumer_ask.c asks brokers and waits for what they say;
 * consumer_commit.c tells them offsets.
 *
 * No callbacks bring anything: librdkafka would call them from its threads or
 * under its locks, where ereport() must never happen.  (consumer_threads.c has
 * some that bring nothing.)  What to do about anything
 * that is reported here is worker.c's to decide.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "consumer_private.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * How long a fetch waits at the broker where nothing comes.  A message ends it
 * at once, but until then the broker answers nothing else on that connection:
 * it must be less than the calls of consumer_ask.c together wait for an answer.
 */
#define FETCH_WAIT_MS 1700

/* How often librdkafka says how it is: brokers are judged by that, and unread ends known. */
#define STATISTICS_MS 10000

/*
 * How long the words of a broken connection explain that there is none:
 * librdkafka repeats them every 30 seconds only.
 */
#define TROUBLE_MS 45000

/* Descriptors that librdkafka opens: a socket and a pipe for each of few brokers. */
#define EXTERNAL_FDS 8

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

/* Sets a bound, and returns it; what the server's options say may only be less. */
static int64
set_bound(rd_kafka_conf_t *conf, List *options, const char *name, int64 bound)
{
	const char *chosen = weir_kafka_option_value(options, name);

	if (chosen)
		bound = Min(strtoll(chosen, NULL, 10), bound);
	set_number(conf, name, bound);
	return bound;
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

	(void) set_bound(conf, options, "queued.max.messages.kbytes", Min(bytes / 2 / 1024, 2097151));
	(void) set_bound(conf, options, "fetch.max.bytes", fetch);
	(void) set_bound(conf, options, "max.partition.fetch.bytes", fetch);
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
	set_number(conf, "statistics.interval.ms", STATISTICS_MS);
	weir_consumer_calm_threads(conf, set_bound(conf, spec->options, "fetch.wait.max.ms", FETCH_WAIT_MS));
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
	/* Until some are seen messages may be huge. */
	consumer->average = 16 * 1024 * 1024;
	/* statistics and errors may name partitions before any are assigned */
	consumer->max_number = -1;
	open_pipe(consumer);
	on_proc_exit(exit_without_handlers, (Datum) 0);
	start_client(consumer, spec);
	return consumer;
}

/* Puts an error of Kafka into our terms; returns false. */
bool
weir_consumer_describe(WeirConsumer *consumer, WeirKafkaError *error, rd_kafka_resp_err_t err, const char *reason)
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
bool
weir_consumer_has_trouble(const WeirConsumer *consumer)
{
	return consumer->trouble_at != 0 &&
		!TimestampDifferenceExceeds(consumer->trouble_at, GetCurrentTimestamp(), TROUBLE_MS);
}

/* Gives an error of connections that has no hint a general one. */
static void
hint_at_reach(WeirKafkaError *error)
{
	if (error->hint[0] == '\0')
		strlcpy(error->hint, "Are the brokers up, and can this machine reach them? weir.test_server says more.",
				sizeof(error->hint));
}

/*
 * The same as weir_consumer_describe() for what librdkafka only says in general ("timed out", "all
 * brokers down"): what a connection said lately is more to the point.
 */
bool
weir_consumer_describe_unreachable(WeirConsumer *consumer, WeirKafkaError *error, rd_kafka_resp_err_t err,
					 const char *reason)
{
	if (weir_consumer_has_trouble(consumer))
		*error = consumer->trouble;
	else
		weir_consumer_describe(consumer, error, err, reason);
	hint_at_reach(error);
	return false;
}

/* Brings the error of WEIR_EVENT_UNREACHABLE up to date with what connections have said since. */
void
weir_consumer_renew_error(const WeirConsumer *consumer, WeirKafkaError *error)
{
	if (!weir_consumer_has_trouble(consumer))
		return;
	*error = consumer->trouble;
	hint_at_reach(error);
}

/* Forgets an event that waits. */
void
weir_consumer_forget_event(WeirConsumer *consumer, int i)
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
			weir_consumer_forget_event(consumer, i);
	}
	if (kind == WEIR_EVENT_OUT_OF_RANGE && consumer->nevents >= MAX_EVENTS - WEIR_EVENT_FATAL - 1)
		return NULL;
	return &consumer->events[consumer->nevents++];
}

/* Notes an event for the worker. */
void
weir_consumer_note_event(WeirConsumer *consumer, WeirConsumerEventKind kind, int32 partition, int64 offset,
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
		weir_consumer_describe_unreachable(consumer, &event->error, err, reason);
	else if (kind != WEIR_EVENT_HEALTHY)
		weir_consumer_describe(consumer, &event->error, err, reason);
}
