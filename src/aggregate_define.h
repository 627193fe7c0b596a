/*
 * aggregate_define.h
 *	  The relations of a continuous aggregate, made.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_DEFINE_H
#define WEIR_AGGREGATE_DEFINE_H

#include "aggregate.h"
#include "nodes/primnodes.h"

/* What is to be made. */
typedef struct WeirAggregatePlace
{
	const char *schema;			/* of view and results */
	const char *name;			/* of the view */
	Oid			owner;			/* of everything */
	int64		number;			/* in names that users do not see */
} WeirAggregatePlace;

/*
 * Makes a view of the user's query with the user's own rights and names, and
 * puts it away; returns it.  Errors in the query are raised here.
 */
extern Oid	weir_define_query(const WeirAggregatePlace *place, const char *text);

/* Makes all the rest, and fills in row; row->query and row->stream are set. */
extern void weir_define_relations(const WeirAggregatePlace *place, const WeirAggregateQuery *query, WeirAggregateRow *row);

#endif							/* WEIR_AGGREGATE_DEFINE_H */
