/*
 * catalog_chunk.c
 *	  The children of streams: weir_internal.chunk.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "utils/timestamp.h"

/* How many children share the time of retention. */
#define CHUNKS_PER_RETENTION "8"

/* Returns the child that takes new rows, or InvalidOid. */
Oid
weir_catalog_current_chunk(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT c.chunk FROM weir_internal.chunk c JOIN pg_catalog.pg_class k ON k.oid = c.chunk"
		" WHERE c.stream = $1 AND c.closed_at IS NULL ORDER BY c.created_at DESC LIMIT 1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;
	Oid			chunk = InvalidOid;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT))
		chunk = (Oid) weir_catalog_int32(SPI_tuptable->vals[0], 1, 0);
	weir_catalog_leave(&session);
	return chunk;
}

/* Records a new child of a stream. */
void
weir_catalog_add_chunk(Oid relid, Oid chunk)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.chunk (stream, chunk) VALUES ($1, $2)",
		2, {REGCLASSOID, REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), ObjectIdGetDatum(chunk)},
			NULL, SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Says that no new rows go to any child but this one. */
void
weir_catalog_close_chunks(Oid relid, Oid current)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.chunk SET closed_at = pg_catalog.clock_timestamp()"
		" WHERE stream = $1 AND chunk <> $2 AND closed_at IS NULL",
		2, {REGCLASSOID, REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid), ObjectIdGetDatum(current)},
						 NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}

/* Returns children of a stream that a statement selects. */
static List *
chunks_of(WeirCatalogStatement *statement, Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	WeirCatalogSession session;
	List	   *result = NIL;

	weir_catalog_enter(&session);
	weir_catalog_execute(statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		result = lappend_oid(result, (Oid) weir_catalog_int32(SPI_tuptable->vals[i], 1, 0));
		MemoryContextSwitchTo(old);
	}
	weir_catalog_leave(&session);
	return result;
}

/* Returns all children, oldest first. */
List *
weir_catalog_chunks(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT chunk FROM weir_internal.chunk WHERE stream = $1 ORDER BY created_at",
		1, {REGCLASSOID}
	};

	return chunks_of(&statement, relid);
}

/* Returns the children whose rows are all past the stream's retention, oldest first. */
List *
weir_catalog_expired_chunks(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT c.chunk FROM weir_internal.chunk c JOIN weir_internal.stream s USING (stream)"
		" WHERE c.stream = $1 AND c.closed_at + s.retention <= pg_catalog.clock_timestamp()"
		" ORDER BY c.closed_at",
		1, {REGCLASSOID}
	};

	return chunks_of(&statement, relid);
}

/* Returns a time of a stream's children, or infinity. */
static TimestampTz
time_of(WeirCatalogStatement *statement, Oid relid)
{
	WeirCatalogSession session;
	TimestampTz result = DT_NOEND;

	weir_catalog_enter(&session);
	if (weir_catalog_execute(statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT))
		result = weir_catalog_int64(SPI_tuptable->vals[0], 1, DT_NOEND);
	weir_catalog_leave(&session);
	return result;
}

/* Returns when the child that takes new rows has taken them for long enough. */
TimestampTz
weir_catalog_chunk_full_at(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT min(c.created_at + s.retention / " CHUNKS_PER_RETENTION ")"
		" FROM weir_internal.chunk c JOIN weir_internal.stream s USING (stream)"
		" WHERE c.stream = $1 AND c.closed_at IS NULL",
		1, {REGCLASSOID}
	};

	return time_of(&statement, relid);
}

/* Returns when something is to be done about a stream's children, or infinity. */
TimestampTz
weir_catalog_rotation_due(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT min(CASE WHEN c.closed_at IS NULL THEN c.created_at + s.retention / " CHUNKS_PER_RETENTION
		" ELSE c.closed_at + s.retention END)"
		" FROM weir_internal.chunk c JOIN weir_internal.stream s USING (stream)"
		" WHERE c.stream = $1",
		1, {REGCLASSOID}
	};

	return time_of(&statement, relid);
}
