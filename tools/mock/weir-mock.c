/*
 * weir-mock.c
 *	  A server process around librdkafka's mock cluster, and its remote control.
 *
 *	  weir-mock serve SOCKET BROKERS	runs until killed
 *	  weir-mock send SOCKET COMMAND...	sends one command, prints the answer
 *
 * The brokers (ids from 1) listen on ports of 127.0.0.1 that the library picks.
 * The mock keeps at most 5 MiB or 100,000 message sets per partition, creates a
 * topic on the first request that names it, cannot add partitions, and delivers
 * aborted messages: what needs more needs a real broker (tools/lib/kafka.sh).
 *
 * Commands; BROKER is an id, or -1 for all; ERROR is librdkafka's name of an
 * error without its prefix (NOT_LEADER_FOR_PARTITION, UNKNOWN_TOPIC_OR_PART,
 * _TRANSPORT to cut the connection, NO_ERROR); API is a request's name as in
 * api_names below, or its number:
 *
 *	  bootstrap							print the brokers' addresses
 *	  topic NAME PARTITIONS				create a topic
 *	  topic-error NAME ERROR			metadata of the topic is this error
 *	  leader TOPIC PARTITION BROKER		move the leader; -1: there is none
 *	  follower TOPIC PARTITION BROKER	send readers to this replica
 *	  follower-offsets TOPIC PARTITION LOW HIGH
 *										what that replica has; -1: as the leader
 *	  down BROKER						cut and refuse connections
 *	  up BROKER							accept them again
 *	  rtt BROKER MS						answer this much later
 *	  errors API ERROR [COUNT]			fail the next COUNT (1) requests
 *	  broker-errors BROKER API ERROR MS [COUNT]
 *										the same for one broker, MS later
 *	  clear-errors API					forget what "errors" has left
 *	  coordinator group|transaction KEY BROKER
 *	  api-version API MIN MAX			MIN and MAX -1: the API is gone
 *
 * An answer is "ok", "ok TEXT" or "error: REASON".  Commands run one after
 * another.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define MAX_COMMAND		4096
#define MAX_ARGS		8
#define MAX_ERRORS		10000
#define ANSWER_TIMEOUT_S	10
#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

/* Why the current command cannot be carried out; empty while it can. */
static char complaint[256];

static rd_kafka_mock_cluster_t *cluster;

static const struct
{
	const char *name;
	int			key;
}			api_names[] =
{
	{"Produce", 0}, {"Fetch", 1}, {"ListOffsets", 2}, {"Metadata", 3},
	{"OffsetCommit", 8}, {"OffsetFetch", 9}, {"FindCoordinator", 10},
	{"JoinGroup", 11}, {"Heartbeat", 12}, {"LeaveGroup", 13}, {"SyncGroup", 14},
	{"SaslHandshake", 17}, {"ApiVersions", 18}, {"InitProducerId", 22},
	{"OffsetForLeaderEpoch", 23}, {"AddPartitionsToTxn", 24},
	{"AddOffsetsToTxn", 25}, {"EndTxn", 26}, {"TxnOffsetCommit", 28},
};

/* Ends the program with the reason for the last system call's failure. */
static void
die(const char *what)
{
	fprintf(stderr, "weir-mock: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Notes the first reason why the current command fails. */
static void
complain(const char *fmt,...)
{
	va_list		args;

	if (complaint[0] != '\0')
		return;
	va_start(args, fmt);
	vsnprintf(complaint, sizeof(complaint), fmt, args);
	va_end(args);
}

static void
check(rd_kafka_resp_err_t err)
{
	if (err)
		complain("%s", rd_kafka_err2str(err));
}

static long
parse_number(const char *text)
{
	char	   *end;
	long		number = strtol(text, &end, 10);

	if (end == text || *end != '\0')
		complain("not a number: %s", text);
	return number;
}

static int
parse_api(const char *text)
{
	for (size_t i = 0; i < lengthof(api_names); i++)
	{
		if (strcasecmp(text, api_names[i].name) == 0)
			return api_names[i].key;
	}
	return (int) parse_number(text);
}

static rd_kafka_resp_err_t
parse_error(const char *text)
{
	const struct rd_kafka_err_desc *errors;
	size_t		count;

	rd_kafka_get_err_descs(&errors, &count);
	for (size_t i = 0; i < count; i++)
	{
		if (errors[i].name != NULL && strcmp(text, errors[i].name) == 0)
			return errors[i].code;
	}
	complain("unknown error: %s", text);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Reads an optional count of errors, 1 without one. */
static int
parse_count(const char *text)
{
	long		count = text ? parse_number(text) : 1;

	if (count < 1 || count > MAX_ERRORS)
		complain("the count must be between 1 and %d", MAX_ERRORS);
	return (int) count;
}

/*
 * The commands.  Each gets its arguments, those left out as NULL, and has
 * nothing to do once a complaint is noted: the caller checks the arguments by
 * way of the parse functions first.
 */
static void
create_topic(char **arg)
{
	long		partitions = parse_number(arg[1]);

	if (!complaint[0])
		check(rd_kafka_mock_topic_create(cluster, arg[0], (int) partitions, 1));
}

static void
set_topic_error(char **arg)
{
	rd_kafka_resp_err_t err = parse_error(arg[1]);

	if (!complaint[0])
		rd_kafka_mock_topic_set_error(cluster, arg[0], err);
}

static void
set_leader(char **arg)
{
	long		partition = parse_number(arg[1]);
	long		broker = parse_number(arg[2]);

	if (!complaint[0])
		check(rd_kafka_mock_partition_set_leader(cluster, arg[0], partition, broker));
}

static void
set_follower(char **arg)
{
	long		partition = parse_number(arg[1]);
	long		broker = parse_number(arg[2]);

	if (!complaint[0])
		check(rd_kafka_mock_partition_set_follower(cluster, arg[0], partition, broker));
}

static void
set_follower_offsets(char **arg)
{
	long		partition = parse_number(arg[1]);
	long		low = parse_number(arg[2]);
	long		high = parse_number(arg[3]);

	if (!complaint[0])
		check(rd_kafka_mock_partition_set_follower_wmarks(cluster, arg[0], partition, low, high));
}

static void
set_down(char **arg)
{
	long		broker = parse_number(arg[0]);

	if (!complaint[0])
		check(rd_kafka_mock_broker_set_down(cluster, broker));
}

static void
set_up(char **arg)
{
	long		broker = parse_number(arg[0]);

	if (!complaint[0])
		check(rd_kafka_mock_broker_set_up(cluster, broker));
}

static void
set_rtt(char **arg)
{
	long		broker = parse_number(arg[0]);
	long		rtt = parse_number(arg[1]);

	if (!complaint[0])
		check(rd_kafka_mock_broker_set_rtt(cluster, broker, (int) rtt));
}

static void
push_errors(char **arg)
{
	static rd_kafka_resp_err_t errors[MAX_ERRORS];
	int			api = parse_api(arg[0]);
	rd_kafka_resp_err_t err = parse_error(arg[1]);
	int			count = parse_count(arg[2]);

	if (complaint[0])
		return;
	for (int i = 0; i < count; i++)
		errors[i] = err;
	rd_kafka_mock_push_request_errors_array(cluster, api, count, errors);
}

static void
push_broker_errors(char **arg)
{
	long		broker = parse_number(arg[0]);
	int			api = parse_api(arg[1]);
	rd_kafka_resp_err_t err = parse_error(arg[2]);
	int			rtt = (int) parse_number(arg[3]);
	int			count = parse_count(arg[4]);

	for (int i = 0; i < count && !complaint[0]; i++)
		check(rd_kafka_mock_broker_push_request_error_rtts(cluster, broker, api, 1, err, rtt));
}

static void
clear_errors(char **arg)
{
	int			api = parse_api(arg[0]);

	if (!complaint[0])
		rd_kafka_mock_clear_request_errors(cluster, api);
}

static void
set_coordinator(char **arg)
{
	long		broker = parse_number(arg[2]);

	if (!complaint[0])
		check(rd_kafka_mock_coordinator_set(cluster, arg[0], arg[1], broker));
}

static void
set_api_version(char **arg)
{
	int			api = parse_api(arg[0]);
	long		min = parse_number(arg[1]);
	long		max = parse_number(arg[2]);

	if (!complaint[0])
		check(rd_kafka_mock_set_apiversion(cluster, api, min, max));
}

static const struct
{
	const char *name;
	int			min_args;
	int			max_args;
	void		(*run) (char **arg);
}			commands[] =
{
	{"topic", 2, 2, create_topic},
	{"topic-error", 2, 2, set_topic_error},
	{"leader", 3, 3, set_leader},
	{"follower", 3, 3, set_follower},
	{"follower-offsets", 4, 4, set_follower_offsets},
	{"down", 1, 1, set_down},
	{"up", 1, 1, set_up},
	{"rtt", 2, 2, set_rtt},
	{"errors", 2, 3, push_errors},
	{"broker-errors", 4, 5, push_broker_errors},
	{"clear-errors", 1, 1, clear_errors},
	{"coordinator", 3, 3, set_coordinator},
	{"api-version", 3, 3, set_api_version},
};

/* Splits a line into words; unused places of words stay NULL. */
static int
split_words(char *line, char **words)
{
	int			count = 0;

	for (char *word = strtok(line, " \t\n"); word && count < MAX_ARGS; word = strtok(NULL, " \t\n"))
		words[count++] = word;
	return count;
}

/* Carries out one command line and writes its answer. */
static void
run_command(char *line, int answer)
{
	char	   *words[MAX_ARGS] = {NULL};
	int			nargs = split_words(line, words) - 1;

	complaint[0] = '\0';
	if (nargs == 0 && strcmp(words[0], "bootstrap") == 0)
	{
		dprintf(answer, "ok %s\n", rd_kafka_mock_cluster_bootstraps(cluster));
		return;
	}
	for (size_t i = 0; nargs >= 0 && i < lengthof(commands); i++)
	{
		if (strcmp(words[0], commands[i].name) != 0)
			continue;
		if (nargs < commands[i].min_args || nargs > commands[i].max_args)
			complain("wrong number of arguments");
		else
			commands[i].run(words + 1);
		if (complaint[0])
			dprintf(answer, "error: %s\n", complaint);
		else
			dprintf(answer, "ok\n");
		return;
	}
	dprintf(answer, "error: unknown command\n");
}

static struct sockaddr_un
socket_address(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
	{
		errno = ENAMETOOLONG;
		die(path);
	}
	strcpy(address.sun_path, path);
	return address;
}

/* Starts the brokers; the client they hang on talks to nobody. */
static void
start_cluster(int brokers)
{
	char		reason[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "log_level", "4", NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
	if (rk != NULL)
		cluster = rd_kafka_mock_cluster_new(rk, brokers);
	if (cluster == NULL)
	{
		fprintf(stderr, "weir-mock: could not create the mock cluster\n");
		exit(1);
	}
}

/* Serves one connection: one command line, one answer. */
static void
serve_connection(int fd)
{
	char		line[MAX_COMMAND];
	FILE	   *stream = fdopen(fd, "r");

	if (stream == NULL)
		die("fdopen");
	if (fgets(line, sizeof(line), stream) != NULL)
		run_command(line, fd);
	fclose(stream);
}

/* Serves commands for ever. */
static void
serve(const char *path, int brokers)
{
	struct sockaddr_un address = socket_address(path);
	int			listener = socket(AF_UNIX, SOCK_STREAM, 0);

	signal(SIGPIPE, SIG_IGN);
	start_cluster(brokers);
	unlink(path);
	if (listener < 0 || bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
		listen(listener, 8) < 0)
		die(path);
	for (;;)
	{
		int			fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			serve_connection(fd);
		else if (errno != EINTR)
			die("accept");
	}
}

/* Sends the words as one line; prints the answer's text, fails on an error. */
static int
send_command(const char *path, char **words)
{
	struct sockaddr_un address = socket_address(path);
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char		answer[MAX_COMMAND] = "";
	const struct timeval patience = {ANSWER_TIMEOUT_S, 0};
	FILE	   *stream;

	if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		die(path);
	for (; *words != NULL; words++)
		dprintf(fd, "%s%c", *words, words[1] ? ' ' : '\n');
	stream = fdopen(fd, "r");
	if (stream == NULL || fgets(answer, sizeof(answer), stream) == NULL)
		die("no answer");
	if (strncmp(answer, "ok", 2) != 0)
	{
		fprintf(stderr, "weir-mock: %s", answer);
		return 1;
	}
	if (answer[2] == ' ')
		fputs(answer + 3, stdout);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		serve(argv[2], atoi(argv[3]));
	if (argc >= 4 && strcmp(argv[1], "send") == 0)
		return send_command(argv[2], argv + 3);
	fprintf(stderr, "usage: weir-mock serve SOCKET BROKERS | send SOCKET COMMAND...\n");
	return 2;
}
