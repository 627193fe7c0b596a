/*
 * transform_write.h
 *	  Rows written into the target of a transform.
 *
 * Floor 2, a part of the step transform.
 */
#ifndef WEIR_TRANSFORM_WRITE_H
#define WEIR_TRANSFORM_WRITE_H

#include "tcop/dest.h"
#include "transform.h"
#include "utils/rel.h"

/* May rows be written into a table past the executor, which would let triggers, policies or partitions have a say? */
extern bool weir_transform_may_write(Relation target);

/* Writes what a plan gives of a batch into the target; returns the least event time among it. */
extern TimestampTz weir_transform_write(WeirTransform *transform, PlannedStmt *plan, Tuplestorestate *batch);

/* Did our own writing fire the trigger that asks, on this table? */
extern bool weir_transform_is_writing(Oid relid);

#endif							/* WEIR_TRANSFORM_WRITE_H */
