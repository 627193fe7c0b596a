/*
 * catalog_stream.c
 *	  Writing rows of weir_internal.stream: creation and changes.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_stream.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#define MAX_FIELDS 40

/* Runs a statement whose $1 is the stream and whose $2 … are the fields. */
static void
execute_with_fields(const char *sql, Oid relid, int n, const WeirStreamField *fields, int expected)
{
	Oid			argtypes[MAX_FIELDS + 1];
	Datum		values[MAX_FIELDS + 1];
	char		nulls[MAX_FIELDS + 1];
	WeirCatalogSession session;

	Assert(n <= MAX_FIELDS);
	argtypes[0] = REGCLASSOID;
	values[0] = ObjectIdGetDatum(relid);
	nulls[0] = ' ';
	for (int i = 0; i < n; i++)
	{
		argtypes[i + 1] = fields[i].type;
		values[i + 1] = fields[i].value;
		nulls[i + 1] = fields[i].isnull ? 'n' : ' ';
	}
	weir_catalog_enter(&session);
	if (SPI_execute_with_args(sql, n + 1, argtypes, values, nulls, false, 0) != expected)
		elog(ERROR, "could not execute \"%s\"", sql);
	weir_catalog_leave(&session);
}

/* Adds the row of a new stream. */
void
weir_catalog_insert_stream(Oid relid, int n, const WeirStreamField *fields)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO weir_internal.stream (stream");
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, ", %s", fields[i].column);
	appendStringInfoString(&sql, ") VALUES ($1");
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, ", $%d", i + 2);
	appendStringInfoChar(&sql, ')');
	execute_with_fields(sql.data, relid, n, fields, SPI_OK_INSERT);
}

/* Changes the given columns of a stream's row. */
void
weir_catalog_update_stream(Oid relid, int n, const WeirStreamField *fields)
{
	StringInfoData sql;

	if (n == 0)
		return;
	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE weir_internal.stream SET ");
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s%s = $%d", i == 0 ? "" : ", ", fields[i].column, i + 2);
	appendStringInfoString(&sql, " WHERE stream = $1");
	execute_with_fields(sql.data, relid, n, fields, SPI_OK_UPDATE);
}

/* Does another stream commit offsets of a topic to a group? */
bool
weir_catalog_group_is_taken(Oid relid, const char *server, const char *topic, const char *name)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.stream WHERE stream <> $1 AND server = $2 AND topic = $3 AND commit_to_group = $4",
		4, {REGCLASSOID, NAMEOID, TEXTOID, TEXTOID}
	};
	WeirCatalogSession session;
	NameData	server_name;
	bool		taken;

	namestrcpy(&server_name, server);
	weir_catalog_enter(&session);
	taken = weir_catalog_execute(&statement,
								 (Datum[]) {ObjectIdGetDatum(relid), NameGetDatum(&server_name),
									 CStringGetTextDatum(topic), CStringGetTextDatum(name)},
								 NULL, SPI_OK_SELECT);
	weir_catalog_leave(&session);
	return taken;
}
