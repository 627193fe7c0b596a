/*
 * produce.c
 *	  Sends the lines of standard input to a topic.
 *
 *	  produce TOPIC [--key] [--partition N] [--tombstone TEXT] [--hex]
 *			[--header NAME=VALUE]... [--timestamp MS]
 *			[--transaction commit|abort]
 *
 * One line is one value, which may be empty.  With --key a line is
 * key<TAB>value; a line without a TAB has no key, one that begins with a TAB
 * has an empty key.  --tombstone sends NULL for each value that equals TEXT.
 * With --hex, key and value are written as hexadecimal digits, so that they may
 * hold line feeds.  Keys go to partitions as Java's producer would send them.
 *
 * Every message is acknowledged by the broker before the program ends with 0.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "kafka-tool.h"

#define FLUSH_TIMEOUT_MS		60000
#define TRANSACTION_TIMEOUT_MS	30000
#define LINES_PER_POLL			1000

typedef struct ProduceArgs
{
	const char *topic;
	int32_t		partition;
	int			keyed;
	int			hex;
	const char *tombstone;		/* NULL: no value becomes NULL */
	int64_t		timestamp;		/* 0: now */
	const char *transaction;	/* "commit", "abort" or NULL */
	rd_kafka_headers_t *headers;	/* NULL: none */
} ProduceArgs;

typedef struct Message
{
	char	   *key;			/* NULL: no key */
	size_t		key_length;
	char	   *value;			/* NULL: a tombstone */
	size_t		value_length;
} Message;

/* Remembers the first delivery failure; runs only inside polls of main. */
static void
delivery_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	rd_kafka_resp_err_t *first_error = opaque;

	if (message->err && !*first_error)
		*first_error = message->err;
}

static void
check_transaction(rd_kafka_error_t *error, const char *what)
{
	if (error != NULL)
		die("could not %s the transaction: %s", what, rd_kafka_error_string(error));
}

static int
hex_digit(char digit)
{
	if (isdigit((unsigned char) digit))
		return digit - '0';
	if (isxdigit((unsigned char) digit))
		return tolower((unsigned char) digit) - 'a' + 10;
	die("not a hexadecimal digit: \"%c\"", digit);
}

/* Turns hexadecimal digits into bytes, in place; returns the new length. */
static size_t
decode_hex(char *text, size_t length)
{
	if (length % 2 != 0)
		die("odd number of hexadecimal digits");
	for (size_t i = 0; i < length / 2; i++)
		text[i] = (char) (hex_digit(text[2 * i]) * 16 + hex_digit(text[2 * i + 1]));
	return length / 2;
}

/* Splits a line, whose line feed is cut off already, into key and value. */
static void
parse_line(char *line, size_t length, const ProduceArgs *args, Message *message)
{
	char	   *tab = args->keyed ? memchr(line, '\t', length) : NULL;

	*message = (Message) {.value = line, .value_length = length};
	if (tab != NULL)
	{
		message->key = line;
		message->key_length = tab - line;
		message->value = tab + 1;
		message->value_length = length - message->key_length - 1;
	}
	if (args->tombstone != NULL &&
		message->value_length == strlen(args->tombstone) &&
		memcmp(message->value, args->tombstone, message->value_length) == 0)
	{
		message->value = NULL;
		message->value_length = 0;
	}
	if (args->hex)
	{
		message->key_length = decode_hex(message->key, message->key_length);
		message->value_length = decode_hex(message->value, message->value_length);
	}
}

/* Hands one message to the client; returns the error, if any. */
static rd_kafka_resp_err_t
enqueue(rd_kafka_t *rk, rd_kafka_topic_t *topic, const ProduceArgs *args, const Message *message)
{
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t err;

	/* The short way, for speed. */
	if (args->headers == NULL && args->timestamp == 0)
	{
		if (rd_kafka_produce(topic, args->partition, RD_KAFKA_MSG_F_COPY,
							 message->value, message->value_length,
							 message->key, message->key_length, NULL) == 0)
			return RD_KAFKA_RESP_ERR_NO_ERROR;
		return rd_kafka_last_error();
	}

	headers = args->headers ? rd_kafka_headers_copy(args->headers) : NULL;
	err = rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(args->partition),
							RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							RD_KAFKA_V_VALUE(message->value, message->value_length),
							RD_KAFKA_V_KEY(message->key, message->key_length),
							RD_KAFKA_V_TIMESTAMP(args->timestamp),
							RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
	/* On success the headers belong to the message. */
	if (err && headers)
		rd_kafka_headers_destroy(headers);
	return err;
}

/* Sends one message, waiting while the client's queue is full. */
static void
send_message(rd_kafka_t *rk, rd_kafka_topic_t *topic, const ProduceArgs *args, const Message *message)
{
	rd_kafka_resp_err_t err;

	while ((err = enqueue(rk, topic, args, message)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		rd_kafka_poll(rk, 100);
	if (err)
		die("topic \"%s\": %s", args->topic, rd_kafka_err2str(err));
}

/* Sends all lines of standard input. */
static void
send_lines(rd_kafka_t *rk, rd_kafka_topic_t *topic, const ProduceArgs *args)
{
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		length;
	long long	count = 0;
	Message		message;

	while ((length = getline(&line, &size, stdin)) != -1)
	{
		if (length > 0 && line[length - 1] == '\n')
			length--;
		parse_line(line, length, args, &message);
		send_message(rk, topic, args, &message);
		if (++count % LINES_PER_POLL == 0)
			rd_kafka_poll(rk, 0);
	}
	if (ferror(stdin))
		die("could not read standard input: %s", strerror(errno));
	free(line);
}

/* Starts a transaction under an id of our own, so as to fence nobody. */
static void
begin_transaction(rd_kafka_t *rk)
{
	check_transaction(rd_kafka_init_transactions(rk, TRANSACTION_TIMEOUT_MS), "prepare");
	check_transaction(rd_kafka_begin_transaction(rk), "begin");
}

/*
 * Commits or aborts.  Messages are flushed first, so that an aborted
 * transaction really leaves messages in the log that readers must skip.
 */
static void
end_transaction(rd_kafka_t *rk, const char *how)
{
	if (strcmp(how, "commit") == 0)
		check_transaction(rd_kafka_commit_transaction(rk, TRANSACTION_TIMEOUT_MS), "commit");
	else
		check_transaction(rd_kafka_abort_transaction(rk, TRANSACTION_TIMEOUT_MS), "abort");
}

static void
add_header(ProduceArgs *args, const char *pair)
{
	const char *value = strchr(pair, '=');

	if (value == NULL)
		die("header \"%s\" is not of the form name=value", pair);
	if (args->headers == NULL)
		args->headers = rd_kafka_headers_new(4);
	rd_kafka_header_add(args->headers, pair, value - pair, value + 1, strlen(value + 1));
}

static void
parse_args(int argc, char **argv, ProduceArgs *args)
{
	static const struct option options[] = {
		{"key", no_argument, NULL, 'k'},
		{"partition", required_argument, NULL, 'p'},
		{"tombstone", required_argument, NULL, 't'},
		{"hex", no_argument, NULL, 'x'},
		{"header", required_argument, NULL, 'h'},
		{"timestamp", required_argument, NULL, 's'},
		{"transaction", required_argument, NULL, 'T'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		if (option == 'k')
			args->keyed = 1;
		else if (option == 'p')
			args->partition = (int32_t) parse_number(optarg, "the partition");
		else if (option == 't')
			args->tombstone = optarg;
		else if (option == 'x')
			args->hex = 1;
		else if (option == 'h')
			add_header(args, optarg);
		else if (option == 's')
			args->timestamp = parse_number(optarg, "the timestamp");
		else if (option == 'T' && (strcmp(optarg, "commit") == 0 || strcmp(optarg, "abort") == 0))
			args->transaction = optarg;
		else
			die("wrong options of produce");
	}
	if (optind != argc - 1)
		die("produce wants exactly one topic name");
	args->topic = argv[optind];
}

/* Creates a producer that keeps order and copes with a million lines. */
static rd_kafka_t *
create_producer(const ProduceArgs *args, rd_kafka_resp_err_t *first_error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		id[64];

	if (args->transaction != NULL)
	{
		snprintf(id, sizeof(id), "weir-sandbox-%ld", (long) getpid());
		conf_set(conf, "transactional.id", id);
	}
	conf_set(conf, "enable.idempotence", "true");
	conf_set(conf, "partitioner", "murmur2_random");
	conf_set(conf, "topic.metadata.propagation.max.ms", "5000");
	conf_set(conf, "linger.ms", "5");
	conf_set(conf, "queue.buffering.max.messages", "500000");
	conf_set(conf, "queue.buffering.max.kbytes", "262144");
	conf_set(conf, "message.max.bytes", "16777216");
	rd_kafka_conf_set_dr_msg_cb(conf, delivery_report);
	rd_kafka_conf_set_opaque(conf, first_error);
	return client_new(conf);
}

int
produce_main(int argc, char **argv)
{
	ProduceArgs args = {.partition = RD_KAFKA_PARTITION_UA};
	rd_kafka_resp_err_t first_error = RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_resp_err_t err;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;

	parse_args(argc, argv, &args);
	rk = create_producer(&args, &first_error);
	topic = rd_kafka_topic_new(rk, args.topic, NULL);

	if (args.transaction != NULL)
		begin_transaction(rk);
	send_lines(rk, topic, &args);
	err = rd_kafka_flush(rk, FLUSH_TIMEOUT_MS);
	if (!err)
		err = first_error;
	if (err)
		die("topic \"%s\": %s", args.topic, rd_kafka_err2str(err));
	if (args.transaction != NULL)
		end_transaction(rk, args.transaction);

	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
