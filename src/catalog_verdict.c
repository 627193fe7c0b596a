/*
 * catalog_verdict.c
 *	  weir_internal.chunk_checkpoint and weir_internal.verdict: what a refill
 *	  needs to know of offsets that were applied.
 *
 * As in catalog.c, everything runs with the superuser's rights.  Reading the
 * checkpoints is catalog_refill.c's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_verdict.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

/* A range is over after this share of the retention, but not too soon. */
#define RANGE_TIME "greatest(s.retention / 64, '10 s')"

/* Is the range that a partition is in one of this child, under this definition, and not too old?  Sets *committed. */
static bool
range_is_open(Oid relid, Oid chunk, int32 partition, bool *committed)
{
	static WeirCatalogStatement statement = {
		"SELECT c.made_by FROM (SELECT *, xmin AS made_by FROM weir_internal.chunk_checkpoint"
		" WHERE stream = $1 AND chunk = $2 AND partition = $3 ORDER BY first_offset DESC LIMIT 1) c"
		" JOIN weir_internal.stream s ON s.stream = c.stream"
		" WHERE c.end_offset IS NULL AND c.max_out_of_orderness = s.max_out_of_orderness"
		" AND c.isolation_level = s.isolation_level AND c.cluster_id IS NOT DISTINCT FROM s.cluster_id"
		" AND c.noted_at > pg_catalog.clock_timestamp() - " RANGE_TIME,
		3, {REGCLASSOID, REGCLASSOID, INT4OID}
	};
	WeirCatalogSession session;
	bool		found;
	bool		isnull;

	weir_catalog_enter(&session);
	found = weir_catalog_execute(&statement,
								 (Datum[]) {ObjectIdGetDatum(relid), ObjectIdGetDatum(chunk), Int32GetDatum(partition)},
								 NULL, SPI_OK_SELECT);
	if (found)
		*committed = !TransactionIdIsCurrentTransactionId(
			DatumGetTransactionId(weir_catalog_column(SPI_tuptable->vals[0], 1, &isnull)));
	weir_catalog_leave(&session);
	return found;
}

/* Notes that a partition's messages go to a child from an offset on. */
bool
weir_catalog_note_range(Oid relid, Oid chunk, int32 partition, int64 first_offset,
						TimestampTz watermark, TimestampTz seen)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.chunk_checkpoint (stream, chunk, partition, first_offset, watermark, seen,"
		" max_out_of_orderness, isolation_level, cluster_id)"
		" SELECT stream, $2, $3, $4, $5, $6, max_out_of_orderness, isolation_level, cluster_id"
		" FROM weir_internal.stream WHERE stream = $1",
		6, {REGCLASSOID, REGCLASSOID, INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	WeirCatalogSession session;
	bool		committed = false;

	if (range_is_open(relid, chunk, partition, &committed))
		return committed;
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), ObjectIdGetDatum(chunk), Int32GetDatum(partition),
							 Int64GetDatum(first_offset), TimestampTzGetDatum(watermark),
							 TimestampTzGetDatum(seen)},
						 NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
	return false;
}

/* Logs offsets that were consumed and not staged. */
void
weir_catalog_add_verdict(Oid relid, Oid chunk, int32 partition,
						 int64 first_offset, int64 last_offset, bytea *skipped)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.verdict (stream, chunk, partition, first_offset, last_offset, skipped)"
		" VALUES ($1, $2, $3, $4, $5, $6)",
		6, {REGCLASSOID, REGCLASSOID, INT4OID, INT8OID, INT8OID, BYTEAOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), ObjectIdGetDatum(chunk), Int32GetDatum(partition),
							 Int64GetDatum(first_offset), Int64GetDatum(last_offset),
							 PointerGetDatum(skipped)},
						 NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/*
 * Returns the verdicts that touch a range.  They do not overlap each other, so
 * the last of them is the first one that ends at or after the range's end.
 */
List *
weir_catalog_load_verdicts(Oid relid, int32 partition, int64 from, int64 to)
{
	static WeirCatalogStatement statement = {
		"SELECT first_offset, last_offset, skipped FROM weir_internal.verdict"
		" WHERE stream = $1 AND partition = $2 AND last_offset >= $3 AND last_offset <="
		" coalesce((SELECT min(last_offset) FROM weir_internal.verdict"
		" WHERE stream = $1 AND partition = $2 AND last_offset >= $4), $4)"
		" ORDER BY last_offset",
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
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirVerdictRow *row = palloc(sizeof(WeirVerdictRow));
		bool		isnull;

		row->first_offset = weir_catalog_int64(tuple, 1, 0);
		row->last_offset = weir_catalog_int64(tuple, 2, 0);
		row->skipped = DatumGetByteaPCopy(weir_catalog_column(tuple, 3, &isnull));
		result = lappend(result, row);
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Runs statements on a partition and an offset, and makes every session note its ranges anew. */
static void
change_ranges(WeirCatalogStatement *statements, const int *kinds, int n,
			  Oid relid, int32 partition, int64 offset)
{
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	for (int i = 0; i < n; i++)
		weir_catalog_execute(&statements[i],
							 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition), Int64GetDatum(offset)},
							 NULL, kinds[i]);
	weir_catalog_leave(&session);
	CacheInvalidateRelcacheByRelid(relid);
}

#define GOES_BACK \
	" AND $3 < (SELECT p.applied_offset FROM weir_internal.stream_partition p" \
	" WHERE p.stream = $1 AND p.partition = $2)"

/*
 * The partition goes on at another offset.  Forward that leaves a gap, which
 * belongs to no child.  A partition goes back where it is another one now:
 * what was read of the former one can never be read again.
 */
void
weir_catalog_break_ranges(Oid relid, int32 partition, int64 offset)
{
	static WeirCatalogStatement statements[] = {
		{"DELETE FROM weir_internal.chunk_checkpoint WHERE stream = $1 AND partition = $2" GOES_BACK,
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"DELETE FROM weir_internal.verdict WHERE stream = $1 AND partition = $2" GOES_BACK,
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"DELETE FROM weir_internal.watermark_floor WHERE stream = $1 AND partition = $2" GOES_BACK,
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"DELETE FROM weir_internal.refill WHERE stream = $1 AND partition = $2" GOES_BACK,
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"UPDATE weir_internal.chunk_checkpoint c SET end_offset = least(p.applied_offset, $3)"
			" FROM weir_internal.stream_partition p"
			" WHERE c.stream = $1 AND c.partition = $2 AND c.end_offset IS NULL"
		" AND p.stream = $1 AND p.partition = $2",
		3, {REGCLASSOID, INT4OID, INT8OID}},
	};
	static const int kinds[] = {SPI_OK_DELETE, SPI_OK_DELETE, SPI_OK_DELETE, SPI_OK_DELETE, SPI_OK_UPDATE};

	change_ranges(statements, kinds, lengthof(statements), relid, partition, offset);
}

/*
 * What was applied from an offset on has been taken back.  A range that begins
 * there goes, too: the next batch notes it anew, wherever it then begins and
 * under whatever definition.  So does a gap, which will be met again.
 */
void
weir_catalog_rewind_ranges(Oid relid, int32 partition, int64 offset)
{
	static WeirCatalogStatement statements[] = {
		{"DELETE FROM weir_internal.chunk_checkpoint"
		" WHERE stream = $1 AND partition = $2 AND first_offset >= $3",
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"DELETE FROM weir_internal.verdict WHERE stream = $1 AND partition = $2 AND first_offset >= $3",
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"UPDATE weir_internal.verdict SET last_offset = $3 - 1"
		" WHERE stream = $1 AND partition = $2 AND last_offset >= $3",
		3, {REGCLASSOID, INT4OID, INT8OID}},
		{"DELETE FROM weir_internal.gap WHERE stream = $1 AND partition = $2 AND from_offset >= $3"
			" AND void_since IS NULL",
		3, {REGCLASSOID, INT4OID, INT8OID}},
	};
	static const int kinds[] = {SPI_OK_DELETE, SPI_OK_DELETE, SPI_OK_UPDATE, SPI_OK_DELETE};

	change_ranges(statements, kinds, lengthof(statements), relid, partition, offset);
}
