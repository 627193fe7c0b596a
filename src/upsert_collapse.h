/*
 * upsert_collapse.h
 *	  The rows that a batch gives an upsert, reduced to the latest of each key.
 *
 * Floor 2, a part of the step upsert.
 */
#ifndef WEIR_UPSERT_COLLAPSE_H
#define WEIR_UPSERT_COLLAPSE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "tcop/dest.h"
#include "utils/sortsupport.h"
#include "utils/tuplestore.h"
#include "utils/tuplesort.h"

/* Which columns of its rows say what. */
typedef struct WeirCollapser
{
	const char *name;			/* the upsert, in errors */
	TupleDesc	desc;			/* of the rows: the query's columns, then WeirUpsertColumn */
	int			nkeys;
	AttrNumber *keys;
	const char *order_name;		/* of the column that orders, in errors */
	AttrNumber	added;			/* the first WeirUpsertColumn */
	int64		ttl;			/* microseconds; -1: none */
	Oid		   *sort_operators; /* of keys, partition, offset */
	Oid		   *sort_collations;
	bool	   *nulls_first;
	AttrNumber *sort_columns;
	SortSupportData *key_order; /* how keys compare */
	SortSupportData order;		/* and what orders events */
} WeirCollapser;

/* Rows on their way. */
typedef struct WeirCollapse
{
	DestReceiver pub;			/* takes them */
	const WeirCollapser *collapser;
	Tuplesortstate *sort;
	MemoryContext context;		/* of late: the executor's is gone with the query */
	List	   *late;			/* of WeirLateUpsert */
	bool		deletes;		/* of those that are left, is any a delete? */
	int64		rows;			/* how many are left */
} WeirCollapse;

/* An event that came too late. */
typedef struct WeirLateUpsert
{
	TimestampTz event_time;
	int32		partition;
	int64		offset;
} WeirLateUpsert;

/*
 * Makes ready for rows of this description, in the current context.  key:
 * columns by name; collations: of the key's columns in the table.
 */
extern WeirCollapser *weir_collapser_create(const char *name, TupleDesc desc, List *key, const Oid *collations,
											const char *order_name, int64 ttl);

/* Begins with a batch, whose rows go to pub. */
extern WeirCollapse *weir_collapse_begin(const WeirCollapser *collapser);

/* Returns the latest row of each key, in the order of the keys. */
extern Tuplestorestate *weir_collapse_end(WeirCollapse *collapse);

#endif							/* WEIR_UPSERT_COLLAPSE_H */
