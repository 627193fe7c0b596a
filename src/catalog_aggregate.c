/*
 * catalog_aggregate.c
 *	  The definitions of continuous aggregates:
 *	  weir_internal.continuous_aggregate, and what came late for them.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "catalog_aggregate.h"
#include "catalog_query.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "window_spec.h"

#define COLUMNS \
	"SELECT a.view, a.stream, a.source, a.query, a.states, a.store, a.finish, a.results, a.trigger_name," \
	" a.time_window, a.allowed_lateness, a.retention, a.complete_since, a.settings FROM weir_internal.continuous_aggregate a"

/* Copies a composite value. */
static Datum
datum_in(MemoryContext context, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum		copy = datumCopy(value, false, -1);

	MemoryContextSwitchTo(old);
	return copy;
}

/* Reads a row in a context that outlives the session. */
static WeirAggregateRow *
read_row(HeapTuple tuple, MemoryContext context)
{
	WeirAggregateRow *row = MemoryContextAllocZero(context, sizeof(WeirAggregateRow));
	bool		isnull;
	Datum		spec = weir_catalog_column(tuple, 10, &isnull);

	row->view = weir_catalog_oid(tuple, 1);
	row->stream = weir_catalog_oid(tuple, 2);
	row->source = weir_catalog_oid(tuple, 3);
	row->query = weir_catalog_oid(tuple, 4);
	row->states = weir_catalog_oid(tuple, 5);
	row->store = weir_catalog_oid(tuple, 6);
	row->finish = weir_catalog_oid(tuple, 7);
	row->results = weir_catalog_oid(tuple, 8);
	row->trigger_name = weir_catalog_string(tuple, 9, context);
	if (!isnull)
	{
		weir_window_spec_read(spec, &row->window);
		row->spec = datum_in(context, spec);
		row->spec_type = SPI_gettypeid(SPI_tuptable->tupdesc, 10);
	}
	row->lateness = weir_catalog_duration(tuple, 11);
	row->retention = weir_catalog_duration(tuple, 12);
	row->complete_since = weir_catalog_int64(tuple, 13, DT_NOBEGIN);
	row->settings = weir_catalog_strings(tuple, 14, context);
	return row;
}

/* Runs a statement that gives one row or none. */
static WeirAggregateRow *
load(WeirCatalogStatement *statement, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	WeirAggregateRow *row = NULL;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(statement, values, NULL, SPI_OK_SELECT))
		row = read_row(SPI_tuptable->vals[0], context);
	weir_catalog_leave(&session);
	return row;
}

/* Returns the row with this relation in that column. */
WeirAggregateRow *
weir_catalog_load_aggregate(WeirAggregateLink link, Oid relid)
{
	static WeirCatalogStatement statements[] = {
		[WEIR_AGGREGATE_VIEW] = {COLUMNS " WHERE a.view = $1", 1, {REGCLASSOID}},
		[WEIR_AGGREGATE_STATES] = {COLUMNS " WHERE a.states = $1", 1, {REGCLASSOID}},
		[WEIR_AGGREGATE_QUERY] = {COLUMNS " WHERE a.query = $1", 1, {REGCLASSOID}}
	};

	return load(&statements[link], (Datum[]) {ObjectIdGetDatum(relid)});
}

/* Returns the one whose batches this trigger takes. */
WeirAggregateRow *
weir_catalog_aggregate_of_trigger(Oid source, const char *trigger_name)
{
	static WeirCatalogStatement statement = {
		COLUMNS " WHERE a.source = $1 AND a.trigger_name = $2",
		2, {REGCLASSOID, TEXTOID}
	};

	return load(&statement, (Datum[]) {ObjectIdGetDatum(source), CStringGetTextDatum(trigger_name)});
}

/* Returns the views of the aggregates over a stream, or of those with windows. */
List *
weir_catalog_aggregates(Oid stream, bool windowed)
{
	static WeirCatalogStatement statement = {
		"SELECT view FROM weir_internal.continuous_aggregate"
		" WHERE stream = $1 AND (results IS NOT NULL OR NOT $2) ORDER BY view",
		2, {REGCLASSOID, BOOLOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream), BoolGetDatum(windowed)});
}

/* Returns the views of all aggregates. */
List *
weir_catalog_all_aggregates(void)
{
	static WeirCatalogStatement statement = {
		"SELECT view FROM weir_internal.continuous_aggregate ORDER BY view",
		0
	};

	return weir_catalog_oids_of(&statement, NULL);
}

/* Returns the relations of the aggregates over a stream that are its owner's: all but the stores. */
List *
weir_catalog_aggregate_relations(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT r.oid FROM weir_internal.continuous_aggregate a"
		" JOIN pg_catalog.pg_class r ON r.oid IN (a.view, a.query, a.states, a.finish, a.results)"
		" WHERE a.stream = $1",
		1, {REGCLASSOID}
	};

	return weir_catalog_oids_of(&statement, (Datum[]) {ObjectIdGetDatum(stream)});
}

/* Adds a row. */
void
weir_catalog_add_aggregate(const WeirAggregateRow *row, Datum spec, bool no_spec,
						   Datum lateness, Datum retention, bool no_retention)
{
	WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.continuous_aggregate (view, stream, source, query, states, store, finish, results,"
		" trigger_name, time_window, allowed_lateness, retention, complete_since, settings)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		14, {REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID, REGCLASSOID,
		TEXTOID, InvalidOid, INTERVALOID, INTERVALOID, TIMESTAMPTZOID, TEXTARRAYOID}
	};
	Datum		values[] = {
		ObjectIdGetDatum(row->view), ObjectIdGetDatum(row->stream), ObjectIdGetDatum(row->source), ObjectIdGetDatum(row->query),
		ObjectIdGetDatum(row->states), ObjectIdGetDatum(row->store), ObjectIdGetDatum(row->finish),
		ObjectIdGetDatum(row->results), CStringGetTextDatum(row->trigger_name), spec, lateness, retention,
		TimestampTzGetDatum(row->complete_since), weir_catalog_strings_array(row->settings)
	};
	char		nulls[] = "              ";
	WeirCatalogSession session;

	nulls[7] = OidIsValid(row->results) ? ' ' : 'n';
	nulls[9] = no_spec ? 'n' : ' ';
	nulls[11] = no_retention ? 'n' : ' ';
	weir_catalog_enter(&session);
	statement.argtypes[9] = get_atttype(get_relname_relid("continuous_aggregate", get_namespace_oid("weir_internal", false)), 10);
	weir_catalog_execute(&statement, values, nulls, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Returns up to where windows are closed. */
TimestampTz
weir_catalog_aggregate_closed(Oid view, Snapshot snapshot)
{
	static WeirCatalogStatement statement = {
		"SELECT closed FROM weir_internal.aggregate_progress WHERE view = $1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;
	TimestampTz closed = DT_NOBEGIN;

	weir_catalog_enter(&session);
	if (weir_catalog_execute_snapshot(&statement, (Datum[]) {ObjectIdGetDatum(view)}, snapshot))
		closed = weir_catalog_int64(SPI_tuptable->vals[0], 1, DT_NOBEGIN);
	weir_catalog_leave(&session);
	return closed;
}

/* Says up to where windows are closed. */
void
weir_catalog_aggregate_close(Oid view, TimestampTz closed)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.aggregate_progress (view, closed) VALUES ($1, $2)"
		" ON CONFLICT (view) DO UPDATE SET closed = excluded.closed",
		2, {REGCLASSOID, TIMESTAMPTZOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(view), TimestampTzGetDatum(closed)},
						 NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Logs an event that came too late for a window. */
void
weir_catalog_add_late_event(Oid view, TimestampTz window_start, TimestampTz window_end,
							int32 partition, int64 offset)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.late_event (view, window_start, window_end, partition, kafka_offset)"
		" VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		5, {REGCLASSOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(view), TimestampTzGetDatum(window_start),
							 TimestampTzGetDatum(window_end), Int32GetDatum(partition), Int64GetDatum(offset)},
						 NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Returns a number for the names of a new derived object's relations. */
int64
weir_catalog_next_derived(void)
{
	static WeirCatalogStatement statement = {
		"SELECT pg_catalog.nextval('weir_internal.derived_number')", 0
	};
	WeirCatalogSession session;
	int64		number;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, NULL, NULL, SPI_OK_SELECT);
	number = weir_catalog_int64(SPI_tuptable->vals[0], 1, 0);
	weir_catalog_leave(&session);
	return number;
}

/* Raises an error if triggers are missing that take batches of a relation on. */
void
weir_catalog_check_triggers(Oid source)
{
	static WeirCatalogStatement statement = {
		"SELECT weir_internal.check_triggers(ARRAY[$1])", 1, {OIDOID}
	};

	weir_catalog_execute_for(&statement, source, SPI_OK_SELECT);
}

/*
 * Returns the greatest event time before what is staged, or the greatest so
 * far, as a snapshot sees it.  What a crash has emptied and Kafka does not
 * give back is not staged, nor counts what was before it.
 */
TimestampTz
weir_catalog_seen_at(Oid stream, bool staged, Snapshot snapshot)
{
	static WeirCatalogStatement statement = {
		"SELECT max(CASE WHEN $2 THEN coalesce((SELECT c.seen FROM weir_internal.chunk_checkpoint c"
		"	JOIN weir_internal.stream s ON s.stream = c.stream"
		"	JOIN weir_internal.staging_marker m ON m.stream = s.stream AND m.generation = s.staging_generation"
		"	WHERE c.stream = p.stream AND c.partition = p.partition AND c.first_offset >= coalesce("
		"		(SELECT max(r.until_offset) FROM weir_internal.refill r"
		"		WHERE r.stream = p.stream AND r.partition = p.partition), 0)"
		"	ORDER BY c.first_offset LIMIT 1), p.seen)"
		" ELSE p.seen END) FROM weir_internal.stream_partition p WHERE p.stream = $1",
		2, {REGCLASSOID, BOOLOID}
	};
	WeirCatalogSession session;
	TimestampTz seen;

	weir_catalog_enter(&session);
	weir_catalog_execute_snapshot(&statement, (Datum[]) {ObjectIdGetDatum(stream), BoolGetDatum(staged)}, snapshot);
	seen = weir_catalog_int64(SPI_tuptable->vals[0], 1, DT_NOBEGIN);
	weir_catalog_leave(&session);
	return seen;
}

/* The same, as of now. */
TimestampTz
weir_catalog_seen(Oid stream, bool staged)
{
	return weir_catalog_seen_at(stream, staged, GetLatestSnapshot());
}

/* Runs a statement on one aggregate that changes rows, or none. */
static void
change(const char *sql, Oid view, int expected)
{
	WeirCatalogStatement statement = {sql, 1, {REGCLASSOID}};

	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(view)}, NULL, expected);
	SPI_freeplan(statement.plan);
}

/* Forgets all that was made of events, but for the results. */
void
weir_catalog_reset_aggregate(const WeirAggregateRow *row)
{
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	change("DELETE FROM weir_internal.aggregate_progress WHERE view = $1", row->view, SPI_OK_DELETE);
	change("DELETE FROM weir_internal.late_event WHERE view = $1", row->view, SPI_OK_DELETE);
	change("UPDATE weir_internal.continuous_aggregate SET complete_since = '-infinity' WHERE view = $1",
		   row->view, SPI_OK_UPDATE);
	if (SPI_execute(psprintf("DELETE FROM weir_internal.%s", quote_identifier(get_rel_name(row->store))), false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not empty \"%s\"", get_rel_name(row->store));
	weir_catalog_leave(&session);
}
