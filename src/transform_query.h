/*
 * transform_query.h
 *	  The query of a transform: what it may be, and the INSERT made of it.
 *
 * Floor 2, a part of the step transform.
 */
#ifndef WEIR_TRANSFORM_QUERY_H
#define WEIR_TRANSFORM_QUERY_H

#include "derived_source.h"
#include "nodes/parsenodes.h"

/* The columns that say where a row is from, in their order. */
typedef enum WeirPlaceColumn
{
	WEIR_PLACE_PARTITION,
	WEIR_PLACE_OFFSET,
	WEIR_PLACE_TIMESTAMP,
	WEIR_PLACE_WATERMARK
} WeirPlaceColumn;

#define WEIR_PLACE_COLUMNS 4

extern const char *const weir_place_names[WEIR_PLACE_COLUMNS];
extern const char *const weir_place_types[WEIR_PLACE_COLUMNS];

/* Checks a query, and returns where the source stands in its range table. */
extern Index weir_transform_query_check(Query *query, const WeirSource *source, const char *name);

/* Returns the query's column that is the source's event time, as it is; NULL if there is none. */
extern const char *weir_transform_query_time(Query *query, Index position, const WeirSource *source);

/* Adds to a query those columns that say where a row is from that the target has. */
extern void weir_transform_query_place(Query *query, Index position, const WeirSource *source, Oid target);

/* Raises 42703 or 42804 if the target cannot take the columns of a query. */
extern void weir_transform_query_fits(const Query *query, Oid target, const char *name);

/*
 * Returns INSERT INTO target (columns) of what the query gives, which is the
 * second in its range table.  view has the user's columns.
 */
extern Query *weir_transform_query_insert(Query *query, Oid target, Oid view);

#endif							/* WEIR_TRANSFORM_QUERY_H */
