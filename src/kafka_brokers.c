/*
 * kafka_brokers.c
 *	  Knows which brokers a client of librdkafka is connected to, and why it
 *	  is not to others.
 *
 * librdkafka tells both in passing: failures are events, the states of
 * connections are in its statistics.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "fmgr.h"
#include "kafka_brokers.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * How long all brokers must have failed before we believe it: a name may have
 * several addresses, and librdkafka tries one at a time.
 */
#define GRACE_MS 700

/* Finds a broker by its address. */
static WeirBroker *
find_broker(WeirBrokers *brokers, const char *address)
{
	ListCell   *lc;

	foreach(lc, brokers->list)
	{
		WeirBroker *broker = lfirst(lc);

		if (strcmp(broker->address, address) == 0)
			return broker;
	}
	return NULL;
}

/* Adds a broker, unless it is known by that address. */
WeirBroker *
weir_brokers_add(WeirBrokers *brokers, const char *address)
{
	WeirBroker *broker = find_broker(brokers, address);

	if (broker)
		return broker;
	broker = palloc0(sizeof(WeirBroker));
	broker->address = pstrdup(address);
	broker->id = -1;
	brokers->list = lappend(brokers->list, broker);
	return broker;
}

/* Is there a connection to the broker that has gone through all its handshakes? */
bool
weir_broker_is_up(const WeirBroker *broker)
{
	return strcmp(broker->state, "UP") == 0 || strcmp(broker->state, "UPDATE") == 0;
}

/* Remembers what an error says about its broker. */
static void
note_error(WeirBrokers *brokers, rd_kafka_resp_err_t err, const char *reason)
{
	char	   *address = weir_kafka_error_broker(reason);
	WeirBroker *broker = address ? find_broker(brokers, address) : NULL;

	if (broker == NULL)
		return;

	/*
	 * A rejected handshake or login is followed by a mere disconnection: keep
	 * what says more.
	 */
	if (broker->reason && strstr(reason, ": Disconnected (after"))
		return;
	broker->err = err;
	broker->reason = MemoryContextStrdup(GetMemoryChunkContext(broker), reason);
}

/* Looks up a string in a JSON object; false if it is not there. */
static bool
json_string(JsonbContainer *object, const char *key, char *buf, Size len)
{
	JsonbValue	value;

	if (!getKeyJsonValueFromContainer(object, key, strlen(key), &value) ||
		value.type != jbvString)
		return false;
	snprintf(buf, len, "%.*s", value.val.string.len, value.val.string.val);
	return true;
}

/* Takes the state of each broker out of librdkafka's statistics. */
static void
note_statistics(WeirBrokers *brokers, const char *json)
{
	Jsonb	   *statistics = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	JsonbValue	all;
	JsonbValue	item;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (!getKeyJsonValueFromContainer(&statistics->root, "brokers", strlen("brokers"), &all) ||
		all.type != jbvBinary)
		return;
	it = JsonbIteratorInit(all.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		char		address[512];
		WeirBroker *broker;

		if (token != WJB_VALUE || item.type != jbvBinary ||
			!json_string(item.val.binary.data, "nodename", address, sizeof(address)))
			continue;
		broker = find_broker(brokers, address);
		if (broker)
			(void) json_string(item.val.binary.data, "state", broker->state, sizeof(broker->state));
	}
}

/* Takes in all events there are. */
void
weir_brokers_drain(WeirBrokers *brokers)
{
	MemoryContext old = MemoryContextSwitchTo(brokers->scratch);
	rd_kafka_event_t *event;
	char		buf[64];

	/* first the pipe, then the queue: the pipe is written when an empty queue fills */
	while (read(brokers->pipe[0], buf, sizeof(buf)) > 0)
		;
	while ((event = rd_kafka_queue_poll(brokers->queue, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			note_error(brokers, rd_kafka_event_error(event), rd_kafka_event_error_string(event));
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_STATS)
			note_statistics(brokers, rd_kafka_event_stats(event));
		rd_kafka_event_destroy(event);
		MemoryContextReset(brokers->scratch);
	}
	MemoryContextSwitchTo(old);
}

/* Sleeps until there are events, at most until a time. */
void
weir_brokers_sleep(WeirBrokers *brokers, TimestampTz until)
{
	long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

	(void) WaitLatchOrSocket(MyLatch,
							 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 brokers->pipe[0], ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	weir_brokers_drain(brokers);
}

/* Is there a broker to talk to? */
bool
weir_brokers_any_up(WeirBrokers *brokers)
{
	ListCell   *lc;

	foreach(lc, brokers->list)
	{
		if (weir_broker_is_up(lfirst(lc)))
			return true;
	}
	return false;
}

/* Is every broker up, or has failed? */
bool
weir_brokers_all_settled(WeirBrokers *brokers)
{
	ListCell   *lc;

	foreach(lc, brokers->list)
	{
		WeirBroker *broker = lfirst(lc);

		if (!weir_broker_is_up(broker) && broker->reason == NULL)
			return false;
	}
	return true;
}

/* Are all brokers we know of connected? */
bool
weir_brokers_all_up(WeirBrokers *brokers)
{
	ListCell   *lc;

	foreach(lc, brokers->list)
	{
		if (!weir_broker_is_up(lfirst(lc)))
			return false;
	}
	return true;
}

/*
 * Waits for the connections: until enough is true, or all brokers have been
 * settled for the grace period, or it is time.
 */
void
weir_brokers_wait(WeirBrokers *brokers, bool (*enough) (WeirBrokers *), TimestampTz until)
{
	TimestampTz settled_at = 0;

	while (!ShutdownRequestPending && !enough(brokers))
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz stop = until;

		if (!weir_brokers_all_settled(brokers))
			settled_at = 0;
		else if (settled_at == 0)
			settled_at = now;
		if (settled_at != 0)
			stop = Min(until, TimestampTzPlusMilliseconds(settled_at, GRACE_MS));
		if (now >= stop)
			return;
		weir_brokers_sleep(brokers, stop);
	}
}

/* Gets ready, before there is a client. */
void
weir_brokers_init(WeirBrokers *brokers)
{
	brokers->scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_weir broker event",
											 ALLOCSET_DEFAULT_SIZES);
	if (pipe(brokers->pipe) != 0 ||
		fcntl(brokers->pipe[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(brokers->pipe[1], F_SETFL, O_NONBLOCK) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create a pipe: %m")));
}

/* Listens to a client. */
void
weir_brokers_watch(WeirBrokers *brokers, rd_kafka_t *rk)
{
	brokers->queue = rd_kafka_queue_get_main(rk);
	(void) rd_kafka_set_log_queue(rk, brokers->queue);
	rd_kafka_queue_io_event_enable(brokers->queue, brokers->pipe[1], "1", 1);
}
