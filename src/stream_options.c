/*
 * stream_options.c
 *	  What a stream's options may be: checked when it is created and altered.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "stream_options.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

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
	microseconds = value->time + value->day * USECS_PER_DAY;
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

static void
reject_start(const char *parameter, const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for parameter \"%s\": \"%s\"", parameter, text),
			 errhint("It must be earliest, latest, a timestamp, or offsets by partition such as {\"0\": 123, \"1\": 456}.")));
}

/* Reads {"partition": offset, …}. */
static void
parse_offsets(const char *parameter, const char *text, WeirStart *start)
{
	Jsonb	   *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(jsonb) || JB_ROOT_COUNT(jsonb) == 0)
		reject_start(parameter, text);
	start->partitions = palloc(sizeof(int32) * JB_ROOT_COUNT(jsonb));
	start->offsets = palloc(sizeof(int64) * JB_ROOT_COUNT(jsonb));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *key = pnstrdup(value.val.string.val, value.val.string.len);

			if (strspn(key, "0123456789") != strlen(key) || strlen(key) > 9 || key[0] == '\0')
				reject_start(parameter, text);
			start->partitions[start->n] = atoi(key);
		}
		else if (token == WJB_VALUE)
		{
			if (value.type != jbvNumeric)
				reject_start(parameter, text);
			start->offsets[start->n] =
				DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
			if (start->offsets[start->n] < 0)
				reject_start(parameter, text);
			start->n++;
		}
	}
}

/* Reads where a stream is to start. */
WeirStart *
weir_start_parse(const char *parameter, const char *text)
{
	WeirStart  *start = palloc0(sizeof(WeirStart));

	if (strcmp(text, "earliest") == 0)
		start->kind = WEIR_START_EARLIEST;
	else if (strcmp(text, "latest") == 0)
		start->kind = WEIR_START_LATEST;
	else if (text[strspn(text, " \t\r\n")] == '{')
	{
		start->kind = WEIR_START_OFFSETS;
		parse_offsets(parameter, text, start);
	}
	else if (text[0] >= '0' && text[0] <= '9')
	{
		start->kind = WEIR_START_TIMESTAMP;
		start->timestamp = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																   CStringGetDatum(text),
																   ObjectIdGetDatum(InvalidOid),
																   Int32GetDatum(-1)));
		if (TIMESTAMP_NOT_FINITE(start->timestamp))
			reject_start(parameter, text);
	}
	else
		reject_start(parameter, text);
	return start;
}
