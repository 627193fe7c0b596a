/*
 * consumer_serve.c
 *	  The consumer's main queue: errors of connections, statistics, logs.
 */
#include "postgres.h"

#include "consumer_private.h"
#include "health.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Log lines a minute; more are counted only. */
#define MAX_LOGS 20

/* Takes note of a partition's end as the statistics have it. */
static void
learn_end_offset(void *arg, int32 partition, int64 end_offset)
{
	PartitionState *state = weir_consumer_find_partition(arg, partition);

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

		weir_consumer_note_event(consumer, WEIR_EVENT_SILENT, -1, -1, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
		if (health.down)
			snprintf(reason, sizeof(reason), "broker %s is not connected", health.broker);
		else
			snprintf(reason, sizeof(reason), "broker %s has not answered for more than %d seconds",
					 health.broker, (int) (WEIR_SILENCE_US / 1000000));
		event = &consumer->events[consumer->nevents - 1];
		strlcpy(event->error.message, reason, sizeof(event->error.message));
		strlcpy(event->error.hint, "Is the broker up? If it is gone for good, its partitions need another leader.",
				sizeof(event->error.hint));
		event->partly = health.unwell < health.leaders;
	}
	else if (health.leaders > 0)
		weir_consumer_note_event(consumer, WEIR_EVENT_HEALTHY, -1, -1, 0, NULL);
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
	/* A second connection to some broker, for consumer groups, which we do not use. */
	if (strncmp(reason, "GroupCoordinator: ", strlen("GroupCoordinator: ")) == 0)
		return;
	/* What went wrong is followed by a mere disconnection: keep what says more. */
	if (weir_consumer_has_trouble(consumer) && strstr(reason, ": Disconnected (after"))
		return;
	weir_consumer_describe(consumer, &consumer->trouble, err, reason);
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
		weir_consumer_note_event(consumer, WEIR_EVENT_FATAL, -1, -1, err, fatal);
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
			weir_consumer_note_event(consumer, WEIR_EVENT_UNREACHABLE, -1, -1, err, reason);
			break;
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			weir_consumer_note_event(consumer, WEIR_EVENT_UNREACHABLE, -1, -1, err, reason);
			break;
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			weir_consumer_note_event(consumer, WEIR_EVENT_TOPIC, -1, -1, err, reason);
			break;
		default:
			/* Passing trouble, which librdkafka deals with and logs. */
			break;
	}
}

/* Empties the main queue. */
void
weir_consumer_serve_main_queue(WeirConsumer *consumer)
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
			case RD_KAFKA_EVENT_OFFSET_COMMIT:
				weir_consumer_take_commit(consumer, rkev);
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
	weir_consumer_serve_main_queue(consumer);
	if (consumer->nevents == 0)
		return false;
	*event = consumer->events[0];
	weir_consumer_forget_event(consumer, 0);
	return true;
}
