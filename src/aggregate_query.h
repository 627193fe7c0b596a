/*
 * aggregate_query.h
 *	  The query of a continuous aggregate: what it may be, the grouping that
 *	  is maintained for it, and the query over that grouping which gives its
 *	  rows.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_QUERY_H
#define WEIR_AGGREGATE_QUERY_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* A query, taken apart. */
typedef struct WeirAggregateQuery
{
	const char *name;			/* what errors call it */
	Query	   *query;			/* as the user wrote it, analysed */
	Index		source;			/* where its source stands in its range table */
	List	   *keys;			/* TargetEntry: what it groups by */
	List	   *aggrefs;		/* Aggref: what it aggregates, each once */
} WeirAggregateQuery;

/*
 * Takes a query apart.  Raises 0A000, 42P10 or what fits, naming the construct
 * and the way out, where it cannot be maintained.  Names the object "name" in
 * errors.
 */
extern WeirAggregateQuery *weir_aggregate_query_read(Query *query, Oid source, const char *name);

/*
 * Returns the query that gives the rows: over a relation whose columns from
 * first_column on are the keys and then the results of the aggregates.  In
 * place of HAVING it has a further column, which is NULL where there is none.
 */
extern Query *weir_aggregate_query_finish(const WeirAggregateQuery *aggregate, Oid relation, int first_column);

#endif							/* WEIR_AGGREGATE_QUERY_H */
