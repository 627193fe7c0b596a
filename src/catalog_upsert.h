/*
 * catalog_upsert.h
 *	  The definitions of upserts.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_UPSERT_H
#define WEIR_CATALOG_UPSERT_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* One row of weir_internal.upsert. */
typedef struct WeirUpsertRow
{
	Oid			target;			/* the table that keeps the latest rows */
	char	   *name;			/* in messages; NULL: as the table's */
	Oid			source;			/* what the query reads */
	Oid			stream;			/* where its events come from */
	Oid			query;			/* view: the user's query, and columns of our own */
	Oid			positions;		/* table: deletes; of a user's table all keys; InvalidOid: not needed */
	char	   *trigger_name;
	List	   *key;			/* of String: columns of query and table */
	char	   *order_by;		/* column of the query; NULL: event time */
	bool		owns_target;	/* made by us, with columns for positions */
	int64		tombstone_ttl;	/* microseconds; -1: for ever */
	List	   *settings;		/* String: name=value, as they were when it was created */
	char	   *begins_at;		/* JSON: partition to the offset from which on events count; others: all do */
} WeirUpsertRow;

/* Returns the row of a table, or NULL; in the current context. */
extern WeirUpsertRow *weir_catalog_load_upsert(Oid target);

/* Returns the one whose batches this trigger of a source takes, or NULL. */
extern WeirUpsertRow *weir_catalog_upsert_of_trigger(Oid source, const char *trigger_name);

/* Returns the tables of the upserts over a stream. */
extern List *weir_catalog_upserts(Oid stream);

/* Returns the relations behind the upserts over a stream that are its owner's; not tables of users. */
extern List *weir_catalog_upsert_relations(Oid stream);

/* Adds a row.  !backfill: what the stream's partitions have applied so far does not count for it. */
extern void weir_catalog_add_upsert(const WeirUpsertRow *row, bool backfill);

/* Forgets what came late, and what did not count when it was created. */
extern void weir_catalog_reset_upsert(Oid target);

#endif							/* WEIR_CATALOG_UPSERT_H */
