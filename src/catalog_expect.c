/*
 * catalog_expect.c
 *	  What a stream expects of its events: weir_internal.expectation, how
 *	  often that failed, and when it changed.
 *
 * The expression itself is a CHECK constraint on the staging table: that is
 * empty, so nothing is checked by it, and PostgreSQL keeps it true when
 * columns change.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_expect.h"
#include "catalog_query.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Counts are added as rows, and summed up after this many. */
#define ROWS_BEFORE_SUM 1000

const char *const weir_on_violation_words[] = {
	[WEIR_ON_VIOLATION_STOP] = "stop",
	[WEIR_ON_VIOLATION_DEAD_LETTER] = "dead_letter",
	[WEIR_ON_VIOLATION_DROP] = "drop",
	[WEIR_ON_VIOLATION_KEEP] = "keep",
	NULL
};

static WeirOnViolation
parse_on_violation(const char *word)
{
	int			i = 0;

	while (strcmp(word, weir_on_violation_words[i]) != 0)
		i++;
	return i;
}

/* Reads from where on an expectation holds: columns 3 and 4, arrays of the same length. */
static void
read_since(HeapTuple tuple, WeirExpectation *expectation)
{
	bool		isnull;
	ArrayType  *partitions = DatumGetArrayTypeP(weir_catalog_column(tuple, 3, &isnull));
	ArrayType  *offsets = DatumGetArrayTypeP(weir_catalog_column(tuple, 4, &isnull));

	expectation->nsince = ArrayGetNItems(ARR_NDIM(partitions), ARR_DIMS(partitions));
	for (int i = 0; i < expectation->nsince; i++)
		expectation->since[i] = (WeirSince) {((int32 *) ARR_DATA_PTR(partitions))[i], ((int64 *) ARR_DATA_PTR(offsets))[i]};
}

/* Returns the expectations of a stream. */
List *
weir_catalog_load_expectations(Oid stream)
{
	static WeirCatalogStatement statement = {
		"SELECT name, on_violation, since_partitions, since_offsets, pg_catalog.cardinality(since_partitions)"
		" FROM weir_internal.expectation WHERE stream = $1"
		" ORDER BY pg_catalog.array_position('{stop,dead_letter,drop,keep}', on_violation), name",
		1, {REGCLASSOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(stream)}, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirExpectation *expectation = palloc0(sizeof(WeirExpectation));

		expectation->name = weir_catalog_string(tuple, 1, context);
		expectation->on_violation = parse_on_violation(weir_catalog_string(tuple, 2, context));
		expectation->since = palloc(sizeof(WeirSince) * Max(weir_catalog_int32(tuple, 5, 0), 1));
		read_since(tuple, expectation);
		result = lappend(result, expectation);
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Runs a statement on one expectation. */
static bool
execute_on(WeirCatalogStatement *statement, Oid stream, const char *name, Datum third, Datum fourth, int expected)
{
	WeirCatalogSession session;
	NameData	data;
	bool		found;

	namestrcpy(&data, name);
	weir_catalog_enter(&session);
	found = weir_catalog_execute(statement, (Datum[]) {ObjectIdGetDatum(stream), NameGetDatum(&data), third, fourth},
								 NULL, expected);
	weir_catalog_leave(&session);
	return found;
}

/* Is there one of that name? */
bool
weir_catalog_has_expectation(Oid stream, const char *name)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.expectation WHERE stream = $1 AND name = $2",
		2, {REGCLASSOID, NAMEOID}
	};

	return execute_on(&statement, stream, name, (Datum) 0, (Datum) 0, SPI_OK_SELECT);
}

/* Records a change, with the offsets that it was made at. */
static void
record_change(Oid stream, const char *name, const char *change)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.expectation_change (stream, name, change, expression, on_violation, offsets, changed_by)"
		" SELECT e.stream, e.name, $3, pg_catalog.pg_get_expr(k.conbin, k.conrelid), e.on_violation,"
		" (SELECT coalesce(pg_catalog.jsonb_object_agg(p.partition, p.applied_offset), '{}')"
		" FROM weir_internal.stream_partition p WHERE p.stream = e.stream), $4"
		" FROM weir_internal.expectation e"
		" LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = e.stream AND k.conname = e.name AND k.contype = 'c'"
		" WHERE e.stream = $1 AND e.name = $2",
		4, {REGCLASSOID, NAMEOID, TEXTOID, NAMEOID}
	};
	NameData	user;

	namestrcpy(&user, GetUserNameFromId(GetSessionUserId(), false));
	execute_on(&statement, stream, name, CStringGetTextDatum(change), NameGetDatum(&user), SPI_OK_INSERT);
}

/* Writes an expectation, or changes it. */
void
weir_catalog_set_expectation(Oid stream, const char *name, WeirOnViolation on_violation)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.expectation (stream, name, on_violation, since_partitions, since_offsets, judged_before)"
		" SELECT $1, $2, $3, coalesce(pg_catalog.array_agg(partition), '{}'),"
		" coalesce(pg_catalog.array_agg(applied_offset), '{}'), coalesce(sum(staged + duplicate), 0)"
		" FROM weir_internal.stream_partition WHERE stream = $1"
		" ON CONFLICT (stream, name) DO UPDATE SET on_violation = excluded.on_violation,"
		" since_partitions = excluded.since_partitions, since_offsets = excluded.since_offsets",
		3, {REGCLASSOID, NAMEOID, TEXTOID}
	};
	bool		known = weir_catalog_has_expectation(stream, name);

	execute_on(&statement, stream, name, CStringGetTextDatum(weir_on_violation_words[on_violation]), (Datum) 0,
			   SPI_OK_INSERT);
	record_change(stream, name, known ? "altered" : "created");
}

/* Forgets an expectation. */
void
weir_catalog_drop_expectation(Oid stream, const char *name)
{
	static WeirCatalogStatement deletions[] = {
		{"DELETE FROM weir_internal.expectation WHERE stream = $1 AND name = $2", 2, {REGCLASSOID, NAMEOID}},
		{"DELETE FROM weir_internal.expectation_failure WHERE stream = $1 AND name = $2", 2, {REGCLASSOID, NAMEOID}}
	};

	record_change(stream, name, "dropped");
	for (int i = 0; i < lengthof(deletions); i++)
		execute_on(&deletions[i], stream, name, (Datum) 0, (Datum) 0, SPI_OK_DELETE);
}

/* Makes one row of all that a partition's failures have: nobody else writes to them while it is ours. */
static void
sum_up(Oid stream, int32 partition)
{
	static WeirCatalogStatement statement = {
		"WITH gone AS (DELETE FROM weir_internal.expectation_failure WHERE stream = $1 AND partition = $2 RETURNING *)"
		" INSERT INTO weir_internal.expectation_failure (stream, name, partition, failed, kept, last_failed_offset, last_failed_at)"
		" SELECT stream, name, partition, sum(failed), sum(kept), max(last_failed_offset), max(last_failed_at)"
		" FROM gone GROUP BY 1, 2, 3",
		2, {REGCLASSOID, INT4OID}
	};

	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(stream), Int32GetDatum(partition)}, NULL, SPI_OK_INSERT);
}

/*
 * Adds to how often an expectation failed.  A row that is changed with every
 * batch would leave a version behind each time for as long as anybody has an
 * old snapshot, and be looked for among all of them: hence new rows.
 */
void
weir_catalog_add_failures(Oid stream, const char *name, int32 partition,
						   int64 failed, int64 kept, int64 last_offset)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.expectation_failure (stream, name, partition, failed, kept, last_failed_offset)"
		" VALUES ($1, $2, $3, $4, $5, $6)",
		6, {REGCLASSOID, NAMEOID, INT4OID, INT8OID, INT8OID, INT8OID}
	};
	static int	nrows = 0;
	WeirCatalogSession session;
	NameData	data;

	namestrcpy(&data, name);
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(stream), NameGetDatum(&data), Int32GetDatum(partition),
							 Int64GetDatum(failed), Int64GetDatum(kept), Int64GetDatum(last_offset)},
						 NULL, SPI_OK_INSERT);
	if (++nrows >= ROWS_BEFORE_SUM)
	{
		sum_up(stream, partition);
		nrows = 0;
	}
	weir_catalog_leave(&session);
}
