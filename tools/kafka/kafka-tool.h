/*
 * kafka-tool.h
 *	  What the files of kafka-tool share.
 */
#ifndef KAFKA_TOOL_H
#define KAFKA_TOOL_H

#include <librdkafka/rdkafka.h>

/* Prints a message like printf and ends the program with status 1. */
extern void die(const char *fmt,...) __attribute__((format(printf, 1, 2), noreturn));

/* Reads a whole decimal number or dies, naming what it is for. */
extern long long parse_number(const char *text, const char *what);

/*
 * Creates a producer, which also does as an admin client, from conf.  The
 * options given by -b and -X go over what conf holds already.
 */
extern rd_kafka_t *client_new(rd_kafka_conf_t *conf);

/* The same for a consumer. */
extern rd_kafka_t *consumer_new(rd_kafka_conf_t *conf);

/* Sets one option or dies with librdkafka's reason. */
extern void conf_set(rd_kafka_conf_t *conf, const char *name, const char *value);

/* The subcommands: argv[0] is the subcommand's name. */
extern int	topic_main(int argc, char **argv);
extern int	produce_main(int argc, char **argv);
extern int	group_main(int argc, char **argv);

#endif
