/*
 * dedup.h
 *	  Duplicates of events are told by their ids.
 *
 * Floor 2.
 */
#ifndef WEIR_DEDUP_H
#define WEIR_DEDUP_H

#include "access/tupdesc.h"
#include "batch.h"
#include "catalog.h"

/* What makes an event known, compiled. */
typedef struct WeirDedup WeirDedup;

/* What one batch has accepted so far, in the transaction that it belongs to. */
typedef struct WeirDedupBatch WeirDedupBatch;

/* An event to judge; the values are of its row. */
typedef struct WeirDedupEvent
{
	const Datum *values;
	TimestampTz event_time;
	TimestampTz watermark;		/* of its partition, before it */
	bool		duplicate;		/* the verdict */
} WeirDedupEvent;

/* Returns NULL for a stream without event_id.  Raises 42703 and 42883. */
extern WeirDedup *weir_dedup_create(TupleDesc tupdesc, const WeirStream *stream);

/* Has an event an id?  False with *fault set if a column of it is null. */
extern bool weir_dedup_check(const WeirDedup *dedup, const bool *isnull, WeirFault *fault);

/* Begins a batch, in the current context, as the stream's owner: functions of types are called. */
extern WeirDedupBatch *weir_dedup_begin(WeirDedup *dedup);

/*
 * Judges events that follow each other.  Those that are accepted are known to
 * those that follow.  Waits for transactions that have brought the same ids.
 */
extern void weir_dedup_judge(WeirDedupBatch *batch, WeirDedupEvent *events, int n);

/* How many events are accepted so far, and back to that: a part of the batch was rolled back. */
extern int	weir_dedup_accepted(const WeirDedupBatch *batch);
extern void weir_dedup_cut(WeirDedupBatch *batch, int accepted);

/*
 * Remembers what was accepted, with the transaction.  False if another one
 * has meanwhile brought one of the same ids: the caller rolls back, waits for
 * *other if that is valid, and begins anew.
 */
extern bool weir_dedup_remember(WeirDedupBatch *batch, TransactionId *other);

/* Waits for the end of a transaction. */
extern void weir_dedup_wait(TransactionId other);

/* Lets go of ids that no event to come can be a duplicate of; looks now and then. */
extern void weir_dedup_expire(WeirDedupBatch *batch);

extern void weir_dedup_end(WeirDedupBatch *batch);

#endif							/* WEIR_DEDUP_H */
