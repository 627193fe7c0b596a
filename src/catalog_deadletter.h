/*
 * catalog_deadletter.h
 *	  weir_internal.dead_letter: writing, marking and purging.
 *
 * Floor 2, beside catalog.c, which has the other tables.
 */
#ifndef WEIR_CATALOG_DEADLETTER_H
#define WEIR_CATALOG_DEADLETTER_H

#include "deadletter.h"
#include "nodes/pg_list.h"

/* Writes the dead letters of a batch. */
extern void weir_catalog_add_dead_letters(Oid stream, const WeirBatch *batch,
										  const WeirDeadLetters *letters);

/* Marks dead letters as replayed; values are what was sent where a transform changed it, else NULL. */
extern void weir_catalog_mark_replayed(int n, const int64 *ids, bytea **values, const bool *rowless);

/* A dead letter that was replayed, and the row it gave. */
typedef struct WeirReplayed
{
	int64		id;
	WeirMessage message;		/* as it was replayed; handle: the headers as Jsonb, or NULL */
	Oid			chunk;
	TimestampTz watermark;
} WeirReplayed;

/*
 * Returns dead letters of a worker's partitions whose rows were lost with the
 * others, ordered by child, partition and watermark: a List of WeirReplayed.
 * At most limit of them, and one at least, that together have max_bytes.
 */
extern List *weir_catalog_lost_replayed(Oid stream, int worker, int parallelism, int limit, int max_bytes);
extern void weir_catalog_replayed_is_back(int64 id);

/* Deletes the dead letters of a partition from an offset on: they are to be read again. */
extern void weir_catalog_withdraw_dead_letters(Oid stream, int32 partition, int64 offset);

/*
 * Deletes dead letters of this database, of whatever stream, that are older
 * than the given number of seconds; some thousands at most at a time.  Those
 * that were replayed stay for as long as their rows.
 */
extern void weir_catalog_purge_dead_letters(int max_age);

#endif							/* WEIR_CATALOG_DEADLETTER_H */
