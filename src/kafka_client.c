/*
 * kafka_client.c
 *	  librdkafka's configuration made from a server's options, and its errors
 *	  in PostgreSQL's terms.
 *
 * Which options there may be is kafka_options.c's.  Nothing here connects:
 * consumer.c and kafka_probe.c do.
 */
#include "postgres.h"

#include <ctype.h>

#include "kafka_client.h"
#include "lib/stringinfo.h"
#include "utils/varlena.h"

#define MAX_NEAR_TOPICS 3

typedef struct Property
{
	const char *name;
	const char *value;
} Property;

/* What we think better than librdkafka's defaults; options may say otherwise. */
static const Property defaults[] =
{
	{"client.id", "pg_weir"},
	{"queued.max.messages.kbytes", "32768"},
	{"topic.metadata.refresh.interval.ms", "30000"},
	{"socket.keepalive.enable", "true"},
};

/* The same where there is a login: librdkafka's is GSSAPI, which runs kinit in a shell. */
static const Property of_login[] =
{
	{"sasl.mechanisms", "SCRAM-SHA-256"},
};

/* What options cannot change. */
static const Property fixed[] =
{
	/* log callbacks run on librdkafka's threads, where nothing of ours may run */
	{"log.queue", "true"},
	{"check.crcs", "true"},
	{"allow.auto.create.topics", "false"},
	{"enable.ssl.certificate.verification", "true"},
	{"ssl.endpoint.identification.algorithm", "https"},
};

/* What a stream's consumer needs. */
static const Property of_consumer[] =
{
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"auto.offset.reset", "error"},
	{"enable.partition.eof", "true"},
	/* how young a topic may be for it to be taken as not known yet, instead of gone */
	{"topic.metadata.propagation.max.ms", "1000"},
};

static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};

/* ---------- configuration ---------- */

/* Sets one property; says in errbuf why that fails, without the value if it is a secret. */
static bool
set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
			 bool secret, char *errbuf, Size errlen)
{
	char		words[WEIR_KAFKA_ERRLEN];

	switch (rd_kafka_conf_set(conf, name, value, words, sizeof(words)))
	{
		case RD_KAFKA_CONF_OK:
			return true;
		case RD_KAFKA_CONF_UNKNOWN:
			snprintf(errbuf, errlen, "librdkafka %s does not know \"%s\"",
					 rd_kafka_version_str(), name);
			return false;
		default:
			snprintf(errbuf, errlen, "%s", secret ? "the value is not valid" : words);
			return false;
	}
}

/* Sets a property of our own choice. */
bool
weir_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
					char *errbuf, Size errlen)
{
	return set_property(conf, name, value, false, errbuf, errlen);
}

/* Sets a table of properties. */
static bool
set_properties(rd_kafka_conf_t *conf, const Property *properties, int n,
			   char *errbuf, Size errlen)
{
	for (int i = 0; i < n; i++)
	{
		if (!weir_kafka_conf_set(conf, properties[i].name, properties[i].value, errbuf, errlen))
			return false;
	}
	return true;
}

/*
 * Sets the options of a server and a user mapping.  They were checked when
 * they were written, but maybe by another version of this extension, or they
 * came in through the catalogues: the table is asked again.
 */
static bool
set_options(rd_kafka_conf_t *conf, List *options, char *errbuf, Size errlen)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		WeirKafkaOption *option = lfirst(lc);
		const WeirOptionRule *rule = weir_kafka_option_rule(option->name);

		if (rule == NULL)
		{
			snprintf(errbuf, errlen, "option \"%s\" cannot be set", option->name);
			return false;
		}
		if (!weir_kafka_value_valid(rule, option->value, errbuf, errlen) ||
			!set_property(conf, option->name, option->value,
						  rule->kind == WEIR_OPTION_SECRET, errbuf, errlen))
			return false;
	}
	return true;
}

/* Do these options ask for a login? */
static bool
logs_in(List *options)
{
	const char *protocol = weir_kafka_option_value(options, "security.protocol");

	return protocol != NULL && pg_strncasecmp(protocol, "sasl", 4) == 0;
}

/* Makes a configuration out of options. */
rd_kafka_conf_t *
weir_kafka_conf_create(List *options, char *errbuf, Size errlen)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		unused[WEIR_KAFKA_ERRLEN];

	if (!set_properties(conf, defaults, lengthof(defaults), errbuf, errlen) ||
		(logs_in(options) && !set_properties(conf, of_login, lengthof(of_login), errbuf, errlen)) ||
		!set_options(conf, options, errbuf, errlen) ||
		!set_properties(conf, fixed, lengthof(fixed), errbuf, errlen))
	{
		rd_kafka_conf_destroy(conf);
		return NULL;
	}

	/* from 2.5 on brokers may ask clients for metrics; older ones do not know it */
	(void) rd_kafka_conf_set(conf, "enable.metrics.push", "false", unused, sizeof(unused));
	return conf;
}

/* Adds what a stream's consumer needs. */
bool
weir_kafka_conf_consumer(rd_kafka_conf_t *conf, const char *group_id,
						 const char *isolation_level, char *errbuf, Size errlen)
{
	return set_properties(conf, of_consumer, lengthof(of_consumer), errbuf, errlen) &&
		weir_kafka_conf_set(conf, "group.id", group_id, errbuf, errlen) &&
		weir_kafka_conf_set(conf, "isolation.level", isolation_level, errbuf, errlen);
}

/* ---------- values ---------- */

/* Is it a plain decimal number within the rule's bounds? */
static bool
number_valid(const WeirOptionRule *rule, const char *value, char *errbuf, Size errlen)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoll(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0')
	{
		snprintf(errbuf, errlen, "it must be a number");
		return false;
	}
	if (number < rule->min || number > rule->max)
	{
		snprintf(errbuf, errlen, "it must be between " INT64_FORMAT " and " INT64_FORMAT,
				 rule->min, rule->max);
		return false;
	}
	return true;
}

/* Is it a mechanism that needs nothing but a name and a password? */
static bool
mechanism_valid(const char *value, char *errbuf, Size errlen)
{
	for (int i = 0; i < lengthof(mechanisms); i++)
	{
		if (strcmp(mechanisms[i], value) == 0)
			return true;
	}
	snprintf(errbuf, errlen, "it must be one of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512");
	return false;
}

/* Is it host:port, host, or [address]:port? */
static bool
broker_valid(const char *broker, int len)
{
	const char *colon;
	char	   *end;
	long		port;

	if (len == 0 || len > 300)
		return false;
	for (int i = 0; i < len; i++)
	{
		if (!isalnum((unsigned char) broker[i]) && strchr(".-_:[]%", broker[i]) == NULL)
			return false;
	}
	if (broker[0] == '[')
	{
		const char *bracket = memchr(broker, ']', len);

		if (bracket == NULL || bracket == broker + 1)
			return false;
		if (bracket == broker + len - 1)
			return true;
		if (bracket[1] != ':')
			return false;
		colon = bracket + 1;
	}
	else
		colon = memchr(broker, ':', len);
	if (colon == NULL)
		return true;
	if (colon == broker || !isdigit((unsigned char) colon[1]))
		return false;
	port = strtol(colon + 1, &end, 10);
	return end == broker + len && port >= 1 && port <= 65535;
}

/* Is it a list of brokers?  librdkafka would skip over what it cannot read. */
static bool
brokers_valid(const char *value, char *errbuf, Size errlen)
{
	const char *p = value;

	for (;;)
	{
		int			len;

		p += strspn(p, " ");
		len = strcspn(p, ", ");
		if (!broker_valid(p, len))
		{
			snprintf(errbuf, errlen, "it must be a list of brokers, as in host1:9092,host2:9092");
			return false;
		}
		p += len;
		p += strspn(p, " ");
		if (*p == '\0')
			return true;
		if (*p++ != ',')
		{
			snprintf(errbuf, errlen, "brokers must be separated by commas");
			return false;
		}
	}
}

/* Is it text on one line?  Certificates and keys have several. */
static bool
text_valid(const WeirOptionRule *rule, const char *value, char *errbuf, Size errlen)
{
	const char *dot = strrchr(rule->name, '.');

	if (*value == '\0')
	{
		snprintf(errbuf, errlen, "it must not be empty");
		return false;
	}
	if (rule->kind == WEIR_OPTION_SECRET || strcmp(dot, ".pem") == 0)
		return true;
	for (const char *p = value; *p; p++)
	{
		if (iscntrl((unsigned char) *p))
		{
			snprintf(errbuf, errlen, "it must not contain control characters");
			return false;
		}
	}
	return true;
}

/* Asks librdkafka, with a configuration made for the purpose. */
static bool
library_takes(const WeirOptionRule *rule, const char *value, char *errbuf, Size errlen)
{
	rd_kafka_conf_t *scratch = rd_kafka_conf_new();
	bool		taken = set_property(scratch, rule->name, value,
									 rule->kind == WEIR_OPTION_SECRET, errbuf, errlen);

	rd_kafka_conf_destroy(scratch);
	return taken;
}

/* Checks a value. */
bool
weir_kafka_value_valid(const WeirOptionRule *rule, const char *value, char *errbuf, Size errlen)
{
	if (!text_valid(rule, value, errbuf, errlen))
		return false;
	if (rule->max != 0 && !number_valid(rule, value, errbuf, errlen))
		return false;
	if (strncmp(rule->name, "sasl.mechanism", strlen("sasl.mechanism")) == 0 &&
		!mechanism_valid(value, errbuf, errlen))
		return false;
	if ((strcmp(rule->name, "bootstrap.servers") == 0 ||
		 strcmp(rule->name, "metadata.broker.list") == 0) &&
		!brokers_valid(value, errbuf, errlen))
		return false;
	return library_takes(rule, value, errbuf, errlen);
}

/* ---------- errors ---------- */

/*
 * SQLSTATEs are chosen for their fate (errors.c) too: what may mend itself,
 * passwords and topics included, is in a class that is tried again; none is
 * in a class that would make dead letters of messages.
 */
static const struct
{
	rd_kafka_resp_err_t err;
	int			sqlstate;
}			sqlstates[] =
{
	{RD_KAFKA_RESP_ERR__TRANSPORT, ERRCODE_CONNECTION_FAILURE},
	{RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR__RESOLVE, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR__TIMED_OUT, ERRCODE_CONNECTION_FAILURE},
	{RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, ERRCODE_CONNECTION_FAILURE},
	{RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, ERRCODE_CONNECTION_FAILURE},
	{RD_KAFKA_RESP_ERR__SSL, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR__AUTHENTICATION, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION},
	{RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERRCODE_INSUFFICIENT_PRIVILEGE},
	{RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, ERRCODE_INSUFFICIENT_PRIVILEGE},
	{RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, ERRCODE_INSUFFICIENT_PRIVILEGE},
	{RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, ERRCODE_UNDEFINED_FILE},
	{RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, ERRCODE_UNDEFINED_FILE},
	{RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERRCODE_UNDEFINED_FILE},
	{RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, ERRCODE_INVALID_NAME},
	{RD_KAFKA_RESP_ERR__BAD_MSG, ERRCODE_IO_ERROR},
	{RD_KAFKA_RESP_ERR__BAD_COMPRESSION, ERRCODE_IO_ERROR},
	{RD_KAFKA_RESP_ERR_INVALID_MSG, ERRCODE_IO_ERROR},
	{RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, ERRCODE_INSUFFICIENT_RESOURCES},
	{RD_KAFKA_RESP_ERR__INVALID_ARG, ERRCODE_FDW_ERROR},
};

/* Returns the SQLSTATE of an error. */
int
weir_kafka_sqlstate(rd_kafka_resp_err_t err)
{
	for (int i = 0; i < lengthof(sqlstates); i++)
	{
		if (sqlstates[i].err == err)
			return sqlstates[i].sqlstate;
	}
	return ERRCODE_SYSTEM_ERROR;
}

/*
 * Finds where librdkafka's "protocol://host:port/id: words" has its words;
 * reason itself if it names no broker.
 */
static const char *
words_of(const char *reason)
{
	const char *slash = reason;
	const char *space = strchr(reason, ' ');
	const char *colon = strstr(reason, ": ");

	if (colon == NULL || space == NULL || space < colon)
		return reason;
	while (slash && slash < colon && strncmp(slash, "://", 3) != 0)
		slash++;
	slash = strchr(slash < colon ? slash + 3 : reason, '/');
	return slash && slash < colon ? colon + 2 : reason;
}

/* Returns the host:port that an error is about, or NULL. */
char *
weir_kafka_error_broker(const char *reason)
{
	const char *words = reason ? words_of(reason) : NULL;
	const char *start;
	const char *scheme;

	if (words == reason)
		return NULL;
	scheme = strstr(reason, "://");
	start = scheme && scheme < words ? scheme + 3 : reason;
	return pnstrdup(start, strchr(start, '/') - start);
}

/* Takes OpenSSL's "error:0A000086:SSL routines::" out of a text, in place. */
static void
cut_openssl_codes(char *text)
{
	char	   *code;

	while ((code = strstr(text, "error:")) != NULL)
	{
		char	   *end = strstr(code, "::");

		if (end == NULL)
			return;
		memmove(code, end + 2, strlen(end + 2) + 1);
	}
}

/*
 * Copies librdkafka's words without its own colour: where they are from, how
 * long it took, and advice about options, for ours is in hints.
 */
static char *
plain_words(const char *words)
{
	static const char *const ends[] = {" (after ", ", verify that ", ": verify that "};
	char	   *copy;
	char	   *tail;

	if (strncmp(words, "Local: ", 7) == 0)
		words += 7;
	else if (strncmp(words, "Broker: ", 8) == 0)
		words += 8;
	copy = pstrdup(words);
	cut_openssl_codes(copy);
	for (int i = 0; i < lengthof(ends); i++)
	{
		tail = strstr(copy, ends[i]);
		if (tail)
			*tail = '\0';
	}
	tail = copy + strlen(copy);
	while (tail > copy && (isspace((unsigned char) tail[-1]) || tail[-1] == '.' || tail[-1] == ':'))
		*--tail = '\0';
	/* a first word that is a word, not an abbreviation, is written small */
	if (isupper((unsigned char) copy[0]) && islower((unsigned char) copy[1]) &&
		strspn(copy + 1, "abcdefghijklmnopqrstuvwxyz") == strcspn(copy + 1, " ,:"))
		copy[0] = tolower((unsigned char) copy[0]);
	return copy;
}

/* Returns what follows a mark in a text, or the text. */
static const char *
after(const char *text, const char *mark)
{
	const char *found = strstr(text, mark);

	return found ? found + strlen(mark) : text;
}

/* Which part of a connection does an error concern? */
WeirKafkaTrouble
weir_kafka_error_trouble(rd_kafka_resp_err_t err, const char *reason)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__RESOLVE:
			return WEIR_TROUBLE_DNS;
		case RD_KAFKA_RESP_ERR__SSL:
			return WEIR_TROUBLE_TLS;
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
		case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
			return WEIR_TROUBLE_AUTHENTICATION;
		case RD_KAFKA_RESP_ERR__TRANSPORT:
			if (reason && strstr(reason, ": SSL handshake failed"))
				return WEIR_TROUBLE_TLS;
			return WEIR_TROUBLE_CONNECT;
		default:
			return WEIR_TROUBLE_CONNECT;
	}
}

/* What to say of a broker that could not be connected to, in librdkafka's words. */
static char *
connect_text(const char *broker, const char *raw)
{
	if (strncmp(raw, "Connect to ", 11) == 0)
		return psprintf("could not connect to \"%s\": %s",
						broker, plain_words(after(raw, " failed: ")));

	/* librdkafka goes on with guesses about options that do not exist here */
	if (strncmp(raw, "Disconnected while requesting ApiVersion", 40) == 0 ||
		strncmp(raw, "Disconnected: verify that security.protocol", 43) == 0)
		return psprintf("connection to \"%s\" failed: it closes the connection when asked what it can do",
						broker);
	return psprintf("connection to \"%s\" failed: %s", broker, plain_words(raw));
}

/* Returns an error in plain words. */
char *
weir_kafka_error_text(rd_kafka_resp_err_t err, const char *reason)
{
	const char *raw = reason ? words_of(reason) : rd_kafka_err2str(err);
	char	   *broker = weir_kafka_error_broker(reason);

	if (broker == NULL)
		return plain_words(raw);
	switch (weir_kafka_error_trouble(err, reason))
	{
		case WEIR_TROUBLE_DNS:
			return psprintf("could not resolve the host name of \"%s\": %s",
							broker, plain_words(after(raw, "': ")));
		case WEIR_TROUBLE_TLS:
			return psprintf("TLS handshake with \"%s\" failed: %s",
							broker, plain_words(after(raw, "SSL handshake failed: ")));
		case WEIR_TROUBLE_AUTHENTICATION:
			return psprintf("authentication to \"%s\" failed: %s",
							broker, plain_words(after(raw, "SASL authentication error: ")));
		case WEIR_TROUBLE_CONNECT:
			break;
	}
	return connect_text(broker, raw);
}

/* Returns the remedy for an error, or NULL. */
char *
weir_kafka_error_hint(rd_kafka_resp_err_t err, const char *reason)
{
	if (reason && strstr(reason, "security.protocol"))
		return pstrdup("Is \"security.protocol\" of the server what this port of the broker speaks?");
	if (err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
		return pstrdup("The user of Kafka needs the right to Read and Describe the topic.");
	switch (weir_kafka_error_trouble(err, reason))
	{
		case WEIR_TROUBLE_DNS:
			return pstrdup("Check \"bootstrap.servers\", and advertised.listeners of the brokers.");
		case WEIR_TROUBLE_TLS:
			return pstrdup("Check \"security.protocol\" and \"ssl.ca.pem\" of the server.");
		case WEIR_TROUBLE_AUTHENTICATION:
			return pstrdup("Check \"sasl.mechanism\" of the server, and \"sasl.username\" and \"sasl.password\" of the user mapping.");
		case WEIR_TROUBLE_CONNECT:
			break;
	}
	return NULL;
}

/* ---------- near matches ---------- */

/* How far apart are two names?  More than limit: limit + 1. */
static int
distance(const char *a, const char *b, int limit)
{
	int			lena = strlen(a);
	int			lenb = strlen(b);

	if (abs(lena - lenb) > limit)
		return limit + 1;
	return varstr_levenshtein_less_equal(a, lena, b, lenb, 1, 1, 1, limit, true);
}

/* Returns a hint that names the topics nearest to the one that is not there. */
char *
weir_kafka_topic_hint(const rd_kafka_metadata_t *metadata, const char *topic)
{
	int			limit = Max(2, Min(4, (int) strlen(topic) / 3));
	StringInfoData buf;
	int			named = 0;

	initStringInfo(&buf);
	for (int d = 0; d <= limit && named < MAX_NEAR_TOPICS; d++)
	{
		for (int i = 0; i < metadata->topic_cnt && named < MAX_NEAR_TOPICS; i++)
		{
			const char *name = metadata->topics[i].topic;

			if (metadata->topics[i].err || strncmp(name, "__", 2) == 0 ||
				distance(name, topic, limit) != d)
				continue;
			appendStringInfo(&buf, "%s\"%s\"", named++ > 0 ? ", " : "", name);
		}
	}
	return named > 0 ? psprintf("Perhaps you meant %s.", buf.data) : NULL;
}
