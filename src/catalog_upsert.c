/*
 * catalog_upsert.c
 *	  The definitions of upserts: weir_internal.upsert.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_upsert.h"
#include "utils/builtins.h"

#define COLUMNS \
	"SELECT u.target, u.source, u.stream, u.query, u.positions, u.trigger_name, u.key, u.order_by," \
	" u.owns_target, u.tombstone_ttl, u.settings, u.begins_at::text, u.name FROM weir_internal.upsert u"

/* Reads a row in a context that outlives the session. */
static WeirUpsertRow *
read_row(HeapTuple tuple, MemoryContext context)
{
	WeirUpsertRow *row = MemoryContextAllocZero(context, sizeof(WeirUpsertRow));
	bool		isnull;

	row->target = weir_catalog_oid(tuple, 1);
	row->source = weir_catalog_oid(tuple, 2);
	row->stream = weir_catalog_oid(tuple, 3);
	row->query = weir_catalog_oid(tuple, 4);
	row->positions = weir_catalog_oid(tuple, 5);
	row->trigger_name = weir_catalog_string(tuple, 6, context);
	row->key = weir_catalog_strings(tuple, 7, context);
	row->order_by = weir_catalog_string(tuple, 8, context);
	row->owns_target = DatumGetBool(weir_catalog_column(tuple, 9, &isnull));
	row->tombstone_ttl = weir_catalog_duration(tuple, 10);
	row->settings = weir_catalog_strings(tuple, 11, context);
	row->begins_at = weir_catalog_string(tuple, 12, context);
	row->name = weir_catalog_string(tuple, 13, context);
	return row;
}

/* Runs a statement that gives one row or none. */
static WeirUpsertRow *
load(WeirCatalogStatement *statement, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirUpsertRow *row = NULL;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(statement, values, NULL, SPI_OK_SELECT))
		row = read_row(SPI_tuptable->vals[0], context);
	weir_catalog_leave(&session);
	return row;
}

/* Returns the row of a table. */
WeirUpsertRow *
weir_catalog_load_upsert(Oid target)
{
	static WeirCatalogStatement statement = {COLUMNS " WHERE u.target = $1", 1, {REGCLASSOID}};

	return load(&statement, (Datum[]) {ObjectIdGetDatum(target)});
}

/* Returns the one whose batches this trigger takes. */
WeirUpsertRow *
weir_catalog_upsert_of_trigger(Oid source, const char *trigger_name)
{
	static WeirCatalogStatement statement = {
		COLUMNS " WHERE u.source = $1 AND u.trigger_name = $2",
		2, {REGCLASSOID, TEXTOID}
	};

	return load(&statement, (Datum[]) {ObjectIdGetDatum(source), CStringGetTextDatum(trigger_name)});
}

/* Returns the tables of the upserts over a stream. */
List *
weir_catalog_upserts(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT target FROM weir_internal.upsert WHERE stream = $1 ORDER BY target",
		1, {REGCLASSOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream)});
}

/* Returns the relations behind the upserts over a stream that are its owner's. */
List *
weir_catalog_upsert_relations(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT r.oid FROM weir_internal.upsert u"
		" JOIN pg_catalog.pg_class r ON r.oid IN (u.query, u.positions) OR r.oid = u.target AND u.owns_target"
		" WHERE u.stream = $1",
		1, {REGCLASSOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream)});
}

/* Adds a row. */
void
weir_catalog_add_upsert(const WeirUpsertRow *row, bool backfill)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.upsert (target, source, stream, query, positions, trigger_name, key, order_by,"
		" owns_target, tombstone_ttl, settings, begins_at, name)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10 * interval '1 microsecond', $11, CASE WHEN $12 THEN '{}' ELSE coalesce(("
		"	SELECT pg_catalog.jsonb_object_agg(p.partition, p.applied_offset) FROM weir_internal.stream_partition p"
		"	WHERE p.stream = $3), '{}') END, $13)",
		13, {REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, TEXTOID, TEXTARRAYOID, TEXTOID,
		BOOLOID, INT8OID, TEXTARRAYOID, BOOLOID, TEXTOID}
	};
	Datum		values[] = {
		ObjectIdGetDatum(row->target), ObjectIdGetDatum(row->source), ObjectIdGetDatum(row->stream),
		ObjectIdGetDatum(row->query), ObjectIdGetDatum(row->positions), CStringGetTextDatum(row->trigger_name),
		weir_catalog_strings_array(row->key), row->order_by == NULL ? (Datum) 0 : CStringGetTextDatum(row->order_by),
		BoolGetDatum(row->owns_target), Int64GetDatum(row->tombstone_ttl), weir_catalog_strings_array(row->settings),
		BoolGetDatum(backfill), row->name == NULL ? (Datum) 0 : CStringGetTextDatum(row->name)
	};
	char		nulls[] = "             ";
	WeirCatalogSession session;

	nulls[4] = OidIsValid(row->positions) ? ' ' : 'n';
	nulls[7] = row->order_by == NULL ? 'n' : ' ';
	nulls[9] = row->tombstone_ttl < 0 ? 'n' : ' ';
	nulls[12] = row->name == NULL ? 'n' : ' ';
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, values, nulls, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Forgets what came late, and what did not count when it was created. */
void
weir_catalog_reset_upsert(Oid target)
{
	static WeirCatalogStatement statements[] = {
		{"DELETE FROM weir_internal.late_event WHERE view = $1", 1, {REGCLASSOID}},
		{"UPDATE weir_internal.upsert SET begins_at = '{}' WHERE target = $1", 1, {REGCLASSOID}}
	};

	weir_catalog_execute_for(&statements[0], target, SPI_OK_DELETE);
	weir_catalog_execute_for(&statements[1], target, SPI_OK_UPDATE);
}
