/*
 * catalog_watermark.c
 *	  The watermark of a whole stream, and partitions left out of it.
 *
 * The stream's watermark is the least of its partitions' watermarks.  A
 * partition that has been idle for long is left out; what it brings when it
 * returns gets at least the stream's watermark, its floor.  The floor is
 * logged with the offset it holds from, as idleness is a fact of the clock
 * that no replay could find out again.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_watermark.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#define STREAM_WATERMARK \
	"greatest(s.held_watermark, (SELECT min(p.watermark) FROM weir_internal.stream_partition p" \
	" WHERE p.stream = s.stream AND p.partition >= 0 AND p.idle_since IS NULL))"

/* Runs a statement that gives one timestamp for a stream; -infinity if there is no such stream. */
static TimestampTz
timestamp_of(WeirCatalogStatement *statement, Oid relid, int expected)
{
	WeirCatalogSession session;
	TimestampTz result = DT_NOBEGIN;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, expected))
		result = weir_catalog_int64(SPI_tuptable->vals[0], 1, DT_NOBEGIN);
	weir_catalog_leave(&session);
	return result;
}

static WeirCatalogStatement read_watermark = {
	"SELECT " STREAM_WATERMARK " FROM weir_internal.stream s WHERE s.stream = $1",
	1, {REGCLASSOID}
};

/* Returns the watermark of a stream. */
TimestampTz
weir_catalog_stream_watermark(Oid relid)
{
	return timestamp_of(&read_watermark, relid, SPI_OK_SELECT);
}

/* Returns the watermark of a stream as a snapshot sees it. */
TimestampTz
weir_catalog_stream_watermark_at(Oid relid, Snapshot snapshot)
{
	WeirCatalogSession session;
	TimestampTz result = DT_NOBEGIN;

	weir_catalog_enter(&session);
	if (weir_catalog_execute_snapshot(&read_watermark, (Datum[]) {ObjectIdGetDatum(relid)}, snapshot))
		result = weir_catalog_int64(SPI_tuptable->vals[0], 1, DT_NOBEGIN);
	weir_catalog_leave(&session);
	return result;
}

/* Keeps the watermark of a stream from going back. */
TimestampTz
weir_catalog_hold_watermark(Oid relid)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream s SET held_watermark = " STREAM_WATERMARK
		" WHERE s.stream = $1 RETURNING held_watermark",
		1, {REGCLASSOID}
	};

	return timestamp_of(&statement, relid, SPI_OK_UPDATE_RETURNING);
}

/*
 * With the last partition left out the watermark stays where it is.  Those
 * that never brought anything do not keep it from where the others are: they
 * have been idle the longest, whichever was found out first.
 */
static void
pass_the_empty(Oid relid)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream s SET held_watermark = w.watermark"
		" FROM (SELECT min(p.watermark) FILTER (WHERE p.watermark > '-infinity') AS watermark"
		"	FROM weir_internal.stream_partition p WHERE p.stream = $1 AND p.partition >= 0"
		"	HAVING bool_and(p.idle_since IS NOT NULL)) w"
		" WHERE s.stream = $1 AND s.held_watermark < w.watermark",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	(void) weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}

/* Leaves partitions out of the stream's watermark. */
void
weir_catalog_leave_out(Oid relid, int n, const int32 *partitions)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.stream_partition SET idle_since = pg_catalog.clock_timestamp()"
		" WHERE stream = $1 AND partition = ANY ($2) AND idle_since IS NULL",
		2, {REGCLASSOID, INT4ARRAYOID}
	};
	WeirCatalogSession session;
	Datum	   *elems = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		elems[i] = Int32GetDatum(partitions[i]);
	(void) weir_catalog_hold_watermark(relid);
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid),
							 PointerGetDatum(construct_array(elems, n, INT4OID, 4, true, TYPALIGN_INT))},
						 NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
	pass_the_empty(relid);
}

/* Takes a partition that was left out in again. */
TimestampTz
weir_catalog_take_in(Oid relid, int32 partition)
{
	static WeirCatalogStatement update = {
		"UPDATE weir_internal.stream_partition SET idle_since = NULL, floor = greatest(floor, $3)"
		" WHERE stream = $1 AND partition = $2",
		3, {REGCLASSOID, INT4OID, TIMESTAMPTZOID}
	};
	static WeirCatalogStatement log = {
		"INSERT INTO weir_internal.watermark_floor (stream, partition, from_offset, floor)"
		" SELECT stream, partition, applied_offset, floor FROM weir_internal.stream_partition"
		" WHERE stream = $1 AND partition = $2"
		" ON CONFLICT (stream, partition, from_offset) DO UPDATE SET floor = excluded.floor",
		2, {REGCLASSOID, INT4OID}
	};
	TimestampTz floor = weir_catalog_hold_watermark(relid);
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&update,
						 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition), TimestampTzGetDatum(floor)},
						 NULL, SPI_OK_UPDATE);
	weir_catalog_execute(&log, (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition)},
						 NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
	return floor;
}
