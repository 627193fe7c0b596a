/*
 * apply.h
 *	  The steps of a batch, in order.
 *
 * Floor 3, below pipeline.c, which has the transaction.
 */
#ifndef WEIR_APPLY_H
#define WEIR_APPLY_H

#include "batch.h"
#include "catalog.h"
#include "deadletter.h"
#include "expect.h"
#include "runtime.h"
#include "span.h"
#include "streak.h"
#include "verdict.h"

/* What happens to a partition in this batch. */
typedef struct WeirPartitionWork
{
	WeirProgress progress;		/* counters: increments of this batch */
	int64		expected;		/* applied offset when the batch began */
	TimestampTz watermark;		/* before the batch, no less than the floor */
	TimestampTz seen;			/* before the batch */
	const WeirMessage *last;	/* of the batch; NULL: none */
} WeirPartitionWork;

typedef struct WeirApply
{
	WeirRuntime *runtime;
	const WeirBatch *batch;
	bool		replay;			/* offsets and watermarks stay where they are */
	bool		refill;			/* rows come back: no trigger fires */
	Relation	parent;
	Relation	child;
	TimestampTz now;
	TimestampTz least_watermark;	/* no event gets less; DT_NOBEGIN: no such bound */
	WeirPartitionWork *work;
	int			nwork;
	int			work_room;
	int			last_work;		/* index of the partition last looked up */
	WeirDeadLetters letters;
	WeirVerdicts verdicts;		/* what gives no row, dead letters too */
	WeirDedupBatch *dedup;		/* NULL: no event is a duplicate */
	bool	   *duplicates;		/* replay: messages that are duplicates by now */
	WeirViolations violations;	/* of expectations */
	int		   *stopped_at;		/* where to note which message an expectation stops the stream at; or NULL */
	WeirStreak *streak;			/* events refused alike, also before this batch */
	WeirSpan	span;			/* of the rows of the insert */
	WeirStage	stage;			/* where an error that is thrown comes from */
	const WeirMessage *current; /* the message being worked on alone, or NULL */
	MemoryContext context;		/* of the batch */
} WeirApply;

/* Opens the tables, checks the triggers.  The caller has entered the owner's rights. */
extern void weir_apply_begin(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch,
							 WeirStreak *streak);

/* The same for dead letters, which keep the partitions and offsets they had. */
extern void weir_apply_begin_replay(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch,
									WeirStreak *streak);

/*
 * The same for messages of one partition whose rows were here before: they
 * come back without triggers, from the watermark given on.  What becomes of
 * offset and watermark is in work[0].
 */
extern void weir_apply_begin_refill(WeirApply *apply, WeirRuntime *runtime, const WeirBatch *batch,
									WeirStreak *streak, TimestampTz watermark);

/* Applies the messages [from, to) as one insert; errors of data are thrown. */
extern void weir_apply_range(WeirApply *apply, int from, int to);

/*
 * The same, each message for itself where need be: what one message's fault
 * is becomes its dead letter and the rest is applied.  Throws only what is
 * not the fault of a message.
 */
extern void weir_apply_isolating(WeirApply *apply, int from, int to);

/*
 * Remembers the ids of what was applied; false if another transaction has
 * brought one of them meanwhile, so that all is to be rolled back and done
 * again after the end of *other, if that is valid.
 */
extern bool weir_apply_remember(WeirApply *apply, TransactionId *other);

/* Moves partitions to positions beyond their last message. */
extern void weir_apply_positions(WeirApply *apply);

extern void weir_apply_end(WeirApply *apply);

#endif							/* WEIR_APPLY_H */
