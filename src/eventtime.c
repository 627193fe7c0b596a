/*
 * eventtime.c
 *	  When an event happened, and how the watermark of its partition moves.
 *
 * The watermark of a partition is the greatest event time seen minus the
 * disorder allowed.  Only accepted events move it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "eventtime.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Finds the column that declares a stream's event time. */
void
weir_eventtime_find(TupleDesc tupdesc, const WeirStream *stream, WeirEventTime *eventtime)
{
	eventtime->attno = 0;
	eventtime->column = stream->event_time;
	eventtime->max_out_of_orderness = stream->max_out_of_orderness;
	eventtime->max_future = stream->max_future;

	if (stream->event_time == NULL)
	{
		eventtime->column = "_timestamp";
		return;
	}
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), stream->event_time) != 0)
			continue;
		if (att->atttypid != TIMESTAMPTZOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("event time column \"%s\" of stream \"%s\" must be of type timestamp with time zone",
							stream->event_time, stream->name),
					 errdetail("It is of type %s.", format_type_be(att->atttypid))));
		eventtime->attno = att->attnum;
	}
	if (eventtime->attno == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("event time column \"%s\" of stream \"%s\" does not exist",
						stream->event_time, stream->name)));
}

/* Reads and judges the event time of a row. */
bool
weir_eventtime_judge(const WeirEventTime *eventtime, const WeirMessage *message,
					 const Datum *values, const bool *isnull, TimestampTz now,
					 TimestampTz *event_time, WeirFault *fault)
{
	bool		missing = eventtime->attno == 0 ? !message->has_timestamp : isnull[eventtime->attno - 1];
	TimestampTz reference = message->log_append_time && message->has_timestamp ? message->timestamp : now;

	/* a tombstone has no columns to speak of: Kafka's time is its time */
	if (message->value == NULL && missing && message->has_timestamp)
	{
		missing = false;
		*event_time = message->timestamp;
	}
	else if (!missing)
		*event_time = eventtime->attno == 0 ? message->timestamp :
			DatumGetTimestampTz(values[eventtime->attno - 1]);

	if (missing)
		return weir_fault(fault, WEIR_STAGE_EVENT_TIME, ERRCODE_NULL_VALUE_NOT_ALLOWED,
						  eventtime->column, "event time is null");
	if (TIMESTAMP_NOT_FINITE(*event_time))
		return weir_fault(fault, WEIR_STAGE_EVENT_TIME, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
						  eventtime->column, "event time is infinite");
	if (*event_time > reference && *event_time - reference > eventtime->max_future)
	{
		weir_fault(fault, WEIR_STAGE_EVENT_TIME, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
				   eventtime->column, "event time is too far in the future");
		fault->detail = psprintf("It is more than max_future after the %s clock.",
								 message->log_append_time ? "broker's" : "server's");
		return false;
	}
	return true;
}

/* Returns the watermark after an event. */
TimestampTz
weir_eventtime_advance(const WeirEventTime *eventtime, TimestampTz watermark, TimestampTz event_time)
{
	TimestampTz candidate = event_time - eventtime->max_out_of_orderness;

	return Max(watermark, Max(candidate, MIN_TIMESTAMP));
}
