/*
 * aggregate_same.h
 *	  Are two results of an aggregate the same?
 *
 * Floor 1.
 */
#ifndef WEIR_AGGREGATE_SAME_H
#define WEIR_AGGREGATE_SAME_H

#include "postgres.h"

/* Are two values, none of them NULL, the same but for rounding and the order of arrays? */
extern bool weir_is_same(Oid type, Oid collation, Datum a, Datum b);

#endif							/* WEIR_AGGREGATE_SAME_H */
