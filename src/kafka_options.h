/*
 * kafka_options.h
 *	  Which of librdkafka's properties may be set in OPTIONS, where, and what
 *	  a server and a user mapping have set.
 *
 * Floor 1.  Knows names and places only; what a value means to librdkafka is
 * kafka_client.c's to check.
 */
#ifndef WEIR_KAFKA_OPTIONS_H
#define WEIR_KAFKA_OPTIONS_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* Where an option may stand: bits. */
#define WEIR_IN_SERVER			0x01
#define WEIR_IN_USER_MAPPING	0x02

typedef enum WeirOptionKind
{
	WEIR_OPTION_PLAIN,
	WEIR_OPTION_SECRET,			/* its value appears nowhere */
	WEIR_OPTION_FILE			/* names a file of the server: privileged */
} WeirOptionKind;

/* One line of the allowlist. */
typedef struct WeirOptionRule
{
	const char *name;
	int			places;
	WeirOptionKind kind;
	const char *same_as;		/* librdkafka's other name for it, or NULL */
	int64		min;			/* our own bounds of a number; both 0: librdkafka's are enough */
	int64		max;
} WeirOptionRule;

/* An option as it was set. */
typedef struct WeirKafkaOption
{
	char	   *name;
	char	   *value;
} WeirKafkaOption;

/* The rule of an option that may be set, or NULL. */
extern const WeirOptionRule *weir_kafka_option_rule(const char *name);

/*
 * Checks one option but for its value: name, place, and the user's right to
 * name files.  Throws.
 */
extern const WeirOptionRule *weir_kafka_option_check(const char *name, int place);

/*
 * Checks the options of one place as a whole, each of them checked before: no
 * option under both of its names, none missing.  Throws.
 */
extern void weir_kafka_options_check_all(List *options, int place);

/*
 * The server of that name, one of ours, which the user may use.  Throws.
 */
extern Oid	weir_kafka_server_for(const char *name, Oid userid);

/*
 * The options in force for a user of a server: the server's, then those of
 * the user's mapping, or PUBLIC's if he has none.  A List of WeirKafkaOption
 * in the current context.  Needs a transaction.  Checks no rights.
 */
extern List *weir_kafka_options_of(Oid serverid, Oid userid);

/* The value of an option in such a list, under either of its names; or NULL. */
extern const char *weir_kafka_option_value(List *options, const char *name);

#endif							/* WEIR_KAFKA_OPTIONS_H */
