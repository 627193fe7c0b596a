/*
 * aggregate_move.h
 *	  Rows of windows that are over: finished, and put into the results.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_MOVE_H
#define WEIR_AGGREGATE_MOVE_H

#include "aggregate.h"

/* Puts what is over as of this watermark into the results; returns how many rows. */
extern uint64 weir_aggregate_move(WeirAggregate *aggregate, TimestampTz watermark);

#endif							/* WEIR_AGGREGATE_MOVE_H */
