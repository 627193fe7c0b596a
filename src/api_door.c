/*
 * api_door.c
 *	  The way from functions that users call to functions in SQL that do the
 *	  work with the superuser's rights.
 *
 * weir.f(...) in C calls weir_internal.f(caller, caller_path, ...), which learns
 * so who asks, and under which search_path.  A SECURITY DEFINER function could
 * not tell: within it the caller is nowhere to be found.  What the caller may
 * do is checked by weir_internal.f; SQL texts of users are run by check.c alone.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(weir_door);

#define LEADING 2				/* caller, caller_path */

/* A call as it is passed on. */
typedef struct Call
{
	char	   *sql;
	int			nargs;
	Oid			types[FUNC_MAX_ARGS + LEADING];
	Datum		values[FUNC_MAX_ARGS + LEADING];
	char		nulls[FUNC_MAX_ARGS + LEADING];
} Call;

/* Reads who calls what with which arguments. */
static void
read_call(FunctionCallInfo fcinfo, Call *call)
{
	Oid		   *types;
	StringInfoData sql;

	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &call->nargs);
	call->types[0] = OIDOID;
	call->values[0] = ObjectIdGetDatum(GetUserId());
	call->types[1] = TEXTOID;
	call->values[1] = CStringGetTextDatum(namespace_search_path);
	memset(call->nulls, ' ', sizeof(call->nulls));
	for (int i = 0; i < call->nargs; i++)
	{
		call->types[LEADING + i] = types[i];
		call->values[LEADING + i] = fcinfo->args[i].value;
		call->nulls[LEADING + i] = fcinfo->args[i].isnull ? 'n' : ' ';
	}
	call->nargs += LEADING;

	initStringInfo(&sql);
	appendStringInfo(&sql, "weir_internal.%s(", quote_identifier(get_func_name(fcinfo->flinfo->fn_oid)));
	for (int i = 1; i <= call->nargs; i++)
		appendStringInfo(&sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoChar(&sql, ')');
	call->sql = sql.data;
}

static void
execute(Call *call, const char *select)
{
	if (SPI_execute_with_args(psprintf("%s %s", select, call->sql), call->nargs, call->types,
							  call->values, call->nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call %s", call->sql);
}

/* Returns a set of rows. */
static Datum
return_rows(FunctionCallInfo fcinfo, Call *call)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WeirCatalogSession session;

	InitMaterializedSRF(fcinfo, 0);
	weir_catalog_enter(&session);
	execute(call, "SELECT * FROM");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	weir_catalog_leave(&session);
	PG_RETURN_NULL();
}

/* Returns one value. */
static Datum
return_value(FunctionCallInfo fcinfo, Call *call)
{
	WeirCatalogSession session;
	Oid			type = get_func_rettype(fcinfo->flinfo->fn_oid);
	int16		length;
	bool		by_value;
	Datum		value;

	get_typlenbyval(type, &length, &by_value);
	weir_catalog_enter(&session);
	execute(call, "SELECT");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &fcinfo->isnull);
	if (!fcinfo->isnull)
		value = SPI_datumTransfer(value, by_value, length);
	weir_catalog_leave(&session);
	return value;
}

static Datum
pass_on(FunctionCallInfo fcinfo, Call *call)
{
	if (get_func_retset(fcinfo->flinfo->fn_oid))
		return return_rows(fcinfo, call);
	return return_value(fcinfo, call);
}

/* Raises an error that came from within as the caller's own: the way it took there is none of his. */
static void
raise_bare(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	error->context = NULL;
	/* what SQL passes on says "" for none */
	if (error->detail != NULL && error->detail[0] == '\0')
		error->detail = NULL;
	if (error->hint != NULL && error->hint[0] == '\0')
		error->hint = NULL;
	error->internalquery = NULL;
	error->internalpos = 0;
	error->cursorpos = 0;
	ReThrowError(error);
}

/* Every function of schema weir that is written in SQL and needs more rights than its caller. */
Datum
weir_door(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Call		call;
	Datum		result = (Datum) 0;

	weir_arg_check_server(fcinfo);
	read_call(fcinfo, &call);
	PG_TRY();
	{
		result = pass_on(fcinfo, &call);
	}
	PG_CATCH();
	{
		raise_bare(context);
	}
	PG_END_TRY();
	return result;
}
