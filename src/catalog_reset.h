/*
 * catalog_reset.h
 *	  Rows of the catalogue that a stream gives up when it begins anew.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_RESET_H
#define WEIR_CATALOG_RESET_H

#include "postgres.h"

/* Forgets what was noted of staged rows, watermarks and counters; the children are gone already. */
extern void weir_catalog_reset(Oid relid);

/* Have others made or dropped children since this transaction's snapshot? */
extern bool weir_catalog_has_unseen_chunks(Oid relid);

/*
 * Deletes the dead letters of offsets that are going to be judged again:
 * from_offset and up to before to_offset.  Those of weir.ingest never are.
 */
extern void weir_catalog_withdraw_letters_of(Oid relid, int32 partition, int64 from_offset, int64 to_offset);

/* Are there dead letters of Kafka's partitions? */
extern bool weir_catalog_has_letters(Oid relid);

#endif							/* WEIR_CATALOG_RESET_H */
