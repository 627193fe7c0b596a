/*
 * api_task.c
 *	  What functions on tasks are in C: the tick, cron expressions, and what
 *	  those in SQL (src/sql/task_api.sql) need.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog_task.h"
#include "cron.h"
#include "fmgr.h"
#include "funcapi.h"
#include "shared.h"
#include "task_session.h"
#include "utils/builtins.h"
#include "wake.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_tick);
PG_FUNCTION_INFO_V1(weir_wake_tasks);
PG_FUNCTION_INFO_V1(weir_lock_tasks);
PG_FUNCTION_INFO_V1(weir_check_command);
PG_FUNCTION_INFO_V1(weir_current_run);
PG_FUNCTION_INFO_V1(weir_fail_task);
PG_FUNCTION_INFO_V1(weir_database_identity);
PG_FUNCTION_INFO_V1(weir_stream_watermark);
PG_FUNCTION_INFO_V1(weir_cron_next_sql);
PG_FUNCTION_INFO_V1(weir_cron_previous_sql);

/* ---- the tick ---- */

/* Raises 55000 where no task can run. */
static void
check_preloaded(void)
{
	if (!weir_shared_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_weir is not in shared_preload_libraries"),
				 errdetail("Tasks are run by background workers, which start with the server."),
				 errhint("Add pg_weir to shared_preload_libraries in postgresql.conf and restart the server.")));
}

/* weir.tick */
Datum
weir_tick(PG_FUNCTION_ARGS)
{
	weir_arg_check_server(fcinfo);
	check_preloaded();
	if (weir_catalog_task_is_due(true))
		weir_wake_tasks_at_commit();
	PG_RETURN_VOID();
}

/* weir_internal.wake_tasks */
Datum
weir_wake_tasks(PG_FUNCTION_ARGS)
{
	weir_wake_tasks_at_commit();
	PG_RETURN_VOID();
}

/* weir_internal.lock_tasks */
Datum
weir_lock_tasks(PG_FUNCTION_ARGS)
{
	weir_fence_tasks();
	PG_RETURN_VOID();
}

/* ---- what tasks are made of ---- */

/* Parses the SQL that a parameter gives. */
static void
check_command(const char *parameter, const char *command, bool is_condition)
{
	List	   *statements = weir_task_command_parse(command);

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" must not be empty", parameter)));
	if (is_condition && list_length(statements) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" must be one expression", parameter)));
}

/* weir_internal.check_command */
Datum
weir_check_command(PG_FUNCTION_ARGS)
{
	char	   *parameter = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *command = weir_task_command_prepare(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		check_command(parameter, command, PG_GETARG_BOOL(2));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* the position would be taken for one in the statement that has called us */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->cursorpos = error->internalpos = 0;
		error->internalquery = NULL;
		if (error->sqlerrcode == ERRCODE_SYNTAX_ERROR && error->detail == NULL)
			error->detail = psprintf("It is in parameter \"%s\".", parameter);
		ReThrowError(error);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

/* weir.current_run */
Datum
weir_current_run(PG_FUNCTION_ARGS)
{
	static const int parameters[] = {
		WEIR_TASK_NAME, WEIR_TASK_RUN_ID, WEIR_TASK_ATTEMPT, WEIR_TASK_INTERVAL_START, WEIR_TASK_INTERVAL_END
	};
	const WeirTaskOrder *order = weir_task_session_order();
	Datum		values[lengthof(parameters)] = {0};
	bool		nulls[lengthof(parameters)];
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < lengthof(parameters); i++)
	{
		nulls[i] = order == NULL || order->nulls[parameters[i] - 1];
		if (!nulls[i])
			values[i] = order->values[parameters[i] - 1];
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* weir_internal.fail_task */
Datum
weir_fail_task(PG_FUNCTION_ARGS)
{
	weir_task_session_fail(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* weir_internal.database_identity */
Datum
weir_database_identity(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(weir_catalog_database_identity()));
}

/* weir_internal.stream_watermark */
Datum
weir_stream_watermark(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(weir_catalog_stream_watermark(PG_GETARG_OID(0)));
}

/* ---- cron expressions ---- */

typedef bool (*CronSearch) (const WeirCron *cron, const pg_tz *zone, TimestampTz from, TimestampTz *due);

/* Searches on from a moment. */
static Datum
search(FunctionCallInfo fcinfo, CronSearch direction)
{
	char	   *schedule = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(1);
	pg_tz	   *zone = weir_window_zone(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	WeirCron	cron;
	TimestampTz due;

	weir_cron_parse(schedule, &cron);
	if (TIMESTAMP_NOT_FINITE(from))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("the time must be finite")));
	if (!direction(&cron, zone, from, &due))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cron expression \"%s\" never comes due", schedule)));
	if (!IS_VALID_TIMESTAMP(due))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	PG_RETURN_TIMESTAMPTZ(due);
}

/* weir.cron_next */
Datum
weir_cron_next_sql(PG_FUNCTION_ARGS)
{
	return search(fcinfo, weir_cron_next);
}

/* weir.cron_previous */
Datum
weir_cron_previous_sql(PG_FUNCTION_ARGS)
{
	return search(fcinfo, weir_cron_previous);
}
