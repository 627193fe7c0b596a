/*
 * stream_options.c
 *	  What a stream's options may be: checked when it is created and altered.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/int.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "stream_options.h"

const char *const weir_formats[] = {"json", NULL};
const char *const weir_key_formats[] = {"text", "bytea", "json", NULL};
const char *const weir_time_units[] = {"s", "ms", "us", NULL};
const char *const weir_tombstone_words[] = {"dead_letter", "skip", "row", NULL};
const char *const weir_isolation_levels[] = {"read_committed", "read_uncommitted", NULL};
const char *const weir_data_loss_words[] = {"stop", "continue", NULL};
const char *const weir_metadata_words[] = {"key", "headers", "topic", "ingested_at", NULL};

static char *
list_words(const char *const *words)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; words[i] != NULL; i++)
		appendStringInfo(&buf, "%s%s", i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ", words[i]);
	return buf.data;
}

/* Checks that a value is one of a list. */
void
weir_option_check_word(const char *parameter, const char *value, const char *const *allowed)
{
	if (value == NULL)
		return;
	for (int i = 0; allowed[i] != NULL; i++)
	{
		if (strcmp(value, allowed[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for parameter \"%s\": \"%s\"", parameter, value),
			 errhint("It must be %s.", list_words(allowed))));
}

/* Checks a duration: not negative, and of a fixed length. */
void
weir_option_check_duration(const char *parameter, const Interval *value, bool zero_allowed)
{
	int64		microseconds;

	if (value == NULL)
		return;
	if (pg_mul_s64_overflow(value->day, USECS_PER_DAY, &microseconds) ||
		pg_add_s64_overflow(microseconds, value->time, &microseconds))
		ereport(ERROR,
				(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
				 errmsg("parameter \"%s\" is out of range", parameter)));
	if (value->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" must not have months or years", parameter),
				 errhint("Their length varies; give days instead.")));
	if (microseconds < 0 || (microseconds == 0 && !zero_allowed))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" must be %s", parameter,
						zero_allowed ? "zero or greater" : "greater than zero")));
}

/* Checks a number's range. */
void
weir_option_check_number(const char *parameter, int value, int least, int greatest)
{
	if (value < least || value > greatest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" must be between %d and %d", parameter, least, greatest)));
}

/* Checks the name of a consumer group: what Kafka takes, and tools can show on a line. */
void
weir_option_check_group(const char *parameter, const char *value)
{
	Size		len = strlen(value);
	bool		plain = len > 0 && len <= 249;

	for (const char *p = value; *p != '\0'; p++)
		plain = plain && !iscntrl((unsigned char) *p);
	if (!plain)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\": \"%s\"", parameter, value),
				 errhint("The name of a consumer group has 1 to 249 bytes, without control characters.")));
}
