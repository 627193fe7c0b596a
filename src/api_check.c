/*
 * api_check.c
 *	  What checks need that SQL cannot do: texts of users are parsed without
 *	  running them, and run with the rights of one role, whatever comes of it.
 *
 * The rest is in sql/check*.sql.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "arguments.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "owner.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

PG_FUNCTION_INFO_V1(weir_sql_expression);
PG_FUNCTION_INFO_V1(weir_sql_select);
PG_FUNCTION_INFO_V1(weir_parse_as);
PG_FUNCTION_INFO_V1(weir_query_as);

/* A statement of one argument, a jsonb, and its one value. */
typedef struct AsRole
{
	Oid			role;
	char	   *search_path;
	char	   *sql;
	Datum		params;
	bool		has_params;
	Datum		value;
	bool		isnull;
} AsRole;

static volatile sig_atomic_t timed_out;

/* Cancels what runs: a timer of our own, as statement_timeout is the session's. */
static void
on_timeout(void)
{
	timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Begins to count, unless a check around this one does already; returns the timer, which is stopped if it is ours. */
static TimeoutId
start_timer(bool *ours)
{
	static TimeoutId timer = MAX_TIMEOUTS;

	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, on_timeout);
	*ours = weir_check_timeout > 0 && !get_timeout_active(timer);
	if (*ours)
	{
		timed_out = false;
		enable_timeout_after(timer, weir_check_timeout);
	}
	return timer;
}

/* Becomes the role, in a security-restricted operation.  What it calls is found in pg_catalog first. */
static void
become(const AsRole *query, WeirOwnerSession *session)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(query->role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", query->role)));
	weir_owner_enter(query->role, query->search_path[0] == '\0' ? "pg_catalog" :
					 psprintf("pg_catalog, %s", query->search_path), session);
	/* compiling statements as long as those of checks takes longer than most of them run; back with the role */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

/* Runs it; nothing but reading is allowed. */
static void
run(void *arg)
{
	AsRole	   *query = arg;
	Oid			type = JSONBOID;
	char		null = query->has_params ? ' ' : 'n';
	WeirOwnerSession session;

	become(query, &session);
	if (SPI_execute_with_args(query->sql, 1, &type, &query->params, &null, true, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "query of a check returned no value");
	query->value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &query->isnull);
	if (!query->isnull)
		query->value = SPI_datumTransfer(query->value, false, -1);
	SPI_finish();
	weir_owner_leave(&session);
	CHECK_FOR_INTERRUPTS();
}

/* Runs it for as long as it may take; returns its error, unless that is of what goes on around. */
static ErrorData *
try_to_run(AsRole *query)
{
	bool		ours;
	TimeoutId	timer = start_timer(&ours);
	ErrorData  *error = weir_try_any(run, query);

	if (ours)
	{
		disable_timeout(timer, false);
		if (timed_out)
			QueryCancelPending = false;
	}
	if (error == NULL || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return error;
	if (!ours || !timed_out)
		ReThrowError(error);
	error->message = pstrdup("the check took longer than weir.check_timeout");
	return error;
}

/* Reads the arguments that both have: role, search_path, sql. */
static void
read_query(FunctionCallInfo fcinfo, AsRole *query)
{
	memset(query, 0, sizeof(AsRole));
	query->role = PG_GETARG_OID(0);
	query->search_path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	query->sql = text_to_cstring(PG_GETARG_TEXT_PP(2));
}

/* weir_internal.sql_expression */
Datum
weir_sql_expression(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(1));

	(void) weir_arg_expression(text_to_cstring(PG_GETARG_TEXT_PP(0)), sql);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("(%s\n)", sql)));
}

/* weir_internal.sql_select */
Datum
weir_sql_select(PG_FUNCTION_ARGS)
{
	char	   *parameter = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(weir_arg_select(parameter, text_to_cstring(PG_GETARG_TEXT_PP(1)))));
}

/* weir_internal.parse_as */
Datum
weir_parse_as(PG_FUNCTION_ARGS)
{
	AsRole		query;
	Oid			type = JSONBOID;
	WeirOwnerSession session;

	read_query(fcinfo, &query);
	become(&query, &session);
	if (SPI_prepare(query.sql, 1, &type) == NULL)
		elog(ERROR, "could not parse the query of a check");
	SPI_finish();
	weir_owner_leave(&session);
	PG_RETURN_VOID();
}

/* weir_internal.query_as */
Datum
weir_query_as(PG_FUNCTION_ARGS)
{
	AsRole		query;
	ErrorData  *error;
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {true, true, true};

	read_query(fcinfo, &query);
	query.has_params = !PG_ARGISNULL(3);
	query.params = PG_GETARG_DATUM(3);
	error = try_to_run(&query);
	if (error == NULL)
	{
		values[0] = query.value;
		nulls[0] = query.isnull;
	}
	else
	{
		values[1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
		values[2] = CStringGetTextDatum(error->message);
		nulls[1] = nulls[2] = false;
	}
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
