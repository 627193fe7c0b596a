/*
 * runtime.h
 *	  A stream's definition compiled for running, kept from batch to batch.
 *
 * Floor 3.
 */
#ifndef WEIR_RUNTIME_H
#define WEIR_RUNTIME_H

#include "catalog.h"
#include "constrain.h"
#include "decode.h"
#include "dedup.h"
#include "eventtime.h"
#include "executor/tuptable.h"
#include "expect.h"
#include "metadata.h"
#include "nodes/bitmapset.h"
#include "utils/relcache.h"

/* Rows are decoded and written in lots of this many, so that they stay in the CPU's cache. */
#define WEIR_LOT 1000

typedef struct WeirRuntime
{
	Oid			relid;
	bool		valid;			/* cleared when the definition or a table changes */
	bool		busy;			/* a batch is being applied with it */
	Bitmapset  *noted;			/* partitions + 1 whose range in this child is in the catalogue */
	TimestampTz noted_since;	/* when that was empty */
	MemoryContext context;		/* of all below */
	WeirStream *stream;
	Oid			chunk;			/* child that takes the rows */
	TupleDesc	tupdesc;		/* of the child */
	WeirMetadata metadata;
	WeirEventTime eventtime;
	WeirDecoder *decoder;
	WeirConstrainer *constrainer;
	WeirDedup  *dedup;			/* NULL: no event_id */
	List	   *expectations;	/* of WeirExpectation */
	WeirExpecter *expecter;		/* NULL: nothing is expected */
	List	   *windowed;		/* views of the continuous aggregates with windows */
	bool		may_throw;		/* decoder, constrainer or expecter may ereport */
	MemoryContext compiled;		/* of these three */
	MemoryContext lot;			/* values of the current lot; reset by apply.c */
	TupleTableSlot *slots[WEIR_LOT];	/* made when first needed */
	const WeirMessage *messages[WEIR_LOT];	/* of which the slots hold the rows */
	WeirDedupEvent events[WEIR_LOT];	/* the same, to be judged */
	bool	   *present;
	const TupleTableSlotOps *slot_ops;
} WeirRuntime;

/*
 * Returns the runtime of a stream, valid for this transaction, or NULL if it
 * is not a stream (any more).  The caller holds the batch fence.
 */
extern WeirRuntime *weir_runtime_get(Oid relid);

/* The same for writing into a child of our choice, which is there and locked. */
extern WeirRuntime *weir_runtime_get_for(Oid relid, Oid chunk);

/*
 * Compiles decoder, constraints and expectations anew: after an error that came out
 * of them, their caches may be in any state.
 */
extern void weir_runtime_recompile(WeirRuntime *runtime, Relation child);

/* Is a batch of a stream being applied, so that one of its triggers has called us? */
extern bool weir_runtime_is_busy(Oid relid);

/* Forgets that a batch was being applied, and lets go of its rows. */
extern void weir_runtime_release(Oid relid);

/* Returns the i-th slot of a lot, empty. */
extern TupleTableSlot *weir_runtime_slot(WeirRuntime *runtime, int i);

#endif							/* WEIR_RUNTIME_H */
