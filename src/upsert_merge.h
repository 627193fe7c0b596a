/*
 * upsert_merge.h
 *	  The latest rows of a batch brought into the table of an upsert.
 *
 * Floor 2, a part of the step upsert.
 */
#ifndef WEIR_UPSERT_MERGE_H
#define WEIR_UPSERT_MERGE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog_upsert.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "utils/tuplestore.h"

/* Columns of our own in a table that we made, and in one of positions. */
#define WEIR_UPSERT_ORDER_COLUMN "_order"
#define WEIR_UPSERT_PARTITION_COLUMN "_partition"
#define WEIR_UPSERT_OFFSET_COLUMN "_offset"
#define WEIR_UPSERT_DELETED_COLUMN "_deleted"

/* The statements that bring rows in, in this order. */
typedef enum WeirMergeStep
{
	WEIR_MERGE_CLAIM,			/* of a user's table: positions of keys that these rows move */
	WEIR_MERGE_PUT,
	WEIR_MERGE_DELETE,
	WEIR_MERGE_REMEMBER,		/* positions of deletes, of a table that is ours */
	WEIR_MERGE_FORGET,			/* those that no event can come before any more */
	WEIR_MERGE_STEPS
} WeirMergeStep;

typedef struct WeirMerger
{
	const WeirUpsertRow *row;
	TupleDesc	desc;			/* of the rows */
	char	   *sql[WEIR_MERGE_STEPS];	/* NULL: nothing to do */
	SPIPlanPtr	plans[WEIR_MERGE_STEPS];	/* NULL: not made yet */
} WeirMerger;

/* Makes the statements for rows of this description, in the current context. */
extern WeirMerger *weir_merger_create(const WeirUpsertRow *row, TupleDesc desc);

/* Frees its plans. */
extern void weir_merger_free(WeirMerger *merger);

/*
 * Brings rows in, each key once, in the order of keys.  deletes: is any of
 * them one?  The caller has the rights and the settings.
 */
extern void weir_merger_merge(WeirMerger *merger, Tuplestorestate *rows, bool deletes);

/* Forgets deletes up to this time, unless others write; did it? */
extern bool weir_merger_forget(WeirMerger *merger, TimestampTz until);

/* Empties a table of ours, and what is remembered of it, as who we are. */
extern void weir_merger_empty(const WeirUpsertRow *row);

/* Is a trigger asking that our writing to this table has fired? */
extern bool weir_merger_in_progress(Oid target);

#endif							/* WEIR_UPSERT_MERGE_H */
