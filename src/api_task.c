/*
 * api_task.c
 *	  weir.create_task and what else there is to do with tasks.
 *
 * Most is one door: who calls is passed on to the function of the same name in
 * weir_internal, which runs as the superuser and checks what he may do
 * (src/sql/task_api.sql).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "catalog_task.h"
#include "cron.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "shared.h"
#include "task_session.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "wake.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_task_door);
PG_FUNCTION_INFO_V1(weir_tick);
PG_FUNCTION_INFO_V1(weir_wake_tasks);
PG_FUNCTION_INFO_V1(weir_lock_tasks);
PG_FUNCTION_INFO_V1(weir_check_command);
PG_FUNCTION_INFO_V1(weir_current_run);
PG_FUNCTION_INFO_V1(weir_database_identity);
PG_FUNCTION_INFO_V1(weir_stream_watermark);
PG_FUNCTION_INFO_V1(weir_cron_next_sql);
PG_FUNCTION_INFO_V1(weir_cron_previous_sql);

/* ---- the door ---- */

/* Calls weir_internal's function with the caller before the arguments; returns its value. */
static Datum
pass_on(FunctionCallInfo fcinfo, Form_pg_proc proc, bool *isnull)
{
	int			nargs = proc->pronargs + 1;
	Oid			types[FUNC_MAX_ARGS] = {REGROLEOID};
	Datum		values[FUNC_MAX_ARGS] = {ObjectIdGetDatum(GetUserId())};
	char		nulls[FUNC_MAX_ARGS] = {' '};
	StringInfoData sql;
	WeirCatalogSession session;
	Datum		result;
	int16		length;
	bool		by_value;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT weir_internal.%s($1", quote_identifier(NameStr(proc->proname)));
	for (int i = 1; i < nargs; i++)
	{
		types[i] = proc->proargtypes.values[i - 1];
		values[i] = fcinfo->args[i - 1].value;
		nulls[i] = fcinfo->args[i - 1].isnull ? 'n' : ' ';
		appendStringInfo(&sql, ", $%d", i + 1);
	}
	appendStringInfoChar(&sql, ')');

	weir_catalog_enter(&session);
	if (SPI_execute_with_args(sql.data, nargs, types, values, nulls, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "unexpected result of \"%s\"", sql.data);
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
	get_typlenbyval(proc->prorettype, &length, &by_value);
	if (!*isnull && proc->prorettype != VOIDOID)
		result = SPI_datumTransfer(result, by_value, length);
	weir_catalog_leave(&session);
	return result;
}

/* The functions on tasks that have one of the same name in weir_internal. */
Datum
weir_task_door(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCacheCopy1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	MemoryContext context = CurrentMemoryContext;
	Datum		result = (Datum) 0;
	bool		isnull = false;

	weir_arg_check_server(fcinfo);
	PG_TRY();
	{
		result = pass_on(fcinfo, (Form_pg_proc) GETSTRUCT(tuple), &isnull);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* the user has called one function, and need not know which that calls */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->context = NULL;
		error->internalquery = NULL;
		error->internalpos = 0;
		error->cursorpos = 0;
		ReThrowError(error);
	}
	PG_END_TRY();
	fcinfo->isnull = isnull;
	return result;
}

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

/* weir_internal.check_command */
Datum
weir_check_command(PG_FUNCTION_ARGS)
{
	(void) weir_task_command_parse(weir_task_command_prepare(text_to_cstring(PG_GETARG_TEXT_PP(0))));
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
