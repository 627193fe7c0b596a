/*
 * catalog_query.c
 *	  Statements on the catalogue's tables, and columns of what they return.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Plans a statement, unless that is done. */
static void
prepare(WeirCatalogStatement *statement)
{
	SPIPlanPtr	plan;

	if (statement->plan != NULL)
		return;
	plan = SPI_prepare(statement->sql, statement->nargs, statement->argtypes);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s",
			 statement->sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	statement->plan = plan;
}

/* Checks how a statement has ended. */
static bool
found(WeirCatalogStatement *statement, int rc, int expected)
{
	if (rc != expected)
		elog(ERROR, "unexpected result of \"%s\": %s",
			 statement->sql, SPI_result_code_string(rc));
	return SPI_processed > 0;
}

/* Executes a statement. */
bool
weir_catalog_execute(WeirCatalogStatement *statement, Datum *values, const char *nulls, int expected)
{
	/* until weir_catalog_leave() */
	if (statement->by_index)
		(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	prepare(statement);
	return found(statement, SPI_execute_plan(statement->plan, values, nulls, false, 0), expected);
}

/* Opens a session, and executes a statement on a relation. */
bool
weir_catalog_execute_for(WeirCatalogStatement *statement, Oid relid, int expected)
{
	WeirCatalogSession session;
	bool		any;

	weir_catalog_enter(&session);
	any = weir_catalog_execute(statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, expected);
	weir_catalog_leave(&session);
	return any;
}

/* Executes a SELECT with a snapshot of the caller's. */
bool
weir_catalog_execute_snapshot(WeirCatalogStatement *statement, Datum *values, Snapshot snapshot)
{
	prepare(statement);
	return found(statement,
				 SPI_execute_snapshot(statement->plan, values, NULL, snapshot,
									  InvalidSnapshot, true, false, 0),
				 SPI_OK_SELECT);
}

/* Executes a SELECT with a snapshot of its own. */
bool
weir_catalog_execute_latest(WeirCatalogStatement *statement, Datum *values)
{
	return weir_catalog_execute_snapshot(statement, values, GetLatestSnapshot());
}

/* Returns a value. */
Datum
weir_catalog_column(HeapTuple tuple, int position, bool *isnull)
{
	return SPI_getbinval(tuple, SPI_tuptable->tupdesc, position, isnull);
}

/* Returns a text, name or other value as a string in context, or NULL. */
char *
weir_catalog_string(HeapTuple tuple, int position, MemoryContext context)
{
	char	   *value = SPI_getvalue(tuple, SPI_tuptable->tupdesc, position);

	return value == NULL ? NULL : MemoryContextStrdup(context, value);
}

/* Returns a bigint. */
int64
weir_catalog_int64(HeapTuple tuple, int position, int64 if_null)
{
	bool		isnull;
	Datum		value = weir_catalog_column(tuple, position, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

/* Returns an int, or an OID as one. */
int32
weir_catalog_int32(HeapTuple tuple, int position, int32 if_null)
{
	bool		isnull;
	Datum		value = weir_catalog_column(tuple, position, &isnull);

	return isnull ? if_null : DatumGetInt32(value);
}

/* Returns an OID. */
Oid
weir_catalog_oid(HeapTuple tuple, int position)
{
	return (Oid) weir_catalog_int32(tuple, position, InvalidOid);
}

/* Returns a duration in microseconds, months as 30 days; -1 if there is none. */
int64
weir_catalog_duration(HeapTuple tuple, int position)
{
	bool		isnull;
	Datum		value = weir_catalog_column(tuple, position, &isnull);
	Interval   *interval = DatumGetIntervalP(value);

	if (isnull)
		return -1;
	return interval->time + (interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

/* Returns the elements of a text[]. */
List *
weir_catalog_strings(HeapTuple tuple, int position, MemoryContext context)
{
	bool		isnull;
	Datum		value = weir_catalog_column(tuple, position, &isnull);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *strings = NIL;
	Datum	   *elements;
	int			n = 0;

	if (!isnull)
		deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		strings = lappend(strings, makeString(TextDatumGetCString(elements[i])));
	MemoryContextSwitchTo(old);
	return strings;
}

/* Returns a text[] of a List of String. */
Datum
weir_catalog_strings_array(List *strings)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(strings), 1));
	ListCell   *cell;

	foreach(cell, strings)
		elements[foreach_current_index(cell)] = CStringGetTextDatum(strVal(lfirst(cell)));
	return PointerGetDatum(construct_array(elements, list_length(strings), TEXTOID, -1, false, TYPALIGN_INT));
}

/* Opens a session, and executes a SELECT of OIDs. */
List *
weir_catalog_oids_of(WeirCatalogStatement *statement, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *oids = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(statement, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		oids = lappend_oid(oids, weir_catalog_oid(SPI_tuptable->vals[i], 1));
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return oids;
}
