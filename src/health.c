/*
 * health.c
 *	  What librdkafka's statistics say about brokers and partitions.
 *
 * A broker that hangs breaks no connection: librdkafka goes on waiting, and
 * the stream looks idle.  The statistics tell how long each broker has been
 * silent.  A healthy one that leads a partition of ours answers a fetch at
 * least every fetch.wait.max.ms.
 *
 * What follows from it is worker.c's to decide.
 */
#include "postgres.h"

#include "health.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Returns a member of an object, or NULL. */
static JsonbValue *
member(JsonbContainer *object, const char *name, JsonbValue *result)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), result);
}

/* Returns a member that is an object, or NULL. */
static JsonbContainer *
member_object(JsonbContainer *object, const char *name)
{
	JsonbValue	value;

	if (!object || !member(object, name, &value) ||
		value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		return NULL;
	return value.val.binary.data;
}

/* Returns a member that is a number, or otherwise. */
static int64
member_int(JsonbContainer *object, const char *name, int64 otherwise)
{
	JsonbValue	value;

	if (!member(object, name, &value) || value.type != jbvNumeric)
		return otherwise;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
}

/* Is a partition fetched?  A client knows all partitions of a topic, and maybe reads few. */
static bool
is_fetched(JsonbContainer *partitions, int64 partition)
{
	char		number[32];
	JsonbContainer *known;
	JsonbValue	state;

	snprintf(number, sizeof(number), INT64_FORMAT, partition);
	known = member_object(partitions, number);
	if (!known || !member(known, "fetch_state", &state) || state.type != jbvString)
		return false;
	return !(state.val.string.len == 4 && memcmp(state.val.string.val, "none", 4) == 0) &&
		!(state.val.string.len == 7 && memcmp(state.val.string.val, "stopped", 7) == 0);
}

/* Do we read from a broker? */
static bool
is_read_from(JsonbContainer *broker, JsonbContainer *partitions)
{
	JsonbContainer *led = member_object(broker, "toppars");
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		found = false;

	if (!led)
		return false;
	it = JsonbIteratorInit(led);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_VALUE && value.type == jbvBinary)
			found = found || is_fetched(partitions, member_int(value.val.binary.data, "partition", -1));
	}
	return found;
}

/* Judges one broker, if we read from it. */
static void
judge_broker(JsonbContainer *broker, JsonbContainer *partitions, WeirHealth *health)
{
	JsonbValue	state;
	JsonbValue	name;
	bool		up;
	int64		silence;

	if (!is_read_from(broker, partitions))
		return;
	health->leaders++;
	up = member(broker, "state", &state) && state.type == jbvString &&
		state.val.string.len == 2 && memcmp(state.val.string.val, "UP", 2) == 0;
	silence = member_int(broker, "rxidle", -1);
	if (up && silence < WEIR_SILENCE_US)
		return;

	health->unwell++;
	health->down = !up;
	if (member(broker, "nodename", &name) && name.type == jbvString)
		snprintf(health->broker, sizeof(health->broker), "%.*s",
				 name.val.string.len, name.val.string.val);
}

/* Calls back for each partition of the topic. */
static void
report_partitions(JsonbContainer *partitions, bool read_committed,
				  WeirEndOffsetFn end_offset, void *arg)
{
	JsonbIterator *it = JsonbIteratorInit(partitions);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		int64		partition;

		if (token != WJB_VALUE || value.type != jbvBinary)
			continue;
		partition = member_int(value.val.binary.data, "partition", -1);
		if (partition >= 0)
			end_offset(arg, (int32) partition,
					   member_int(value.val.binary.data,
								  read_committed ? "ls_offset" : "hi_offset", -1));
	}
}

/* Reads one report of statistics. */
void
weir_health_read(const char *statistics, const char *topic, bool read_committed,
				 WeirHealth *health, WeirEndOffsetFn end_offset, void *arg)
{
	Jsonb	   *report = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(statistics)));
	JsonbContainer *brokers = member_object(&report->root, "brokers");
	JsonbContainer *partitions = member_object(member_object(member_object(&report->root, "topics"), topic),
											   "partitions");

	memset(health, 0, sizeof(*health));
	if (brokers)
	{
		JsonbIterator *it = JsonbIteratorInit(brokers);
		JsonbIteratorToken token;
		JsonbValue	value;

		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		{
			if (token == WJB_VALUE && value.type == jbvBinary)
				judge_broker(value.val.binary.data, partitions, health);
		}
	}
	if (partitions)
		report_partitions(partitions, read_committed, end_offset, arg);
}
