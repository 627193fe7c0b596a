/*
 * catalog_reset.c
 *	  Rows of the catalogue that a stream gives up when it begins anew.
 *
 * As in catalog.c, everything runs with the superuser's rights.  Kafka's
 * partitions themselves are catalog_partition.c's to forget.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_query.h"
#include "catalog_refill.h"
#include "catalog_reset.h"

/* Forgets everything that belongs to the rows a stream had. */
void
weir_catalog_reset(Oid relid)
{
	static WeirCatalogStatement deletions[] = {
		{"DELETE FROM weir_internal.chunk WHERE stream = $1", 1, {REGCLASSOID}},
		{"DELETE FROM weir_internal.chunk_checkpoint WHERE stream = $1", 1, {REGCLASSOID}},
		{"DELETE FROM weir_internal.verdict WHERE stream = $1", 1, {REGCLASSOID}},
		{"DELETE FROM weir_internal.refill WHERE stream = $1", 1, {REGCLASSOID}},
		{"DELETE FROM weir_internal.watermark_floor WHERE stream = $1", 1, {REGCLASSOID}},
		{"DELETE FROM weir_internal.expectation_failure WHERE stream = $1", 1, {REGCLASSOID}},
	};
	static WeirCatalogStatement updates[] = {
		{"UPDATE weir_internal.dead_letter SET replayed_chunk = NULL"
		" WHERE stream = $1 AND replayed_chunk IS NOT NULL", 1, {REGCLASSOID}},
		/* what weir.ingest brings goes on with its offsets: dead letters have earlier ones */
		{"UPDATE weir_internal.stream_partition SET watermark = DEFAULT, seen = DEFAULT, floor = NULL,"
		" consumed = 0, staged = 0, duplicate = 0, dead_lettered = 0, dropped = 0, skipped = 0,"
		" replayed = 0, late = 0, behind_since = NULL, last_timestamp = NULL WHERE stream = $1", 1, {REGCLASSOID}},
		/* a crash after this finds what it leaves behind, and nothing from before */
		{"UPDATE weir_internal.stream SET held_watermark = DEFAULT, staging_generation = staging_generation + 1"
		" WHERE stream = $1", 1, {REGCLASSOID}},
		{"UPDATE weir_internal.expectation SET since_partitions = '{}', since_offsets = '{}', judged_before = 0"
		" WHERE stream = $1", 1, {REGCLASSOID}},
	};

	for (int i = 0; i < lengthof(deletions); i++)
		weir_catalog_execute_for(&deletions[i], relid, SPI_OK_DELETE);
	for (int i = 0; i < lengthof(updates); i++)
		weir_catalog_execute_for(&updates[i], relid, SPI_OK_UPDATE);
	weir_catalog_mark_staging(relid);
}

/* Have others made or dropped children since this transaction's snapshot? */
bool
weir_catalog_has_unseen_chunks(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.chunk WHERE stream = $1",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;
	uint64		seen;
	bool		unseen;

	weir_catalog_enter(&session);
	(void) weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_SELECT);
	seen = SPI_processed;
	(void) weir_catalog_execute_latest(&statement, (Datum[]) {ObjectIdGetDatum(relid)});
	unseen = SPI_processed != seen;
	weir_catalog_leave(&session);
	return unseen;
}

/* Deletes the dead letters of some offsets. */
void
weir_catalog_withdraw_letters_of(Oid relid, int32 partition, int64 from_offset, int64 to_offset)
{
	static WeirCatalogStatement statement = {
		"DELETE FROM weir_internal.dead_letter"
		" WHERE stream = $1 AND partition = $2 AND kafka_offset >= $3 AND kafka_offset < $4",
		4, {REGCLASSOID, INT4OID, INT8OID, INT8OID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition),
							 Int64GetDatum(from_offset), Int64GetDatum(to_offset)},
						 NULL, SPI_OK_DELETE);
	weir_catalog_leave(&session);
}

/* Are there dead letters of Kafka's partitions? */
bool
weir_catalog_has_letters(Oid relid)
{
	static WeirCatalogStatement statement = {
		"SELECT FROM weir_internal.dead_letter WHERE stream = $1 AND partition >= 0 LIMIT 1",
		1, {REGCLASSOID}
	};

	return weir_catalog_execute_for(&statement, relid, SPI_OK_SELECT);
}
