/*
 * catalog_task.c
 *	  Tasks and their runs, by the functions of weir_internal that move them on.
 *
 * What becomes of a run is decided in src/sql/task_run.sql.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_task.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"

static const char *const activities[] = {
	[WEIR_TASK_COMMAND] = "command",
	[WEIR_TASK_CONDITION] = "condition",
	[WEIR_TASK_ON_FAILURE] = "on_failure",
};

/* Runs a SELECT in a session of its own, and forgets what it returns. */
static void
call(WeirCatalogStatement *statement, Datum *values, const char *nulls)
{
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	(void) weir_catalog_execute(statement, values, nulls, SPI_OK_SELECT);
	weir_catalog_leave(&session);
}

/* Moves runs on. */
TimestampTz
weir_catalog_task_step(bool *stay)
{
	static WeirCatalogStatement statement = {"SELECT due, stay FROM weir_internal.task_step()", 0};
	WeirCatalogSession session;
	TimestampTz due;
	bool		isnull;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, NULL, NULL, SPI_OK_SELECT);
	due = weir_catalog_int64(SPI_tuptable->vals[0], 1, 0);
	*stay = DatumGetBool(weir_catalog_column(SPI_tuptable->vals[0], 2, &isnull));
	weir_catalog_leave(&session);
	return due;
}

/* Returns the activity of a name. */
static WeirTaskActivity
activity_of(const char *name)
{
	for (int i = 0; i < lengthof(activities); i++)
	{
		if (strcmp(activities[i], name) == 0)
			return i;
	}
	elog(ERROR, "unknown activity \"%s\"", name);
	return 0;
}

/* Picks runs for new sessions. */
List *
weir_catalog_task_take(int slots)
{
	static WeirCatalogStatement statement = {
		"SELECT run_id, activity, owner, task, attempt, obstacle FROM weir_internal.task_take($1)", 1, {INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *runs = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {Int32GetDatum(slots)}, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		WeirTaskRun *run = MemoryContextAllocZero(context, sizeof(WeirTaskRun));
		MemoryContext old;

		run->run = weir_catalog_int64(tuple, 1, 0);
		run->activity = activity_of(weir_catalog_string(tuple, 2, context));
		run->owner = (Oid) weir_catalog_int32(tuple, 3, InvalidOid);
		run->task = weir_catalog_string(tuple, 4, context);
		run->attempt = weir_catalog_int32(tuple, 5, 0);
		run->obstacle = weir_catalog_string(tuple, 6, context);
		old = MemoryContextSwitchTo(context);
		runs = lappend(runs, run);
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return runs;
}

/* Lists the runs that a session is there for, or was. */
List *
weir_catalog_task_active(void)
{
	static WeirCatalogStatement statement = {
		"SELECT run_id, attempt, pid, cancel_requested FROM weir_internal.task_active()", 0
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *runs = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, NULL, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		WeirTaskRun *run = MemoryContextAllocZero(context, sizeof(WeirTaskRun));
		MemoryContext old;
		bool		isnull;

		run->run = weir_catalog_int64(tuple, 1, 0);
		run->attempt = weir_catalog_int32(tuple, 2, 0);
		run->pid = weir_catalog_int32(tuple, 3, 0);
		run->cancel_requested = DatumGetBool(weir_catalog_column(tuple, 4, &isnull));
		old = MemoryContextSwitchTo(context);
		runs = lappend(runs, run);
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return runs;
}

/* Undoes weir_catalog_task_take() for a run. */
void
weir_catalog_task_put_back(int64 run, const char *reason)
{
	static WeirCatalogStatement statement = {
		"SELECT weir_internal.task_put_back($1, $2)", 2, {INT8OID, TEXTOID}
	};

	call(&statement, (Datum[]) {Int64GetDatum(run), CStringGetTextDatum(reason)}, NULL);
}

/* Deletes old runs. */
void
weir_catalog_task_purge(int older_than_s)
{
	static WeirCatalogStatement statement = {
		"SELECT weir_internal.purge_runs(pg_catalog.make_interval(secs => $1))", 1, {INT4OID}
	};

	call(&statement, (Datum[]) {Int32GetDatum(older_than_s)}, NULL);
}

/* Takes the tick away from pg_cron. */
void
weir_catalog_task_drop_tick(void)
{
	static WeirCatalogStatement statement = {"SELECT weir_internal.drop_tick()", 0};

	call(&statement, NULL, NULL);
}

/* Asks one of two questions: is something due soon; are runs not over? */
bool
weir_catalog_task_is_due(bool soon)
{
	static WeirCatalogStatement statements[] = {
		{"SELECT weir_internal.has_open_runs()", 0},
		{"SELECT weir_internal.tick_is_due()", 0},
	};
	WeirCatalogSession session;
	bool		isnull;
	bool		answer;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statements[soon], NULL, NULL, SPI_OK_SELECT);
	answer = DatumGetBool(weir_catalog_column(SPI_tuptable->vals[0], 1, &isnull));
	weir_catalog_leave(&session);
	return answer;
}

/* Copies a parameter's value out of a session. */
static void
read_parameter(HeapTuple tuple, int number, WeirTaskOrder *order, MemoryContext context)
{
	Datum		value = weir_catalog_column(tuple, number + 1, &order->nulls[number - 1]);
	Oid			type = weir_task_parameter_types[number - 1];
	bool		by_value = type != TEXTOID;
	MemoryContext old;

	if (order->nulls[number - 1])
		return;
	old = MemoryContextSwitchTo(context);
	order->values[number - 1] = datumCopy(value, by_value, by_value ? sizeof(Datum) : -1);
	MemoryContextSwitchTo(old);
}

/* Notes that this process is there for a run; returns what it is to do. */
WeirTaskOrder *
weir_catalog_task_begin(const WeirTaskRun *run)
{
	/* the columns in between are the parameters, in their order */
	static WeirCatalogStatement statement = {
		"SELECT command, interval_start, interval_end, task, run_id, attempt, sqlstate, error, timeout_ms"
		" FROM weir_internal.task_begin($1, $2, $3, $4)", 4, {INT8OID, TEXTOID, INT4OID, INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirTaskOrder *order = NULL;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(&statement,
							 (Datum[]) {Int64GetDatum(run->run), CStringGetTextDatum(activities[run->activity]),
										Int32GetDatum(run->attempt), Int32GetDatum(MyProcPid)},
							 NULL, SPI_OK_SELECT))
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];

		order = MemoryContextAllocZero(context, sizeof(WeirTaskOrder));
		order->command = weir_catalog_string(tuple, 1, context);
		for (int i = 1; i <= WEIR_TASK_PARAMETERS; i++)
			read_parameter(tuple, i, order, context);
		order->timeout_ms = weir_catalog_int32(tuple, WEIR_TASK_PARAMETERS + 2, 0);
	}
	weir_catalog_leave(&session);
	return order;
}

/* Ends what a session did. */
void
weir_catalog_task_end(const WeirTaskRun *run, int64 rows, Datum result, bool has_result)
{
	static WeirCatalogStatement statement = {
		"SELECT weir_internal.task_end($1, $2, $3, $4, $5)", 5, {INT8OID, TEXTOID, INT4OID, INT8OID, JSONBOID}
	};

	call(&statement,
		 (Datum[]) {Int64GetDatum(run->run), CStringGetTextDatum(activities[run->activity]),
					Int32GetDatum(run->attempt), Int64GetDatum(rows), result},
		 has_result ? "     " : "    n");
}

/* Ends it with an error. */
char *
weir_catalog_task_break(const WeirTaskRun *run, bool any_activity, int sqlstate, const char *error)
{
	static WeirCatalogStatement statement = {
		"SELECT weir_internal.task_break($1, $2, $3, $4, $5)", 5, {INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	char	   *state;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {Int64GetDatum(run->run), CStringGetTextDatum(activities[run->activity]),
									Int32GetDatum(run->attempt), CStringGetTextDatum(unpack_sql_state(sqlstate)),
									CStringGetTextDatum(error)},
						 any_activity ? " n   " : "     ", SPI_OK_SELECT);
	state = weir_catalog_string(SPI_tuptable->vals[0], 1, context);
	weir_catalog_leave(&session);
	return state;
}
