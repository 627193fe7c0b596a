/*
 * upsert_query.h
 *	  The query of an upsert: what it may be, and the columns that are added
 *	  to it.
 *
 * Floor 2, a part of the step upsert.
 */
#ifndef WEIR_UPSERT_QUERY_H
#define WEIR_UPSERT_QUERY_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "derived_source.h"
#include "nodes/parsenodes.h"

/* The columns that are added, after the query's own. */
typedef enum WeirUpsertColumn
{
	WEIR_UPSERT_ORDER,			/* the greatest one wins; then partition and offset decide */
	WEIR_UPSERT_PARTITION,
	WEIR_UPSERT_OFFSET,
	WEIR_UPSERT_DELETED,		/* does the event delete the row? */
	WEIR_UPSERT_WATERMARK
} WeirUpsertColumn;
#define WEIR_UPSERT_COLUMNS 5

/* Their names in the view of the query. */
extern const char *const weir_upsert_column_names[WEIR_UPSERT_COLUMNS];

/* What is to be added. */
typedef struct WeirUpsertSpec
{
	const char *name;			/* the upsert, in errors */
	const WeirSource *source;
	const char *order_by;		/* column of the query; NULL: event time */
	const char *delete_when;	/* expression over the query's columns; NULL: none */
	TupleDesc	target;			/* of the user's own table, whose types the columns take; NULL: none */
} WeirUpsertSpec;

/* Do events of a source delete by having no value? */
extern bool weir_upsert_has_tombstones(const WeirSource *source);

/* Is a column of the query nothing but the source's event time?  NULL: event time is meant. */
extern bool weir_upsert_by_event_time(const Query *query, const WeirSource *source, const char *order_by);

/* Is a column of the source part of the key, as it is? */
extern bool weir_upsert_key_has(Query *query, const WeirSource *source, List *key, const char *column);

/* Returns a column of a query, raising an error that names it, and the parameter, if there is none. */
extern TargetEntry *weir_upsert_query_column(const Query *query, const char *column, const char *parameter, const char *name);

/*
 * Checks a query as the user wrote it, analysed, and returns it with the
 * columns added, as text.  Raises 0A000 or what fits, naming the construct and
 * the way out.
 */
extern char *weir_upsert_query_extend(Query *query, const WeirUpsertSpec *spec);

/* Checks the query of a view; returns where the source stands in its range table. */
extern Index weir_upsert_query_check(Query *query, Oid source, const char *name);

#endif							/* WEIR_UPSERT_QUERY_H */
