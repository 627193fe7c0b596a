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

#include "kafka_brokers.h"
#include "kafka_client.h"
#include "kafka_offsets.h"
#include "kafka_probe.h"
#include "postmaster/interrupt.h"
#include "utils/timestamp.h"

/* How often librdkafka tells the state of its connections. */
#define STATISTICS_INTERVAL "100"

/* How long to wait for brokers once one of them has answered. */
#define BROKERS_TIMEOUT_MS 2500

/* librdkafka's calls block; a request to stop is noticed between two slices. */
#define METADATA_SLICE_MS 1500
#define OFFSETS_SLICE_MS 700

/* How long to wait before asking again. */
#define OFFSETS_PAUSE_MS 100

typedef struct Probe
{
	List	   *options;
	const WeirProbeRequest *request;
	TimestampTz started;
	TimestampTz deadline;
	WeirProbeEmit emit;
	void	   *arg;
	rd_kafka_t *rk;
	WeirBrokers brokers;
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

/* Adds the brokers of bootstrap.servers. */
static void
add_configured_brokers(Probe *probe)
{
	char	   *list = pstrdup(weir_kafka_option_value(probe->options, "bootstrap.servers"));

	for (char *p = strtok(list, ", "); p; p = strtok(NULL, ", "))
	{
		char	   *colon = strrchr(p, ':');
		bool		has_port = colon && !strchr(colon, ']');

		weir_brokers_add(&probe->brokers, has_port ? p : psprintf("%s:9092", p))->configured = true;
	}
}

/* ---------- rows ---------- */

/* Says why there is no connection to a broker. */
static void
emit_failure(Probe *probe, WeirBroker *broker, const char *test, const char *prefix)
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

	foreach(lc, probe->brokers.list)
	{
		WeirBroker *broker = lfirst(lc);

		if (!broker->configured)
			continue;
		if (weir_broker_is_up(broker))
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

	foreach(lc, probe->brokers.list)
	{
		WeirBroker *broker = lfirst(lc);

		if (broker->id < 0)
			continue;
		if (!weir_broker_is_up(broker))
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
	weir_brokers_watch(&probe->brokers, probe->rk);
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
		weir_brokers_drain(&probe->brokers);
		if (*err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return metadata;
		if (*err != RD_KAFKA_RESP_ERR__TIMED_OUT && *err != RD_KAFKA_RESP_ERR__TRANSPORT)
			return NULL;
		if (!weir_brokers_any_up(&probe->brokers) && weir_brokers_all_settled(&probe->brokers))
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

		weir_brokers_add(&probe->brokers, psprintf("%s:%d", broker->host, broker->port))->id = broker->id;
	}
}

/* Tries the brokers under those names. */
static void
try_brokers(Probe *probe)
{
	weir_brokers_wait(&probe->brokers, weir_brokers_all_up,
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
		weir_brokers_drain(&probe->brokers);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR ||
			ERRCODE_TO_CATEGORY(weir_kafka_sqlstate(err)) != ERRCODE_CONNECTION_EXCEPTION)
			break;
		weir_brokers_sleep(&probe->brokers, Min(probe->deadline,
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

	weir_brokers_wait(&probe->brokers, weir_brokers_any_up, probe->deadline);
	if (!weir_brokers_any_up(&probe->brokers))
	{
		emit_configured(probe);
		return;
	}
	metadata = ask_metadata(probe, &err);
	if (metadata == NULL)
	{
		emit_configured(probe);
		if (weir_brokers_any_up(&probe->brokers))
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
	weir_brokers_init(&probe->brokers);

	if (weir_kafka_option_value(options, "bootstrap.servers") == NULL)
	{
		emit(probe, "options", false, NULL, "option \"bootstrap.servers\" is missing");
		return;
	}
	add_configured_brokers(probe);
	if (start_client(probe))
		run(probe);
}
