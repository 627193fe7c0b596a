/*
 * pipeline.h
 *	  One batch, one transaction.
 *
 * Floor 3.
 */
#ifndef WEIR_PIPELINE_H
#define WEIR_PIPELINE_H

#include "batch.h"
#include "catalog.h"

/* What became of the messages of a batch. */
typedef struct WeirCounts
{
	int64		accepted;
	int64		duplicate;
	int64		dead_lettered;
	int64		dropped;
	int64		skipped;
} WeirCounts;

typedef enum WeirOutcome
{
	WEIR_APPLIED,				/* committed */
	WEIR_CHANGED,				/* the stream was stopped, dropped or altered, or another worker was faster: nothing done; load anew */
	WEIR_RETRY,					/* environment error: nothing done; the same batch may be tried again */
	WEIR_BROKEN,				/* definition error: nothing done */
	WEIR_AGAIN					/* another transaction has brought the same event id: never returned */
} WeirOutcome;

/*
 * Applies a batch of Kafka messages in a transaction of its own.  Called by
 * the worker outside a transaction.  version is the definition's version that
 * the worker loaded.
 *
 * Does not throw, but for interrupts that end the process.  With WEIR_RETRY and WEIR_BROKEN, *error is
 * a copy of the error in the caller's context.
 */
extern WeirOutcome weir_pipeline_apply(Oid stream, int64 version, WeirBatch *batch,
									   WeirCounts *counts, ErrorData **error);

/*
 * Lets staged rows go that are past retention and begins new children, when it
 * is time, in transactions of its own.  Cheap when it is not, but for a look
 * every longest_ms.  Throws.
 */
extern void weir_pipeline_maintain(Oid stream, int longest_ms);

/* Only lets rows go, at once: for when batches fail, as the disk may be full.  Throws. */
extern void weir_pipeline_expire(Oid stream);

/*
 * Leaves partitions out of the stream's watermark that have been idle for
 * idle_timeout, in a transaction of its own, if the definition is still of
 * that version.  Throws.
 */
extern void weir_pipeline_leave_out(Oid stream, int64 version, int n, const int32 *partitions);

/*
 * Moves windows that are over to the results, in a transaction of its own:
 * what other workers have committed since the last batch is seen now, and
 * idleness brings no batch.  False if it is to be tried again.  Throws.
 */
extern bool weir_pipeline_close(Oid stream, int64 version);

/* Lets go of dead letters past their retention, now and then; batches do so too.  Throws. */
extern void weir_pipeline_purge(void);

/*
 * Applies payloads in the caller's transaction: weir.ingest.  Offsets are
 * assigned here.  Throws environment and definition errors.
 */
extern void weir_pipeline_ingest(Oid stream, int32 partition, WeirBatch *batch, WeirCounts *counts);

/* The partition of what is ingested into a stream that reads from Kafka. */
#define WEIR_INGEST_PARTITION (-1)

/*
 * Sends dead letters through again, with the partitions and offsets they had,
 * in the caller's transaction.  Sets failed[i] for those that fail again, and
 * duplicate[i] for those that are duplicates by now.
 * The caller holds the batch fence exclusively: nothing else moves.
 */
extern void weir_pipeline_replay(Oid stream, WeirBatch *batch, bool *failed, bool *duplicate);

#endif							/* WEIR_PIPELINE_H */
