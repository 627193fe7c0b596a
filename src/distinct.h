/*
 * distinct.h
 *	  Aggregates over distinct values, such as count(DISTINCT x): the values
 *	  are kept, and aggregated when somebody reads.
 *
 * Floor 1, for partial.c.
 */
#ifndef WEIR_DISTINCT_H
#define WEIR_DISTINCT_H

#include "postgres.h"

#include "aggregate_key.h"
#include "nodes/execnodes.h"
#include "nodes/primnodes.h"

/* Different values of one type, in the order they came. */
typedef struct WeirDistinctSet WeirDistinctSet;

/* An aggregate with DISTINCT, ready to run. */
typedef struct WeirDistinct WeirDistinct;

/* Raises 0A000 unless the values of a call with DISTINCT can be kept. */
extern void weir_distinct_check(const Aggref *aggref);

/* Returns the call that collects the values, to be planned in the place of the other. */
extern Aggref *weir_distinct_collector(const Aggref *aggref);

/* Makes ready a call with DISTINCT, in the current context. */
extern WeirDistinct *weir_distinct_init(const Aggref *aggref);

/* Reads a set, adds another's values to it, appends it; all in the current context. */
extern WeirDistinctSet *weir_distinct_unpack(const WeirDistinct *distinct, WeirUnpack bytes);
extern void weir_distinct_union(WeirDistinctSet *set, const WeirDistinctSet *further);
extern void weir_distinct_pack(const WeirDistinctSet *set, StringInfo bytes);

/* Aggregates the values; states live in the memory that context shows the functions. */
extern Datum weir_distinct_finish(WeirDistinct *distinct, const WeirDistinctSet *set, AggState *context, bool *isnull);

#endif							/* WEIR_DISTINCT_H */
