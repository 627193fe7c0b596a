/*
 * refill.h
 *	  Staged rows that a crash has emptied come back.
 *
 * Floor 3.
 */
#ifndef WEIR_REFILL_H
#define WEIR_REFILL_H

#include "batch.h"
#include "catalog_refill.h"
#include "pipeline.h"

/*
 * Finds out whether the staged rows of a stream are lost, and plans their
 * return.  Called before the first batch, in a transaction that holds the
 * batch fence.
 */
extern void weir_refill_plan(Oid stream);

/* The same in a transaction of its own.  Throws. */
extern void weir_refill_plan_alone(Oid stream);

/* What is to be done, and with which definition. */
typedef struct WeirRefill
{
	Oid			stream;
	int64		version;
	int			worker;
	int			parallelism;
	WeirRefillRange *ranges;	/* by partition and offset */
	int			nranges;
} WeirRefill;

/*
 * Brings back the rows of messages that have been read again, in a transaction
 * of its own.  Messages that belong to no range are passed over.  With
 * WEIR_APPLIED the ranges are where the batch's messages and positions say;
 * with anything else they are unchanged, and *error is set or NULL as in
 * weir_pipeline_apply.  WEIR_CHANGED: load the ranges anew.  *cut: some
 * messages are still wanted, and must be read once more.
 */
extern WeirOutcome weir_refill_apply(WeirRefill *refill, const WeirBatch *batch, bool *cut, ErrorData **error);

/* Returns which of these ranges, in order, a message is still wanted for, or NULL. */
extern WeirRefillRange *weir_refill_range_of(WeirRefillRange *ranges, int nranges, const WeirMessage *message);

/* Brings back rows of replayed dead letters; *more: there may be more of them. */
extern WeirOutcome weir_refill_letters(WeirRefill *refill, bool *more, ErrorData **error);

/*
 * Gives up what is left of those ranges of a partition whose first offsets are
 * from .. to, in a transaction of its own.  Throws.
 */
extern void weir_refill_lose(Oid stream, int32 partition, int64 from, int64 to);

#endif							/* WEIR_REFILL_H */
