/*
 * catalog_partition.c
 *	  The progress of streams: weir_internal.stream_partition.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_verdict.h"
#include "catalog_watermark.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#define PROGRESS_COLUMNS \
	"partition, applied_offset, watermark, floor, idle_since IS NOT NULL, end_offset, last_timestamp, seen," \
	" mark_offset, mark_crc, generation, home, ctid"

/*
 * What every batch does must not come by the versions that the row has had, as
 * long as some snapshot keeps them: see the table's comment in catalog.sql.
 */
#define OF_LATEST_GENERATION " WHERE stream = $1 AND partition = $2 ORDER BY generation DESC LIMIT 1"

/* Fills in *progress of a row of PROGRESS_COLUMNS. */
static void
read_progress(HeapTuple tuple, WeirProgress *progress)
{
	bool		isnull;
	Datum		value;

	memset(progress, 0, sizeof(*progress));
	progress->partition = weir_catalog_int32(tuple, 1, 0);
	progress->applied_offset = weir_catalog_int64(tuple, 2, 0);
	progress->watermark = weir_catalog_int64(tuple, 3, DT_NOBEGIN);
	progress->floor = weir_catalog_int64(tuple, 4, DT_NOBEGIN);
	value = weir_catalog_column(tuple, 5, &isnull);
	progress->idle = !isnull && DatumGetBool(value);
	progress->end_offset = weir_catalog_int64(tuple, 6, -1);
	value = weir_catalog_column(tuple, 7, &isnull);
	progress->has_last_timestamp = !isnull;
	if (!isnull)
		progress->last_timestamp = DatumGetTimestampTz(value);
	progress->seen = weir_catalog_int64(tuple, 8, DT_NOBEGIN);
	progress->mark.offset = weir_catalog_int64(tuple, 9, -1);
	progress->mark.crc = (uint32) weir_catalog_int64(tuple, 10, 0);
	progress->generation = weir_catalog_int64(tuple, 11, 0);
	progress->home = weir_catalog_int64(tuple, 12, -1);
	value = weir_catalog_column(tuple, 13, &isnull);
	progress->page = ItemPointerGetBlockNumber((ItemPointer) DatumGetPointer(value));
}

/* Returns the progress of every partition registered for a stream. */
List *
weir_catalog_load_partitions(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT " PROGRESS_COLUMNS " FROM weir_internal.stream_partition"
		" WHERE stream = $1 ORDER BY partition",
		1, {REGCLASSOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirProgress *progress = palloc(sizeof(WeirProgress));

		result = lappend(result, progress);
		MemoryContextSwitchTo(old);
		read_progress(SPI_tuptable->vals[i], progress);
	}
	weir_catalog_leave(&session);
	return result;
}

/*
 * Registers partitions at the offsets given; those already there are left
 * alone, and the row of the stream, which is locked first, keeps others away.
 * A partition that comes later goes on from the stream's watermark, which is
 * logged as after idleness.
 */
void
weir_catalog_add_partitions(Oid relid, int n, const int32 *partitions, const int64 *offsets)
{
	static WeirCatalogStatement statement = {
		"WITH added AS (INSERT INTO weir_internal.stream_partition (stream, partition, applied_offset, floor)"
		"	SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM weir_internal.stream_partition"
		"	WHERE stream = $1 AND partition = $2) RETURNING *)"
		" INSERT INTO weir_internal.watermark_floor (stream, partition, from_offset, floor)"
		" SELECT stream, partition, applied_offset, floor FROM added"
		" WHERE partition >= 0 AND floor > '-infinity'"
		" ON CONFLICT (stream, partition, from_offset) DO UPDATE SET floor = excluded.floor",
		4, {REGCLASSOID, INT4OID, INT8OID, TIMESTAMPTZOID}
	};
	WeirCatalogSession session;
	TimestampTz floor = weir_catalog_hold_watermark(relid);

	weir_catalog_enter(&session);
	for (int i = 0; i < n; i++)
		weir_catalog_execute(&statement,
				(Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partitions[i]), Int64GetDatum(offsets[i]),
				TimestampTzGetDatum(floor)},
				NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Reads the row of a partition, locking it until commit if asked to. */
bool
weir_catalog_read_partition(Oid relid, int32 partition, bool lock, WeirProgress *progress)
{
	static WeirCatalogStatement plain = {
		"SELECT " PROGRESS_COLUMNS " FROM weir_internal.stream_partition" OF_LATEST_GENERATION,
		2, {REGCLASSOID, INT4OID}, true
	};
	static WeirCatalogStatement locking = {
		"SELECT " PROGRESS_COLUMNS " FROM weir_internal.stream_partition" OF_LATEST_GENERATION " FOR UPDATE",
		2, {REGCLASSOID, INT4OID}, true
	};
	WeirCatalogSession session;
	bool		found;

	weir_catalog_enter(&session);
	found = weir_catalog_execute(lock ? &locking : &plain,
					(Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition)},
					NULL, SPI_OK_SELECT);
	if (found)
		read_progress(SPI_tuptable->vals[0], progress);
	weir_catalog_leave(&session);
	return found;
}

/*
 * Adds the counters and moves the offset and watermark of a partition that
 * stands at expected_offset; returns false if it does not stand there.  Where
 * the row has left the page of its generation, the next one begins.
 */
bool
weir_catalog_save_progress(Oid relid, const WeirProgress *progress, int64 expected_offset)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream_partition SET applied_offset = $4, watermark = $5,"
		" consumed = consumed + $6, staged = staged + $7, duplicate = duplicate + $8,"
		" dead_lettered = dead_lettered + $9, dropped = dropped + $10, skipped = skipped + $11,"
		" replayed = replayed + $12, end_offset = coalesce($13, end_offset),"
		" last_timestamp = coalesce($14, last_timestamp), seen = $15,"
		" mark_offset = $16, mark_crc = $17, updated_at = pg_catalog.now(), behind_since = NULL,"
		" generation = generation + $19, home = $20"
		" WHERE stream = $1 AND partition = $2 AND applied_offset = $3 AND generation = $18",
		20, {REGCLASSOID, INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID,
			INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID,
		INT8OID, INT8OID, INT8OID}, true
	};
	WeirCatalogSession session;
	Datum		values[20];
	char		nulls[] = "                    ";
	bool		found;

	values[0] = ObjectIdGetDatum(relid);
	values[1] = Int32GetDatum(progress->partition);
	values[2] = Int64GetDatum(expected_offset);
	values[3] = Int64GetDatum(progress->applied_offset);
	values[4] = TimestampTzGetDatum(progress->watermark);
	values[5] = Int64GetDatum(progress->consumed);
	values[6] = Int64GetDatum(progress->staged);
	values[7] = Int64GetDatum(progress->duplicate);
	values[8] = Int64GetDatum(progress->dead_lettered);
	values[9] = Int64GetDatum(progress->dropped);
	values[10] = Int64GetDatum(progress->skipped);
	values[11] = Int64GetDatum(progress->replayed);
	values[12] = Int64GetDatum(progress->end_offset);
	if (progress->end_offset < 0)
		nulls[12] = 'n';
	values[13] = TimestampTzGetDatum(progress->last_timestamp);
	if (!progress->has_last_timestamp)
		nulls[13] = 'n';
	values[14] = TimestampTzGetDatum(progress->seen);
	values[15] = Int64GetDatum(progress->mark.offset);
	values[16] = Int64GetDatum((int64) progress->mark.crc);
	if (progress->mark.offset < 0)
		nulls[15] = nulls[16] = 'n';
	values[17] = Int64GetDatum(progress->generation);
	values[18] = Int64GetDatum(progress->page != progress->home ? 1 : 0);
	values[19] = Int64GetDatum(progress->page);

	weir_catalog_enter(&session);
	found = weir_catalog_execute(&statement, values, nulls, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	return found;
}

/*
 * Saves where a partition ends, for a worker that cannot apply what is there.
 * Waits for nobody: whoever has the row locked moves it.
 */
void
weir_catalog_save_end(Oid relid, int32 partition, int64 end_offset)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream_partition p SET end_offset = $3,"
		" behind_since = CASE WHEN $3 <= p.applied_offset THEN NULL"
		" WHEN p.end_offset > p.applied_offset THEN p.behind_since ELSE pg_catalog.clock_timestamp() END"
		" FROM (SELECT partition, generation FROM weir_internal.stream_partition"
		" WHERE stream = $1 AND partition = $2 FOR NO KEY UPDATE SKIP LOCKED) l"
		" WHERE p.stream = $1 AND p.partition = l.partition AND p.generation = l.generation",
		3, {REGCLASSOID, INT4OID, INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	(void) weir_catalog_execute(&statement,
								(Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition), Int64GetDatum(end_offset)},
								NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}

/* Reads the counters of a partition as they stand. */
void
weir_catalog_read_counters(Oid relid, int32 partition, WeirProgress *progress)
{
	static WeirCatalogStatement statement = {
		"SELECT consumed, duplicate, dead_lettered, dropped, skipped"
		" FROM weir_internal.stream_partition WHERE stream = $1 AND partition = $2",
		2, {REGCLASSOID, INT4OID}
	};
	WeirCatalogSession session;

	memset(progress, 0, sizeof(*progress));
	weir_catalog_enter(&session);
	if (weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition)},
							 NULL, SPI_OK_SELECT))
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];

		progress->consumed = weir_catalog_int64(tuple, 1, 0);
		progress->duplicate = weir_catalog_int64(tuple, 2, 0);
		progress->dead_lettered = weir_catalog_int64(tuple, 3, 0);
		progress->dropped = weir_catalog_int64(tuple, 4, 0);
		progress->skipped = weir_catalog_int64(tuple, 5, 0);
	}
	weir_catalog_leave(&session);
}

/* Puts offset and counters of a partition back. */
bool
weir_catalog_rewind_partition(Oid relid, const WeirProgress *mark)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream_partition SET applied_offset = $3, consumed = $4,"
		" duplicate = $5, dead_lettered = $6, dropped = $7, skipped = $8,"
		" mark_offset = NULL, mark_crc = NULL"
		" WHERE stream = $1 AND partition = $2 AND applied_offset > $3"
		/* what was replayed is applied, and must not come again */
		" AND NOT EXISTS (SELECT FROM weir_internal.dead_letter d WHERE d.stream = $1"
		" AND d.partition = $2 AND d.kafka_offset >= $3 AND d.replayed_at IS NOT NULL)",
		8, {REGCLASSOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID}
	};
	WeirCatalogSession session;
	bool		found;

	weir_catalog_enter(&session);
	found = weir_catalog_execute(&statement,
								 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(mark->partition),
									 Int64GetDatum(mark->applied_offset), Int64GetDatum(mark->consumed),
									 Int64GetDatum(mark->duplicate), Int64GetDatum(mark->dead_lettered),
									 Int64GetDatum(mark->dropped), Int64GetDatum(mark->skipped)},
								 NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	if (found)
		weir_catalog_rewind_ranges(relid, mark->partition, mark->applied_offset);
	return found;
}

/* Sets the offset of a partition outright; false if there is no such partition to see. */
bool
weir_catalog_move_partition(Oid relid, int32 partition, int64 offset)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream_partition SET applied_offset = $3, end_offset = NULL, behind_since = NULL,"
		" mark_offset = NULL, mark_crc = NULL"
		" WHERE stream = $1 AND partition = $2",
		3, {REGCLASSOID, INT4OID, INT8OID}
	};
	WeirCatalogSession session;
	bool		found;

	weir_catalog_break_ranges(relid, partition, offset);
	weir_catalog_enter(&session);
	found = weir_catalog_execute(&statement,
								 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition), Int64GetDatum(offset)},
								 NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	return found;
}

/* Returns how far Kafka's partitions are applied by now, whatever the isolation level. */
List *
weir_catalog_latest_applied(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT partition, applied_offset, consumed FROM weir_internal.stream_partition"
		" WHERE stream = $1 AND partition >= 0 ORDER BY partition",
		1, {REGCLASSOID}
	};
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	(void) weir_catalog_execute_latest(&statement, (Datum[]) {ObjectIdGetDatum(relid)});
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MemoryContext old = MemoryContextSwitchTo(context);
		WeirApplied *applied = palloc(sizeof(WeirApplied));

		result = lappend(result, applied);
		MemoryContextSwitchTo(old);
		applied->partition = weir_catalog_int32(tuple, 1, 0);
		applied->offset = weir_catalog_int64(tuple, 2, 0);
		applied->consumed = weir_catalog_int64(tuple, 3, 0);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Forgets Kafka's partitions; returns how many there were to see. */
int
weir_catalog_forget_partitions(Oid relid)
{
	static WeirCatalogStatement statement = {
		"DELETE FROM weir_internal.stream_partition WHERE stream = $1 AND partition >= 0",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;
	int			n;

	weir_catalog_enter(&session);
	(void) weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_DELETE);
	n = (int) SPI_processed;
	weir_catalog_leave(&session);
	return n;
}
