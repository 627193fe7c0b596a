/*
 * catalog_transform.c
 *	  The definitions of transforms: weir_internal.transform.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_transform.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define COLUMNS \
	"SELECT t.target, t.stream, t.source, t.query, t.trigger_name, t.owns_target, t.event_time, t.same_time," \
	" t.retention, t.complete_since, t.settings FROM weir_internal.transform t"

/* Reads a row in a context that outlives the session. */
static WeirTransformRow *
read_row(HeapTuple tuple, MemoryContext context)
{
	WeirTransformRow *row = MemoryContextAllocZero(context, sizeof(WeirTransformRow));
	bool		isnull;

	row->target = weir_catalog_oid(tuple, 1);
	row->stream = weir_catalog_oid(tuple, 2);
	row->source = weir_catalog_oid(tuple, 3);
	row->query = weir_catalog_oid(tuple, 4);
	row->trigger_name = weir_catalog_string(tuple, 5, context);
	row->owns_target = DatumGetBool(weir_catalog_column(tuple, 6, &isnull));
	row->event_time = weir_catalog_string(tuple, 7, context);
	row->same_time = DatumGetBool(weir_catalog_column(tuple, 8, &isnull));
	row->retention = weir_catalog_duration(tuple, 9);
	row->complete_since = weir_catalog_int64(tuple, 10, DT_NOBEGIN);
	row->settings = weir_catalog_strings(tuple, 11, context);
	return row;
}

/* Runs a statement that gives one row or none. */
static WeirTransformRow *
load(WeirCatalogStatement *statement, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirTransformRow *row = NULL;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(statement, values, NULL, SPI_OK_SELECT))
		row = read_row(SPI_tuptable->vals[0], context);
	weir_catalog_leave(&session);
	return row;
}

/* Returns the row with this target. */
WeirTransformRow *
weir_catalog_load_transform(Oid target)
{
	static WeirCatalogStatement statement = {COLUMNS " WHERE t.target = $1", 1, {REGCLASSOID}};

	return load(&statement, (Datum[]) {ObjectIdGetDatum(target)});
}

/* Returns the one whose batches this trigger takes. */
WeirTransformRow *
weir_catalog_transform_of_trigger(Oid source, const char *trigger_name)
{
	static WeirCatalogStatement statement = {
		COLUMNS " WHERE t.source = $1 AND t.trigger_name = $2",
		2, {REGCLASSOID, TEXTOID}
	};

	return load(&statement, (Datum[]) {ObjectIdGetDatum(source), CStringGetTextDatum(trigger_name)});
}

/* Returns the targets of the transforms over a stream. */
List *
weir_catalog_transforms(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT target FROM weir_internal.transform WHERE stream = $1",
		1, {REGCLASSOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream)});
}

/* Returns the relations of the transforms over a stream that are its owner's. */
List *
weir_catalog_transform_relations(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT r.oid FROM weir_internal.transform t"
		" JOIN pg_catalog.pg_class r ON r.oid = t.query OR r.oid = t.target AND t.owns_target"
		" WHERE t.stream = $1",
		1, {REGCLASSOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream)});
}

/* Adds a row. */
void
weir_catalog_add_transform(const WeirTransformRow *row, Datum retention, bool no_retention, bool backfill)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.transform (target, stream, source, query, trigger_name, owns_target, event_time,"
		" same_time, retention, complete_since, settings, begins_at)"
		" SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, coalesce((SELECT jsonb_object_agg(p.partition, p.applied_offset)"
		" FROM weir_internal.stream_partition p WHERE p.stream = $2 AND NOT $12), '{}')",
		12, {REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, TEXTOID, BOOLOID, TEXTOID, BOOLOID, INTERVALOID,
		TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID}
	};
	Datum		values[] = {
		ObjectIdGetDatum(row->target), ObjectIdGetDatum(row->stream), ObjectIdGetDatum(row->source),
		ObjectIdGetDatum(row->query), CStringGetTextDatum(row->trigger_name), BoolGetDatum(row->owns_target),
		row->event_time == NULL ? (Datum) 0 : CStringGetTextDatum(row->event_time), BoolGetDatum(row->same_time),
		retention, TimestampTzGetDatum(row->complete_since), weir_catalog_strings_array(row->settings),
		BoolGetDatum(backfill)
	};
	char		nulls[] = "            ";
	WeirCatalogSession session;

	nulls[6] = row->event_time == NULL ? 'n' : ' ';
	nulls[8] = no_retention ? 'n' : ' ';
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, values, nulls, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Notes that a transform is complete from the beginning. */
void
weir_catalog_reset_transform(Oid target)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.transform SET complete_since = '-infinity', begins_at = '{}' WHERE target = $1",
		1, {REGCLASSOID}
	};

	(void) weir_catalog_execute_for(&statement, target, SPI_OK_UPDATE);
}

/* Returns from which offset of each partition on a transform has made rows. */
Datum
weir_catalog_transform_begins(Oid target, bool staged)
{
	static WeirCatalogStatement statement = {
		"SELECT CASE WHEN $2 THEN (SELECT coalesce(jsonb_object_agg(c.partition,"
		"	greatest(c.first_offset, (t.begins_at->>c.partition::text)::bigint)), '{}')"
		"	FROM (SELECT k.partition, min(k.first_offset) AS first_offset FROM weir_internal.chunk_checkpoint k"
		"		WHERE k.stream = t.stream GROUP BY k.partition) c)"
		" ELSE t.begins_at END FROM weir_internal.transform t WHERE t.target = $1",
		2, {REGCLASSOID, BOOLOID}
	};
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	WeirCatalogSession session;
	bool		isnull;
	Datum		begins;

	weir_catalog_enter(&session);
	weir_catalog_execute_snapshot(&statement, (Datum[]) {ObjectIdGetDatum(target), BoolGetDatum(staged)},
								  GetActiveSnapshot());
	begins = weir_catalog_column(SPI_tuptable->vals[0], 1, &isnull);
	old = MemoryContextSwitchTo(context);
	begins = PointerGetDatum(PG_DETOAST_DATUM_COPY(begins));
	MemoryContextSwitchTo(old);
	weir_catalog_leave(&session);
	return begins;
}
