/*
 * aggregate_define.h
 *	  The relations of a continuous aggregate, made.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_DEFINE_H
#define WEIR_AGGREGATE_DEFINE_H

#include "aggregate.h"
#include "derived_define.h"

/* Makes all but the view of the query, and fills in row; row->query and row->source are set. */
extern void weir_define_relations(const WeirPlace *place, const WeirAggregateQuery *query, WeirAggregateRow *row);

#endif							/* WEIR_AGGREGATE_DEFINE_H */
