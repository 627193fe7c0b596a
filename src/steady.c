/*
 * steady.c
 *	  Functions that give the same for the same arguments, whoever calls them
 *	  and when.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "steady.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* Functions whose results depend on the session or the clock, though they are stable. */
static bool
depends_on_session(Oid function)
{
	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_CURRENT_USER:
		case F_SESSION_USER:
		case F_CURRENT_DATABASE:
		case F_CURRENT_SCHEMA:
		case F_CURRENT_SCHEMAS:
		case F_PG_BACKEND_PID:
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
		case F_PG_CURRENT_XACT_ID:
		case F_PG_CURRENT_XACT_ID_IF_ASSIGNED:
		case F_TXID_CURRENT:
		case F_INET_CLIENT_ADDR:
		case F_INET_CLIENT_PORT:
			return true;
		default:
			return false;
	}
}

/* Does a function give the same again? */
bool
weir_function_is_steady(Oid function)
{
	return func_volatile(function) != PROVOLATILE_VOLATILE && !depends_on_session(function);
}
