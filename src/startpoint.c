/*
 * startpoint.c
 *	  Where to start reading: start_from of a stream, seek_to of weir.seek().
 *
 * What offsets that means, consumer.c and probe.c ask a broker.
 */
#include "postgres.h"

#include "startpoint.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* As librdkafka and the protocol have them. */
#define TIME_LATEST		INT64CONST(-1)
#define TIME_EARLIEST	INT64CONST(-2)

struct WeirStartPoint
{
	int64		time;
	Jsonb	   *offsets;		/* NULL: the same for all partitions */
};

/* Throws what is said about any start point that makes no sense. */
static void
refuse(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot start from \"%s\"", text),
			 errhint("Say earliest, latest, a timestamp, or offsets by partition like {\"0\": 123, \"1\": 456}.")));
}

/* Checks that a jsonb maps numbers of partitions to offsets. */
static void
check_offsets(Jsonb *offsets, const char *text)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(offsets))
		refuse(text);
	it = JsonbIteratorInit(&offsets->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *key = pnstrdup(value.val.string.val, value.val.string.len);

			if (key[0] == '\0' || strspn(key, "0123456789") != strlen(key) || strlen(key) > 9 ||
				(key[0] == '0' && key[1] != '\0'))
				refuse(text);
		}
		else if (token == WJB_VALUE &&
				 (value.type != jbvNumeric ||
				  DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric))) < 0))
			refuse(text);
	}
}

/* Reads a timestamp, in the session's TimeZone. */
static TimestampTz
parse_time(const char *text)
{
	TimestampTz time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
															   CStringGetDatum(text),
															   ObjectIdGetDatum(InvalidOid),
															   Int32GetDatum(-1)));

	if (TIMESTAMP_NOT_FINITE(time))
		refuse(text);
	return time;
}

/* Reads a start point. */
WeirStartPoint *
weir_startpoint_parse(const char *text)
{
	WeirStartPoint *start = palloc0(sizeof(WeirStartPoint));

	start->time = TIME_EARLIEST;
	if (pg_strcasecmp(text, "earliest") == 0)
		return start;
	if (pg_strcasecmp(text, "latest") == 0)
		start->time = TIME_LATEST;
	else if (strchr(text, '{'))
	{
		start->offsets = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
		check_offsets(start->offsets, text);
	}
	else
	{
		TimestampTz time = parse_time(text);

		/* Nothing in Kafka is older than 1970. */
		start->time = Max(time / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000), 0);
	}
	return start;
}

/* Returns the text of a start point as it is to be stored. */
char *
weir_startpoint_canonical(const char *text)
{
	(void) weir_startpoint_parse(text);
	if (pg_strcasecmp(text, "earliest") == 0)
		return pstrdup("earliest");
	if (pg_strcasecmp(text, "latest") == 0)
		return pstrdup("latest");
	if (strchr(text, '{'))
		return pstrdup(text);
	return pstrdup(timestamptz_to_str(parse_time(text)));
}

/* Does it say offsets itself, and of which partitions? */
bool
weir_startpoint_partitions(const WeirStartPoint *start, List **partitions)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	*partitions = NIL;
	if (!start->offsets)
		return false;
	it = JsonbIteratorInit(&start->offsets->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			*partitions = lappend_int(*partitions, atoi(pnstrdup(value.val.string.val, value.val.string.len)));
	}
	return true;
}

/* Does it say the offset of this partition itself? */
bool
weir_startpoint_offset(const WeirStartPoint *start, int32 partition, int64 *offset)
{
	char		key[16];
	JsonbValue	value;

	if (!start->offsets)
		return false;
	snprintf(key, sizeof(key), "%d", partition);
	if (!getKeyJsonValueFromContainer(&start->offsets->root, key, strlen(key), &value))
		return false;
	*offset = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
	return true;
}

int64
weir_startpoint_time(const WeirStartPoint *start)
{
	return start->time;
}
