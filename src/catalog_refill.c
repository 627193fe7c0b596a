/*
 * catalog_refill.c
 *	  weir_internal.staging_marker and weir_internal.refill: which staged rows
 *	  a crash has emptied, and how far they are back.
 *
 * Both tables are unlogged, as staged rows are, and share their fate: where
 * the marker is, staging is as the rows of weir_internal.refill say, and whole
 * if there are none.  As in catalog.c, everything runs with the superuser's
 * rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_refill.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Runs a statement on one stream whose $2 is the identity of this database. */
static void
run_for_here(WeirCatalogStatement *statement, Oid relid, int expected)
{
	Datum		identity = CStringGetTextDatum(weir_catalog_database_identity());
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(statement, (Datum[]) {ObjectIdGetDatum(relid), identity}, NULL, expected);
	weir_catalog_leave(&session);
}

/* Are the staged rows of a stream there, or planned to come back? */
bool
weir_catalog_staging_is_marked(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.staging_marker m JOIN weir_internal.stream s USING (stream)"
		" WHERE s.stream = $1 AND m.generation = s.staging_generation",
		1, {REGCLASSOID}
	};

	return weir_catalog_execute_for(&statement, relid, SPI_OK_SELECT);
}

/* Will staged rows of a stream that are lost come back, and are not all back yet? */
bool
weir_catalog_refill_is_due(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.stream s WHERE s.stream = $1 AND s.topic IS NOT NULL AND ("
		" NOT EXISTS (SELECT FROM weir_internal.staging_marker m"
		"	WHERE m.stream = s.stream AND m.generation = s.staging_generation)"
		" OR EXISTS (SELECT FROM weir_internal.refill_status r WHERE r.stream = s.stream AND r.readable)"
		" OR EXISTS (SELECT FROM weir_internal.chunk c JOIN weir_internal.dead_letter d ON d.replayed_chunk = c.chunk"
		"	WHERE c.stream = s.stream AND d.partition >= 0 AND d.replayed_generation < s.staging_generation"
		"	AND (c.closed_at IS NULL OR c.closed_at + s.retention > pg_catalog.clock_timestamp())))",
		1, {REGCLASSOID}
	};

	return weir_catalog_execute_for(&statement, relid, SPI_OK_SELECT);
}

/* Marks the staging table of a stream. */
void
weir_catalog_mark_staging(Oid relid)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.staging_marker (stream, generation, marked_in)"
		" SELECT stream, staging_generation, $2 FROM weir_internal.stream WHERE stream = $1"
		" ON CONFLICT (stream) DO UPDATE SET generation = excluded.generation, marked_in = excluded.marked_in",
		2, {REGCLASSOID, TEXTOID}
	};

	run_for_here(&statement, relid, SPI_OK_INSERT);
}

/*
 * Forgets a marker that another database made, of which this is a copy: which
 * children have their rows is then looked at.  While a refill is under way,
 * its ranges know better.
 */
void
weir_catalog_doubt_copy(Oid relid)
{
	static WeirCatalogStatement statement = {
		"DELETE FROM weir_internal.staging_marker m WHERE m.stream = $1 AND m.marked_in <> $2"
		" AND NOT EXISTS (SELECT FROM weir_internal.refill r WHERE r.stream = m.stream)",
		2, {REGCLASSOID, TEXTOID}
	};

	run_for_here(&statement, relid, SPI_OK_DELETE);
}

/* Plans the ranges that went to children which are not past retention. */
static void
plan_ranges(Oid relid)
{
	static WeirCatalogStatement forget = {
		"DELETE FROM weir_internal.refill WHERE stream = $1",
		1, {REGCLASSOID}
	};
	static WeirCatalogStatement plan = {
		"INSERT INTO weir_internal.refill (stream, partition, chunk, first_offset, next_offset, until_offset,"
		" watermark, max_out_of_orderness, isolation_level, cluster_id)"
		" SELECT c.stream, c.partition, c.chunk, c.first_offset, c.first_offset,"
		" least(c.end_offset, c.next_range, p.applied_offset),"
		" c.watermark, c.max_out_of_orderness, c.isolation_level, c.cluster_id"
		" FROM (SELECT *, lead(first_offset) OVER (PARTITION BY partition ORDER BY first_offset) AS next_range"
		"       FROM weir_internal.chunk_checkpoint WHERE stream = $1 AND partition >= 0) c"
		" JOIN weir_internal.stream s ON s.stream = c.stream"
		" JOIN weir_internal.chunk k ON k.chunk = c.chunk"
		" JOIN weir_internal.stream_partition p ON p.stream = c.stream AND p.partition = c.partition"
		" WHERE s.topic IS NOT NULL"
		" AND (k.closed_at IS NULL OR k.closed_at + s.retention > pg_catalog.clock_timestamp())"
		" AND c.first_offset < least(c.end_offset, c.next_range, p.applied_offset)",
		1, {REGCLASSOID}
	};

	weir_catalog_execute_for(&forget, relid, SPI_OK_DELETE);
	weir_catalog_execute_for(&plan, relid, SPI_OK_INSERT);
}

/* Forgets where rows began that no topic has: what was before the next ones is not staged any more. */
static void
forget_ingested(Oid relid)
{
	static WeirCatalogStatement statement = {
		"DELETE FROM weir_internal.chunk_checkpoint c USING weir_internal.stream s"
		" WHERE s.stream = $1 AND c.stream = s.stream AND (c.partition < 0 OR s.topic IS NULL)",
		1, {REGCLASSOID}
	};

	weir_catalog_execute_for(&statement, relid, SPI_OK_DELETE);
}

/* Returns statements that leave children alone which have rows of Kafka's all the same. */
static char *
leaving_filled_children(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *oid = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		char	   *of_kafka = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3);

		appendStringInfo(&sql,
						 "WITH filled AS (SELECT FROM ONLY %s WHERE %s LIMIT 1),"
						 " there AS (UPDATE weir_internal.dead_letter d SET replayed_generation = s.staging_generation"
						 " FROM weir_internal.stream s WHERE d.replayed_chunk = %s AND s.stream = d.stream"
						 " AND EXISTS (SELECT FROM filled))"
						 " DELETE FROM weir_internal.refill WHERE chunk = %s AND EXISTS (SELECT FROM filled);\n",
						 name, of_kafka, oid, oid);
	}
	return sql.data;
}

/*
 * Takes children off the plan that are not empty: whatever has happened, no
 * row shall come twice.  A column that is an int no more may be of a type whose
 * functions are the owner's, and we are the superuser here: it is not looked at.
 */
static void
spare_filled_children(Oid relid)
{
	static WeirCatalogStatement children = {
		"SELECT k.chunk::pg_catalog.oid, k.chunk::pg_catalog.text,"
		" CASE WHEN a.attname IS NULL THEN 'true' ELSE '_partition >= 0' END"
		" FROM weir_internal.chunk k LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = k.chunk"
		" AND a.attname = '_partition' AND a.atttypid = 'pg_catalog.int4'::pg_catalog.regtype"
		" WHERE k.stream = $1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;
	char	   *sql;

	/* columns, which are the children's as well, stay what they are */
	LockRelationOid(relid, AccessShareLock);
	weir_catalog_enter(&session);
	weir_catalog_execute(&children, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT);
	sql = leaving_filled_children();
	if (sql[0] != '\0' && SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not look into the children of stream %u", relid);
	weir_catalog_leave(&session);
}

/* Where the staged rows are lost, plans their return. */
void
weir_catalog_plan_refill(Oid relid)
{
	static WeirCatalogStatement lock = {
		"SELECT FROM weir_internal.stream WHERE stream = $1 FOR NO KEY UPDATE",
		1, {REGCLASSOID}
	};
	static WeirCatalogStatement count = {
		"UPDATE weir_internal.stream SET staging_generation = staging_generation + 1 WHERE stream = $1",
		1, {REGCLASSOID}
	};

	/* several workers may find it at once: the first one plans for all */
	if (!weir_catalog_execute_for(&lock, relid, SPI_OK_SELECT) || weir_catalog_staging_is_marked(relid))
		return;
	weir_catalog_execute_for(&count, relid, SPI_OK_UPDATE);
	plan_ranges(relid);
	forget_ingested(relid);
	spare_filled_children(relid);
	weir_catalog_mark_staging(relid);
}

/* Returns what can be read again of a worker's partitions. */
List *
weir_catalog_load_refill(Oid relid, int worker, int parallelism)
{
	static WeirCatalogStatement statement = {
		"SELECT partition, chunk, first_offset, next_offset, until_offset, watermark,"
		" (extract(epoch FROM max_out_of_orderness) * 1000000)::bigint"
		" FROM weir_internal.refill_status"
		" WHERE stream = $1 AND partition % $3 = $2 AND readable ORDER BY partition, first_offset",
		3, {REGCLASSOID, INT4OID, INT4OID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(worker), Int32GetDatum(parallelism)},
						 NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirRefillRange *range = palloc(sizeof(WeirRefillRange));

		result = lappend(result, range);
		MemoryContextSwitchTo(old);
		range->partition = weir_catalog_int32(tuple, 1, 0);
		range->chunk = (Oid) weir_catalog_int32(tuple, 2, 0);
		range->first_offset = weir_catalog_int64(tuple, 3, 0);
		range->next_offset = weir_catalog_int64(tuple, 4, 0);
		range->until_offset = weir_catalog_int64(tuple, 5, 0);
		range->watermark = weir_catalog_int64(tuple, 6, DT_NOBEGIN);
		range->max_out_of_orderness = weir_catalog_int64(tuple, 7, 0);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Saves how far a range is; one that is done leaves. */
bool
weir_catalog_save_refill(Oid relid, const WeirRefillRange *range, int64 next_offset)
{
	static WeirCatalogStatement move = {
		"UPDATE weir_internal.refill SET next_offset = $5, watermark = $6"
		" WHERE stream = $1 AND partition = $2 AND first_offset = $3 AND next_offset = $4",
		6, {REGCLASSOID, INT4OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	static WeirCatalogStatement finish = {
		"DELETE FROM weir_internal.refill"
		" WHERE stream = $1 AND partition = $2 AND first_offset = $3 AND next_offset = $4",
		4, {REGCLASSOID, INT4OID, INT8OID, INT8OID}
	};
	bool		done = range->next_offset >= range->until_offset;
	WeirCatalogSession session;
	bool		found;

	weir_catalog_enter(&session);
	found = weir_catalog_execute(done ? &finish : &move,
								 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(range->partition),
									 Int64GetDatum(range->first_offset), Int64GetDatum(next_offset),
									 Int64GetDatum(range->next_offset), TimestampTzGetDatum(range->watermark)},
								 NULL, done ? SPI_OK_DELETE : SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	return found;
}

/* Says that what is left of some ranges cannot be read again. */
void
weir_catalog_lose_refill(Oid relid, int32 partition, int64 from, int64 to)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.refill SET lost = true"
		" WHERE stream = $1 AND partition = $2 AND first_offset BETWEEN $3 AND $4",
		4, {REGCLASSOID, INT4OID, INT8OID, INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition),
							 Int64GetDatum(from), Int64GetDatum(to)},
						 NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}

/* Returns the floors that begin at some offsets of a partition. */
List *
weir_catalog_load_floors(Oid relid, int32 partition, int64 from, int64 to)
{
	static WeirCatalogStatement statement = {
		"SELECT from_offset, floor FROM weir_internal.watermark_floor"
		" WHERE stream = $1 AND partition = $2 AND from_offset BETWEEN $3 AND $4 ORDER BY from_offset",
		4, {REGCLASSOID, INT4OID, INT8OID, INT8OID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition),
							 Int64GetDatum(from), Int64GetDatum(to)},
						 NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirFloor  *floor = palloc(sizeof(WeirFloor));

		result = lappend(result, floor);
		MemoryContextSwitchTo(old);
		floor->from_offset = weir_catalog_int64(SPI_tuptable->vals[i], 1, 0);
		floor->floor = weir_catalog_int64(SPI_tuptable->vals[i], 2, DT_NOBEGIN);
	}
	weir_catalog_leave(&session);
	return result;
}
