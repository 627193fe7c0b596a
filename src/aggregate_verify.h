/*
 * aggregate_verify.h
 *	  A continuous aggregate's rows compared with what its query gives.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_VERIFY_H
#define WEIR_AGGREGATE_VERIFY_H

#include "aggregate.h"
#include "derived_verify.h"

/* Calls difference with each, as of the active snapshot.  The caller acts as the owner and keeps what is staged there. */
extern void weir_aggregate_verify(WeirAggregate *aggregate, WeirDifference difference, void *arg);

#endif							/* WEIR_AGGREGATE_VERIFY_H */
