/*
 * kafka_probe.c
 *	  Tries a connection to Kafka out, and says in plain words what is there
 *	  and what is wrong.
 *
 * The steps: connect to every bootstrap broker; ask one that answers for
 * brokers and topics; connect to every broker under the name it gave itself,
 * for that is the name a stream would use.  For offsets, the last step is to
 * ask for them.
 *
 * Which process this runs in, and for whom, is probe.c's.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "fmgr.h"
#include "kafka_client.h"
#include "kafka_offsets.h"
#include "kafka_probe.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* How often librdkafka tells the state of its connections. */
#define STATISTICS_INTERVAL "100"

/*
 * How long all brokers must have failed before we believe it: a name may have
 * several addresses, and librdkafka tries one at a time.
 */
#define GRACE_MS 700

/* How long to wait for brokers once one of them has answered. */
#define BROKERS_TIMEOUT_MS 2500

/* librdkafka's calls block; a request to stop is noticed between two slices. */
#define METADATA_SLICE_MS 1500
#define OFFSETS_SLICE_MS 700

/* How long to wait before asking again. */
#define OFFSETS_PAUSE_MS 100

/* A broker we know of. */
typedef struct Broker
{
	char	   *address;		/* host:port */
	int32		id;				/* -1: not known */
	bool		configured;		/* in bootstrap.servers */
	char		state[32];		/* librdkafka's word for it */
	rd_kafka_resp_err_t err;	/* of the last failure */
	char	   *reason;
} Broker;

typedef struct Probe
{
	List	   *options;
	const WeirProbeRequest *request;
	TimestampTz started;
	TimestampTz deadline;
	WeirProbeEmit emit;
	void	   *arg;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	int			pipe[2];		/* librdkafka writes when there is an event */
	List	   *brokers;		/* of Broker */
	MemoryContext scratch;		/* reset after each event */
} Probe;

/* What a row is called that tells of an error. */
static const char *const tests[] = {
	[WEIR_TROUBLE_CONNECT] = "connect",
	[WEIR_TROUBLE_DNS] = "dns",
	[WEIR_TROUBLE_TLS] = "tls",
	[WEIR_TROUBLE_AUTHENTICATION] = "authentication",
};

/* What a connection waits for in each of librdkafka's states. */
static const struct
{
	const char *state;
	const char *words;
}			waiting_for[] =
{
	{"CONNECT", "it does not answer the attempt to connect"},
	{"SSL_HANDSHAKE", "it accepts connections, but does not answer the TLS handshake"},
	{"APIVERSION_QUERY", "it accepts connections, but does not answer as a Kafka broker"},
	{"AUTH_LEGACY", "it accepts connections, but does not answer the authentication"},
	{"AUTH_HANDSHAKE", "it accepts connections, but does not answer the authentication"},
	{"AUTH_REQ", "it accepts connections, but does not answer the authentication"},
};

/* SQLSTATEs of rows that come of no error of librdkafka's. */
static const struct
{
	const char *test;
	int			sqlstate;
}			sqlstates[] =
{
	{"options", ERRCODE_FDW_ERROR},
	{"tls", ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{"authentication", ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{"topic", ERRCODE_UNDEFINED_FILE},
};

/* Emits a row. */
static void
emit(Probe *probe, const char *test, bool ok, const char *hint, const char *detail)
{
	WeirProbeRow row = {test, ok, ERRCODE_CONNECTION_FAILURE, detail, hint ? hint : "", -1, -1};

	for (int i = 0; i < lengthof(sqlstates); i++)
	{
		if (strcmp(sqlstates[i].test, test) == 0)
			row.sqlstate = sqlstates[i].sqlstate;
	}
	probe->emit(&row, probe->arg);
}

/* Emits a row for an error of librdkafka's or a broker's. */
static void
emit_error(Probe *probe, const char *test, rd_kafka_resp_err_t err, const char *prefix)
{
	char	   *hint = weir_kafka_error_hint(err, NULL);
	char	   *detail = psprintf("%s: %s", prefix, weir_kafka_error_text(err, NULL));
	WeirProbeRow row = {test, false, weir_kafka_sqlstate(err), detail, hint ? hint : "", -1, -1};

	probe->emit(&row, probe->arg);
}

/* ---------- brokers ---------- */

/* Finds a broker by its address. */
static Broker *
find_broker(Probe *probe, const char *address)
{
	ListCell   *lc;

	foreach(lc, probe->brokers)
	{
		Broker	   *broker = lfirst(lc);

		if (strcmp(broker->address, address) == 0)
			return broker;
	}
	return NULL;
}

/* Adds a broker, unless it is known by that address. */
static Broker *
add_broker(Probe *probe, const char *address)
{
	Broker	   *broker = find_broker(probe, address);

	if (broker)
		return broker;
	broker = palloc0(sizeof(Broker));
	broker->address = pstrdup(address);
	broker->id = -1;
	probe->brokers = lappend(probe->brokers, broker);
	return broker;
}

/* Adds the brokers of bootstrap.servers. */
static void
add_configured_brokers(Probe *probe)
{
	char	   *list = pstrdup(weir_kafka_option_value(probe->options, "bootstrap.servers"));

	for (char *p = strtok(list, ", "); p; p = strtok(NULL, ", "))
	{
		char	   *colon = strrchr(p, ':');
		bool		has_port = colon && !strchr(colon, ']');

		add_broker(probe, has_port ? p : psprintf("%s:9092", p))->configured = true;
	}
}

/* Is there a connection to the broker that has gone through all its handshakes? */
static bool
is_up(const Broker *broker)
{
	return strcmp(broker->state, "UP") == 0 || strcmp(broker->state, "UPDATE") == 0;
}

/* ---------- events ---------- */

/* Remembers what an error says about its broker. */
static void
note_error(Probe *probe, rd_kafka_resp_err_t err, const char *reason)
{
	char	   *address = weir_kafka_error_broker(reason);
	Broker	   *broker = address ? find_broker(probe, address) : NULL;

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
note_statistics(Probe *probe, const char *json)
{
	Jsonb	   *statistics = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	JsonbValue	brokers;
	JsonbValue	item;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (!getKeyJsonValueFromContainer(&statistics->root, "brokers", strlen("brokers"), &brokers) ||
		brokers.type != jbvBinary)
		return;
	it = JsonbIteratorInit(brokers.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		char		address[512];
		Broker	   *broker;

		if (token != WJB_VALUE || item.type != jbvBinary ||
			!json_string(item.val.binary.data, "nodename", address, sizeof(address)))
			continue;
		broker = find_broker(probe, address);
		if (broker)
			(void) json_string(item.val.binary.data, "state", broker->state, sizeof(broker->state));
	}
}

/* Takes in all events there are. */
static void
drain_events(Probe *probe)
{
	MemoryContext old = MemoryContextSwitchTo(probe->scratch);
	rd_kafka_event_t *event;
	char		buf[64];

	/* first the pipe, then the queue: the pipe is written when an empty queue fills */
	while (read(probe->pipe[0], buf, sizeof(buf)) > 0)
		;
	while ((event = rd_kafka_queue_poll(probe->queue, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			note_error(probe, rd_kafka_event_error(event), rd_kafka_event_error_string(event));
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_STATS)
			note_statistics(probe, rd_kafka_event_stats(event));
		rd_kafka_event_destroy(event);
		MemoryContextReset(probe->scratch);
	}
	MemoryContextSwitchTo(old);
}

/* Sleeps until there are events, at most until a time. */
static void
wait_for_events(Probe *probe, TimestampTz until)
{
	long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

	(void) WaitLatchOrSocket(MyLatch,
							 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 probe->pipe[0], ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	drain_events(probe);
}

/* Is there a broker to talk to? */
static bool
any_up(Probe *probe)
{
	ListCell   *lc;

	foreach(lc, probe->brokers)
	{
		if (is_up(lfirst(lc)))
			return true;
	}
	return false;
}

/* Is every broker up, or has failed? */
static bool
all_settled(Probe *probe)
{
	ListCell   *lc;

	foreach(lc, probe->brokers)
	{
		Broker	   *broker = lfirst(lc);

		if (!is_up(broker) && broker->reason == NULL)
			return false;
	}
	return true;
}

/* Are all brokers we know of connected? */
static bool
all_up(Probe *probe)
{
	ListCell   *lc;

	foreach(lc, probe->brokers)
	{
		if (!is_up(lfirst(lc)))
			return false;
	}
	return true;
}

/*
 * Waits for the connections: until enough is true, or all brokers have been
 * settled for the grace period, or it is time.
 */
static void
wait_for_brokers(Probe *probe, bool (*enough) (Probe *), TimestampTz until)
{
	TimestampTz settled_at = 0;

	while (!ShutdownRequestPending && !enough(probe))
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz stop = until;

		if (!all_settled(probe))
			settled_at = 0;
		else if (settled_at == 0)
			settled_at = now;
		if (settled_at != 0)
			stop = Min(until, TimestampTzPlusMilliseconds(settled_at, GRACE_MS));
		if (now >= stop)
			return;
		wait_for_events(probe, stop);
	}
}

/* ---------- rows ---------- */

/* Says why there is no connection to a broker. */
static void
emit_failure(Probe *probe, Broker *broker, const char *test, const char *prefix)
{
	const char *words = "there is no connection yet";
	char	   *text;

	if (broker->reason)
	{
		if (test == NULL)
			test = tests[weir_kafka_error_trouble(broker->err, broker->reason)];
		text = weir_kafka_error_text(broker->err, broker->reason);
		emit(probe, test, false, weir_kafka_error_hint(broker->err, broker->reason),
			 psprintf("%s%s", prefix, text));
		return;
	}
	for (int i = 0; i < lengthof(waiting_for); i++)
	{
		if (strcmp(waiting_for[i].state, broker->state) == 0)
			words = waiting_for[i].words;
	}
	emit(probe, test ? test : "connect", false,
		 "Check the address, firewalls, and \"security.protocol\" of the server.",
		 psprintf("%sno answer from \"%s\" within %ld s: %s", prefix, broker->address,
				  (TimestampDifferenceMilliseconds(probe->started, GetCurrentTimestamp()) + 999) / 1000,
				  words));
}

/* One row for each broker of bootstrap.servers. */
static void
emit_configured(Probe *probe)
{
	ListCell   *lc;

	foreach(lc, probe->brokers)
	{
		Broker	   *broker = lfirst(lc);

		if (!broker->configured)
			continue;
		if (is_up(broker))
			emit(probe, "connect", true, NULL, psprintf("connected to \"%s\"", broker->address));
		else
			emit_failure(probe, broker, NULL, "");
	}
}

/* What protects the connection that is up. */
static void
emit_security(Probe *probe)
{
	const char *protocol = weir_kafka_option_value(probe->options, "security.protocol");
	const char *mechanism = weir_kafka_option_value(probe->options, "sasl.mechanism");

	if (protocol == NULL)
		return;
	if (pg_strcasecmp(protocol, "ssl") == 0 || pg_strcasecmp(protocol, "sasl_ssl") == 0)
		emit(probe, "tls", true, NULL, "the broker's certificate is valid");
	if (pg_strncasecmp(protocol, "sasl", 4) == 0)
		emit(probe, "authentication", true, NULL, psprintf("accepted by %s", mechanism));
}

/* One row for the cluster. */
static void
emit_cluster(Probe *probe)
{
	char	   *id = rd_kafka_clusterid(probe->rk, 0);

	if (id == NULL)
		return;
	emit(probe, "cluster", true, NULL, psprintf("cluster id %s", id));
	rd_kafka_mem_free(probe->rk, id);
}

/* One row for each broker by its number; with a topic only for those that cannot be reached. */
static void
emit_brokers(Probe *probe)
{
	ListCell   *lc;

	foreach(lc, probe->brokers)
	{
		Broker	   *broker = lfirst(lc);

		if (broker->id < 0)
			continue;
		if (!is_up(broker))
			emit_failure(probe, broker, "broker",
						 psprintf("broker %d calls itself \"%s\": ", broker->id, broker->address));
		else if (probe->request->topic == NULL)
			emit(probe, "broker", true, NULL,
				 psprintf("broker %d at \"%s\"", broker->id, broker->address));
	}
}

/* One row for a topic. */
static void
emit_topic(Probe *probe, const rd_kafka_metadata_topic_t *topic)
{
	int			leaderless = 0;

	if (topic->err)
	{
		emit_error(probe, "topic", topic->err, psprintf("topic \"%s\"", topic->topic));
		return;
	}
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		if (topic->partitions[i].leader < 0)
			leaderless++;
	}
	if (leaderless > 0)
		emit(probe, "topic", false, "Brokers that hold them may be down.",
			 psprintf("topic \"%s\": %d of %d partitions have no leader",
					  topic->topic, leaderless, topic->partition_cnt));
	else
		emit(probe, "topic", true, NULL,
			 psprintf("topic \"%s\": %d %s", topic->topic, topic->partition_cnt,
					  topic->partition_cnt == 1 ? "partition" : "partitions"));
}

/* Orders topics by name, for qsort. */
static int
compare_topics(const void *a, const void *b)
{
	return strcmp(((const rd_kafka_metadata_topic_t *) a)->topic,
				  ((const rd_kafka_metadata_topic_t *) b)->topic);
}

/* Says what is known of a topic that is not in the list of all. */
static void
emit_missing_topic(Probe *probe, const rd_kafka_metadata_t *all)
{
	emit(probe, "topic", false, weir_kafka_topic_hint(all, probe->request->topic),
		 psprintf("topic \"%s\" does not exist, or this user of Kafka must not see it", probe->request->topic));
}

/* Finds a topic by its name, or NULL. */
static const rd_kafka_metadata_topic_t *
find_topic(const rd_kafka_metadata_t *metadata, const char *name)
{
	for (int i = 0; i < metadata->topic_cnt; i++)
	{
		if (strcmp(metadata->topics[i].topic, name) == 0)
			return &metadata->topics[i];
	}
	return NULL;
}

/* A row for each topic, or for the one that was asked for. */
static void
emit_topics(Probe *probe, const rd_kafka_metadata_t *metadata)
{
	const rd_kafka_metadata_topic_t *topic;

	if (probe->request->topic != NULL)
	{
		topic = find_topic(metadata, probe->request->topic);
		if (topic != NULL)
			emit_topic(probe, topic);
		else
			emit_missing_topic(probe, metadata);
		return;
	}
	qsort(metadata->topics, metadata->topic_cnt, sizeof(*metadata->topics), compare_topics);
	for (int i = 0; i < metadata->topic_cnt; i++)
		emit_topic(probe, &metadata->topics[i]);
}

/* ---------- the steps ---------- */

/* Returns the remedy for options that librdkafka does not take together, or NULL. */
static const char *
options_hint(const char *why)
{
	if (strstr(why, "sasl.username"))
		return "Is there a user mapping for this user, or for PUBLIC?";
	if (strstr(why, ".location"))
		return "PostgreSQL's user on the server must be able to read the file.";
	return NULL;
}

/* Makes the client; says why if that fails. */
static bool
start_client(Probe *probe)
{
	char		why[WEIR_KAFKA_ERRLEN];
	rd_kafka_conf_t *conf = weir_kafka_conf_create(probe->options, why, sizeof(why));

	if (conf == NULL)
	{
		emit(probe, "options", false, NULL, pstrdup(why));
		return false;
	}
	if (probe->request->isolation_level != NULL)
		(void) weir_kafka_conf_set(conf, "isolation.level", probe->request->isolation_level, why, sizeof(why));
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS | RD_KAFKA_EVENT_LOG);
	(void) weir_kafka_conf_set(conf, "statistics.interval.ms", STATISTICS_INTERVAL, why, sizeof(why));

	/* connect to all brokers at once, not to one of them; not every version may know it */
	(void) weir_kafka_conf_set(conf, "enable.sparse.connections", "false", why, sizeof(why));

	/* a consumer, as streams are, so that options mean the same */
	probe->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (probe->rk == NULL)
	{
		rd_kafka_conf_destroy(conf);
		emit(probe, "options", false, options_hint(why),
			 weir_kafka_error_text(RD_KAFKA_RESP_ERR__FAIL, why));
		return false;
	}
	probe->queue = rd_kafka_queue_get_main(probe->rk);
	(void) rd_kafka_set_log_queue(probe->rk, probe->queue);
	rd_kafka_queue_io_event_enable(probe->queue, probe->pipe[1], "1", 1);
	return true;
}

/* Asks for brokers and topics; NULL if there is no answer, *err says why. */
static const rd_kafka_metadata_t *
ask_metadata(Probe *probe, rd_kafka_resp_err_t *err)
{
	const rd_kafka_metadata_t *metadata;

	*err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	while (!ShutdownRequestPending)
	{
		long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), probe->deadline);

		if (ms <= 0)
			return NULL;
		*err = rd_kafka_metadata(probe->rk, 1, NULL, &metadata, Min(ms, METADATA_SLICE_MS));
		drain_events(probe);
		if (*err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return metadata;
		if (*err != RD_KAFKA_RESP_ERR__TIMED_OUT && *err != RD_KAFKA_RESP_ERR__TRANSPORT)
			return NULL;
		if (!any_up(probe) && all_settled(probe))
			return NULL;
	}
	return NULL;
}

/* Learns the brokers' own names for themselves. */
static void
learn_brokers(Probe *probe, const rd_kafka_metadata_t *metadata)
{
	for (int i = 0; i < metadata->broker_cnt; i++)
	{
		const rd_kafka_metadata_broker_t *broker = &metadata->brokers[i];

		add_broker(probe, psprintf("%s:%d", broker->host, broker->port))->id = broker->id;
	}
}

/* Tries the brokers under those names. */
static void
try_brokers(Probe *probe)
{
	wait_for_brokers(probe, all_up,
					 Min(probe->deadline,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BROKERS_TIMEOUT_MS)));
}

/* Asks for the offset of every partition; tries again what may mend itself. */
static rd_kafka_resp_err_t
ask_offsets(Probe *probe, const rd_kafka_metadata_topic_t *topic, int64 *offsets)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;

	while (!ShutdownRequestPending)
	{
		long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), probe->deadline);

		if (ms <= 0)
			break;
		err = weir_kafka_offsets_at(probe->rk, topic->topic, topic->partition_cnt,
									probe->request->time, offsets, Min(ms, OFFSETS_SLICE_MS));
		drain_events(probe);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR ||
			ERRCODE_TO_CATEGORY(weir_kafka_sqlstate(err)) != ERRCODE_CONNECTION_EXCEPTION)
			break;
		wait_for_events(probe, Min(probe->deadline,
								   TimestampTzPlusMilliseconds(GetCurrentTimestamp(), OFFSETS_PAUSE_MS)));
	}
	return err;
}

/* A row for the offset of every partition, or rows that say why there are none. */
static void
emit_offsets(Probe *probe, const rd_kafka_metadata_t *metadata)
{
	const rd_kafka_metadata_topic_t *topic = find_topic(metadata, probe->request->topic);
	int64	   *offsets;
	rd_kafka_resp_err_t err;

	if (topic == NULL || topic->err)
	{
		emit_topics(probe, metadata);
		return;
	}
	offsets = palloc(sizeof(int64) * (topic->partition_cnt + 1));
	err = ask_offsets(probe, topic, offsets);
	if (err)
	{
		emit_brokers(probe);
		emit_error(probe, "offset", err, psprintf("could not get the offsets of topic \"%s\"", topic->topic));
		return;
	}
	for (int i = 0; i < topic->partition_cnt; i++)
	{
		WeirProbeRow row = {"offset", true, 0, "", "", i, offsets[i]};

		probe->emit(&row, probe->arg);
	}
}

/* Goes through the steps with a client. */
static void
run(Probe *probe)
{
	const rd_kafka_metadata_t *metadata;
	rd_kafka_resp_err_t err;

	wait_for_brokers(probe, any_up, probe->deadline);
	if (!any_up(probe))
	{
		emit_configured(probe);
		return;
	}
	metadata = ask_metadata(probe, &err);
	if (metadata == NULL)
	{
		emit_configured(probe);
		if (any_up(probe))
			emit_error(probe, "metadata", err, "could not get the list of topics");
		return;
	}
	learn_brokers(probe, metadata);
	if (probe->request->isolation_level != NULL)
	{
		emit_offsets(probe, metadata);
		return;
	}
	try_brokers(probe);
	if (probe->request->topic == NULL)
	{
		emit_configured(probe);
		emit_security(probe);
		emit_cluster(probe);
	}
	emit_brokers(probe);
	emit_topics(probe, metadata);
}

/* Tries a connection out. */
void
weir_kafka_probe(List *options, const WeirProbeRequest *request,
				 TimestampTz deadline, WeirProbeEmit emit_row, void *arg)
{
	Probe	   *probe = palloc0(sizeof(Probe));

	probe->options = options;
	probe->request = request;
	probe->started = GetCurrentTimestamp();
	probe->deadline = deadline;
	probe->emit = emit_row;
	probe->arg = arg;
	probe->scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_weir probe event",
										   ALLOCSET_DEFAULT_SIZES);
	if (pipe(probe->pipe) != 0 ||
		fcntl(probe->pipe[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(probe->pipe[1], F_SETFL, O_NONBLOCK) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create a pipe: %m")));

	if (weir_kafka_option_value(options, "bootstrap.servers") == NULL)
	{
		emit(probe, "options", false, NULL, "option \"bootstrap.servers\" is missing");
		return;
	}
	add_configured_brokers(probe);
	if (start_client(probe))
		run(probe);
}
