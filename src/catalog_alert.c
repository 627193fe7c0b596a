/*
 * catalog_alert.c
 *	  The definitions of alerts over streams: weir_internal.alert_definition.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_alert.h"
#include "catalog_query.h"
#include "utils/builtins.h"

/* Reads a row in a context that outlives the session. */
static WeirAlertRow *
read_row(HeapTuple tuple, MemoryContext context)
{
	WeirAlertRow *row = MemoryContextAllocZero(context, sizeof(WeirAlertRow));

	row->name = weir_catalog_string(tuple, 1, context);
	row->stream = weir_catalog_oid(tuple, 2);
	row->source = weir_catalog_oid(tuple, 3);
	row->query = weir_catalog_oid(tuple, 4);
	row->trigger_name = weir_catalog_string(tuple, 5, context);
	row->key = weir_catalog_string(tuple, 6, context);
	row->message = weir_catalog_string(tuple, 7, context);
	row->severity = weir_catalog_string(tuple, 8, context);
	row->settings = weir_catalog_strings(tuple, 9, context);
	return row;
}

/* Returns the one whose batches this trigger takes. */
WeirAlertRow *
weir_catalog_alert_of_trigger(Oid source, const char *trigger_name)
{
	static WeirCatalogStatement statement = {
		"SELECT a.name, a.stream, a.source, a.query, a.trigger_name, a.key, a.message, a.severity, a.settings"
		" FROM weir_internal.alert_definition a WHERE a.source = $1 AND a.trigger_name = $2",
		2, {REGCLASSOID, TEXTOID}
	};
	Datum		values[] = {ObjectIdGetDatum(source), CStringGetTextDatum(trigger_name)};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirAlertRow *row = NULL;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(&statement, values, NULL, SPI_OK_SELECT))
		row = read_row(SPI_tuptable->vals[0], context);
	weir_catalog_leave(&session);
	return row;
}

/* Is there one of this name? */
bool
weir_catalog_alert_exists(const char *name)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.alert_definition WHERE name = $1", 1, {TEXTOID}
	};
	Datum		values[] = {CStringGetTextDatum(name)};
	WeirCatalogSession session;
	bool		found;

	weir_catalog_enter(&session);
	found = weir_catalog_execute(&statement, values, NULL, SPI_OK_SELECT);
	weir_catalog_leave(&session);
	return found;
}

/* Returns the views of the alerts over a stream. */
List *
weir_catalog_alert_relations(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT query FROM weir_internal.alert_definition WHERE stream = $1", 1, {REGCLASSOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream)});
}

/* Adds a row. */
void
weir_catalog_add_alert(const WeirAlertRow *row, Datum resolve_after, bool no_resolve_after)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.alert_definition (name, stream, source, query, trigger_name, key, message, severity,"
		" settings, resolve_after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
		10, {TEXTOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, INTERVALOID}
	};
	Datum		values[] = {
		CStringGetTextDatum(row->name), ObjectIdGetDatum(row->stream), ObjectIdGetDatum(row->source),
		ObjectIdGetDatum(row->query), CStringGetTextDatum(row->trigger_name),
		row->key == NULL ? (Datum) 0 : CStringGetTextDatum(row->key), CStringGetTextDatum(row->message),
		CStringGetTextDatum(row->severity), weir_catalog_strings_array(row->settings), resolve_after
	};
	char		nulls[] = "          ";
	WeirCatalogSession session;

	nulls[5] = row->key == NULL ? 'n' : ' ';
	nulls[9] = no_resolve_after ? 'n' : ' ';
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, values, nulls, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Raises the alert of a key. */
void
weir_catalog_raise_alert(const WeirAlertRow *row, const char *key, const char *message, Datum detail, int64 n)
{
	static WeirCatalogStatement statement = {
		"SELECT weir_internal.raise_stream_alert($1, $2, $3, $4, $5)", 5, {TEXTOID, TEXTOID, TEXTOID, JSONBOID, INT8OID}
	};
	Datum		values[] = {
		CStringGetTextDatum(row->name), key == NULL ? (Datum) 0 : CStringGetTextDatum(key),
		CStringGetTextDatum(message), detail, Int64GetDatum(n)
	};
	char		nulls[] = "     ";
	WeirCatalogSession session;

	nulls[1] = key == NULL ? 'n' : ' ';
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, values, nulls, SPI_OK_SELECT);
	weir_catalog_leave(&session);
}
