/*
 * kafka_options.c
 *	  Which of librdkafka's properties may be set in OPTIONS, where, and what
 *	  a server and a user mapping have set.
 *
 * An allowlist, not a denylist: some of librdkafka's properties run programs,
 * load libraries, read files or call other hosts, and every new release may
 * add more.  What is not in the table cannot be set.  The second table only
 * explains a refusal; a name missing there is refused all the same.
 *
 * Values are checked in kafka_client.c, the SQL side is in api_server.c.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "kafka_options.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define SERVER	WEIR_IN_SERVER
#define MAPPING	WEIR_IN_USER_MAPPING

#define kB		INT64CONST(1024)
#define MB		(1024 * kB)

/* Names longer than this are nobody's typing error. */
#define MAX_NAME_TO_MATCH 64

static const WeirOptionRule rules[] =
{
	/* where, and how to get there */
	{"bootstrap.servers", SERVER, WEIR_OPTION_PLAIN, "metadata.broker.list"},
	{"metadata.broker.list", SERVER, WEIR_OPTION_PLAIN, "bootstrap.servers"},
	{"broker.address.family", SERVER, WEIR_OPTION_PLAIN},
	{"broker.address.ttl", SERVER, WEIR_OPTION_PLAIN},
	{"client.dns.lookup", SERVER, WEIR_OPTION_PLAIN},
	{"client.id", SERVER, WEIR_OPTION_PLAIN},
	{"client.rack", SERVER, WEIR_OPTION_PLAIN},
	{"connections.max.idle.ms", SERVER, WEIR_OPTION_PLAIN},
	{"reconnect.backoff.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 0, 3600000},
	{"reconnect.backoff.max.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 0, 3600000},
	{"socket.connection.setup.timeout.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 1000, 300000},
	{"socket.keepalive.enable", SERVER, WEIR_OPTION_PLAIN},
	{"socket.nagle.disable", SERVER, WEIR_OPTION_PLAIN},
	{"socket.timeout.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 1000, 300000},
	{"topic.metadata.refresh.interval.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 1000, 3600000},
	{"metadata.max.age.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 1000, 86400000},

	/* who we are, and who they are */
	{"security.protocol", SERVER, WEIR_OPTION_PLAIN},
	{"sasl.mechanism", SERVER, WEIR_OPTION_PLAIN, "sasl.mechanisms"},
	{"sasl.mechanisms", SERVER, WEIR_OPTION_PLAIN, "sasl.mechanism"},
	{"sasl.username", MAPPING, WEIR_OPTION_SECRET},
	{"sasl.password", MAPPING, WEIR_OPTION_SECRET},
	{"ssl.ca.pem", SERVER, WEIR_OPTION_PLAIN},
	{"ssl.certificate.pem", MAPPING, WEIR_OPTION_SECRET},
	{"ssl.key.pem", MAPPING, WEIR_OPTION_SECRET},
	{"ssl.key.password", MAPPING, WEIR_OPTION_SECRET},
	{"ssl.keystore.password", MAPPING, WEIR_OPTION_SECRET},
	{"ssl.ca.location", SERVER, WEIR_OPTION_FILE},
	{"ssl.crl.location", SERVER, WEIR_OPTION_FILE},
	{"ssl.certificate.location", SERVER | MAPPING, WEIR_OPTION_FILE},
	{"ssl.key.location", SERVER | MAPPING, WEIR_OPTION_FILE},
	{"ssl.keystore.location", SERVER | MAPPING, WEIR_OPTION_FILE},

	/* how much to ask for at once: bounded, for the memory is the server's */
	{"fetch.error.backoff.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 0, 60000},
	{"fetch.max.bytes", SERVER, WEIR_OPTION_PLAIN, NULL, MB, 64 * MB},
	{"fetch.message.max.bytes", SERVER, WEIR_OPTION_PLAIN, "max.partition.fetch.bytes", kB, 64 * MB},
	{"max.partition.fetch.bytes", SERVER, WEIR_OPTION_PLAIN, "fetch.message.max.bytes", kB, 64 * MB},
	{"fetch.min.bytes", SERVER, WEIR_OPTION_PLAIN, NULL, 1, 16 * MB},
	{"fetch.queue.backoff.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 0, 60000},
	{"fetch.wait.max.ms", SERVER, WEIR_OPTION_PLAIN, NULL, 1, 60000},
	{"queued.max.messages.kbytes", SERVER, WEIR_OPTION_PLAIN, NULL, 1024, 128 * 1024},
	{"queued.min.messages", SERVER, WEIR_OPTION_PLAIN, NULL, 1, 1000000},
	{"socket.receive.buffer.bytes", SERVER, WEIR_OPTION_PLAIN, NULL, 0, 16 * MB},
	{"socket.send.buffer.bytes", SERVER, WEIR_OPTION_PLAIN, NULL, 0, 16 * MB},
};

/*
 * What to tell those who ask for a property that cannot be set.  A name that
 * ends in a dot stands for all that begin with it; first match wins.
 */
static const struct
{
	const char *name;
	const char *hint;
}			refusals[] =
{
	{"isolation.level", "Set it per stream: weir.create_stream(..., isolation_level => ...)."},
	{"auto.offset.reset", "Where a stream starts is its own: weir.create_stream(..., start_from => ...)."},
	{"group.", "A stream takes no part in a consumer group; weir.create_stream(..., commit_to_group => ...) tells one its offsets."},
	{"enable.auto.commit", "A stream keeps its offsets in its own tables; weir.create_stream(..., commit_to_group => ...) also shows them to Kafka's tools."},
	{"auto.commit.", "A stream keeps its offsets in its own tables; weir.create_stream(..., commit_to_group => ...) also shows them to Kafka's tools."},
	{"enable.auto.offset.store", "A stream keeps its offsets in its own tables."},
	{"offset.store.", "A stream keeps its offsets in its own tables."},
	{"enable.partition.eof", "pg_weir sets it itself."},
	{"check.crcs", "pg_weir always checks CRCs."},
	{"allow.auto.create.topics", "pg_weir never creates topics."},
	{"session.timeout.ms", "A stream takes no part in a consumer group."},
	{"heartbeat.interval.ms", "A stream takes no part in a consumer group."},
	{"max.poll.interval.ms", "A stream takes no part in a consumer group."},
	{"partition.assignment.strategy", "A stream takes no part in a consumer group; its parallelism says how partitions are shared out."},
	{"plugin.", "It would load a library into the server."},
	{"interceptors", "It would run foreign code in the server."},
	{"sasl.kerberos.", "It would run a program on the server. Mechanisms are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512."},
	{"sasl.oauthbearer.", "It would make the server call other hosts. Mechanisms are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512."},
	{"enable.sasl.oauthbearer.", "Mechanisms are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512."},
	{"ssl.engine.", "It would load a library into the server."},
	{"ssl.providers", "It would load a library into the server."},
	{"enable.ssl.certificate.verification", "The broker's certificate is always verified. Give its authority in \"ssl.ca.pem\"."},
	{"ssl.endpoint.identification.algorithm", "The broker's name is always checked against its certificate."},
	{"ssl.ca.certificate.stores", "Give the authority's certificate in \"ssl.ca.pem\"."},
	{"https.", "Give the authority's certificate in \"ssl.ca.pem\"."},
	{"ssl.cipher.suites", "What OpenSSL on this machine allows is used."},
	{"ssl.curves.list", "What OpenSSL on this machine allows is used."},
	{"ssl.sigalgs.list", "What OpenSSL on this machine allows is used."},
	{"debug", "Use weir.test_server to find out what is wrong with a connection."},
	{"log.", "Logging is PostgreSQL's: see log_min_messages."},
	{"log_level", "Logging is PostgreSQL's: see log_min_messages."},
	{"statistics.interval.ms", "pg_weir sets it itself; see weir.status and weir.stream_stats."},
	{"test.", "It is for tests of librdkafka."},
	{"receive.message.max.bytes", "It follows \"fetch.max.bytes\"."},
};

/* Returns the rule of an option that may be set, or NULL. */
const WeirOptionRule *
weir_kafka_option_rule(const char *name)
{
	for (int i = 0; i < lengthof(rules); i++)
	{
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	}
	return NULL;
}

/* Returns the explanation for a property that is refused on purpose, or NULL. */
static const char *
refusal_hint(const char *name)
{
	for (int i = 0; i < lengthof(refusals); i++)
	{
		const char *refused = refusals[i].name;
		size_t		len = strlen(refused);

		if (refused[len - 1] == '.' ? strncmp(refused, name, len) == 0
			: strcmp(refused, name) == 0)
			return refusals[i].hint;
	}
	return NULL;
}

/* Returns the option of a place that looks most like a name, or NULL. */
static const WeirOptionRule *
nearest_rule(const char *name, int place)
{
	const WeirOptionRule *nearest = NULL;
	int			len = strlen(name);
	int			limit = Min(4, len / 2);

	if (len > MAX_NAME_TO_MATCH)
		return NULL;
	for (int i = 0; i < lengthof(rules); i++)
	{
		int			distance;

		if (!(rules[i].places & place))
			continue;
		distance = varstr_levenshtein_less_equal(name, len,
												 rules[i].name, strlen(rules[i].name),
												 1, 1, 1, limit, true);
		if (distance <= limit)
		{
			nearest = &rules[i];
			limit = distance - 1;
		}
	}
	return nearest;
}

/* Returns the names of the options of a place, for a hint. */
static char *
names_allowed_in(int place)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(rules); i++)
	{
		if (rules[i].places & place)
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", rules[i].name);
	}
	return buf.data;
}

/* Refuses an option that is not in the table, with the best hint there is. */
static void
refuse_unknown(const char *name, int place)
{
	const char *why = refusal_hint(name);
	const WeirOptionRule *near = why ? NULL : nearest_rule(name, place);

	if (why)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" cannot be set", name),
				 errhint("%s", why)));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 near ? errhint("Perhaps you meant the option \"%s\".", near->name)
			 : errhint("Valid options in this context are: %s.", names_allowed_in(place))));
}

/* Refuses an option that belongs elsewhere. */
static void
refuse_place(const WeirOptionRule *rule, int place)
{
	if (place == WEIR_IN_SERVER)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" is not allowed in a server", rule->name),
				 errdetail("The options of a server can be read by everybody."),
				 errhint("Set it in a user mapping: CREATE USER MAPPING FOR ... SERVER ... OPTIONS (\"%s\" '...').",
						 rule->name)));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("option \"%s\" is not allowed in a user mapping", rule->name),
			 errhint("Set it in the server: ALTER SERVER ... OPTIONS (ADD \"%s\" '...').", rule->name)));
}

/* Checks the name, the place, and the current user's right to name files. */
const WeirOptionRule *
weir_kafka_option_check(const char *name, int place)
{
	const WeirOptionRule *rule = weir_kafka_option_rule(name);

	if (rule == NULL)
		refuse_unknown(name, place);
	if (!(rule->places & place))
		refuse_place(rule, place);
	if (rule->kind == WEIR_OPTION_FILE &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", rule->name),
				 errdetail("Only superusers and members of pg_read_server_files may name files of the server."),
				 errhint("Give the content instead, in \"ssl.ca.pem\", \"ssl.certificate.pem\" or \"ssl.key.pem\".")));
	return rule;
}

/* Returns the value of an option, under either of its names; or NULL. */
const char *
weir_kafka_option_value(List *options, const char *name)
{
	const WeirOptionRule *rule = weir_kafka_option_rule(name);
	const char *value = NULL;
	ListCell   *lc;

	foreach(lc, options)
	{
		WeirKafkaOption *option = lfirst(lc);

		/* the last one counts: a user mapping comes after its server */
		if (strcmp(option->name, name) == 0 ||
			(rule && rule->same_as && strcmp(option->name, rule->same_as) == 0))
			value = option->value;
	}
	return value;
}

/* Refuses an option set under both of its names. */
static void
check_no_alias(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		WeirKafkaOption *option = lfirst(lc);
		const WeirOptionRule *rule = weir_kafka_option_rule(option->name);
		ListCell   *other;

		if (rule->same_as == NULL)
			continue;
		foreach(other, options)
		{
			if (strcmp(((WeirKafkaOption *) lfirst(other))->name, rule->same_as) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						 errmsg("options \"%s\" and \"%s\" are the same", option->name, rule->same_as),
						 errhint("Set only one of them.")));
		}
	}
}

/* Checks what only all of a server's options together can tell. */
static void
check_server(List *options)
{
	const char *protocol = weir_kafka_option_value(options, "security.protocol");
	const char *backoff = weir_kafka_option_value(options, "reconnect.backoff.ms");
	const char *backoff_max = weir_kafka_option_value(options, "reconnect.backoff.max.ms");

	if (weir_kafka_option_value(options, "bootstrap.servers") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"bootstrap.servers\" is missing"),
				 errhint("Name one or more brokers: OPTIONS (\"bootstrap.servers\" 'host:9092').")));

	/* without a mechanism librdkafka would take Kerberos, and run kinit */
	if (protocol && pg_strncasecmp(protocol, "sasl", 4) == 0 &&
		weir_kafka_option_value(options, "sasl.mechanism") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"sasl.mechanism\" is missing"),
				 errhint("\"security.protocol\" %s needs one of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.", protocol)));

	/* librdkafka's defaults are 100 and 10000 */
	if (pg_strtoint32(backoff ? backoff : "100") > pg_strtoint32(backoff_max ? backoff_max : "10000"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"reconnect.backoff.ms\" is greater than \"reconnect.backoff.max.ms\"")));
}

/* Checks the options of one place as a whole; each one has been checked. */
void
weir_kafka_options_check_all(List *options, int place)
{
	check_no_alias(options);
	if (place == WEIR_IN_SERVER)
		check_server(options);
}

/* Appends options as the catalogues have them. */
static List *
append_options(List *options, List *defelems)
{
	ListCell   *lc;

	foreach(lc, defelems)
	{
		DefElem    *def = lfirst(lc);
		WeirKafkaOption *option = palloc(sizeof(WeirKafkaOption));

		option->name = pstrdup(def->defname);
		option->value = pstrdup(defGetString(def));
		options = lappend(options, option);
	}
	return options;
}

/* Returns the options of a user mapping, or NIL; *found says if there is one. */
static List *
user_mapping_options(Oid serverid, Oid userid, bool *found)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
										ObjectIdGetDatum(userid),
										ObjectIdGetDatum(serverid));
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;

	*found = HeapTupleIsValid(tuple);
	if (!*found)
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

/* Returns the options in force for a user of a server. */
List *
weir_kafka_options_of(Oid serverid, Oid userid)
{
	List	   *options = append_options(NIL, GetForeignServer(serverid)->options);
	List	   *mapping;
	bool		found;

	mapping = user_mapping_options(serverid, userid, &found);
	if (!found)
		mapping = user_mapping_options(serverid, InvalidOid, &found);
	return append_options(options, mapping);
}

/* Looks up a server for a user of it. */
Oid
weir_kafka_server_for(const char *name, Oid userid)
{
	Oid			serverid = get_foreign_server_oid(name, false);
	ForeignServer *server = GetForeignServer(serverid);

	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "weir_kafka") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a Kafka server", name),
				 errhint("Create one with CREATE SERVER ... FOREIGN DATA WRAPPER weir_kafka.")));

	if (!DatumGetBool(DirectFunctionCall3(has_server_privilege_id_id,
										  ObjectIdGetDatum(userid),
										  ObjectIdGetDatum(serverid),
										  PointerGetDatum(cstring_to_text("USAGE")))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server \"%s\"", name),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s.",
						 quote_identifier(name),
						 quote_identifier(GetUserNameFromId(userid, false)))));
	return serverid;
}
