/*
 * verdict.h
 *	  The verdict log: offsets that were consumed and gave no row.
 *
 * A refill follows it instead of judging messages anew.
 *
 * Floor 2.
 */
#ifndef WEIR_VERDICT_H
#define WEIR_VERDICT_H

#include "postgres.h"

/*
 * Why an offset gave no row.  The numbers are stored: they stay as they are,
 * and there is room for eight.
 */
typedef enum WeirVerdict
{
	WEIR_VERDICT_DEAD_LETTER = 0,
	WEIR_VERDICT_SKIPPED = 1,	/* a tombstone */
	WEIR_VERDICT_DUPLICATE = 2, /* moves the watermark, unlike the others */
	WEIR_VERDICT_DROPPED = 3	/* by an expectation */
} WeirVerdict;

typedef struct WeirSkipped
{
	int32		partition;
	WeirVerdict verdict;
	int64		offset;
} WeirSkipped;

/* What a batch has skipped so far; may be cut back to an earlier count. */
typedef struct WeirVerdicts
{
	WeirSkipped *items;
	int			count;
	int			room;
	MemoryContext context;		/* where items live */
} WeirVerdicts;

/* Starts an empty list. */
extern void weir_verdict_init(WeirVerdicts *verdicts, MemoryContext context);

/* Adds an offset. */
extern void weir_verdict_add(WeirVerdicts *verdicts, int32 partition, int64 offset, WeirVerdict verdict);

/* Logs them, for the time of a child. */
extern void weir_verdict_log(WeirVerdicts *verdicts, Oid stream, Oid chunk);

/* Returns the offsets from .. to that were skipped, ascending, and their number. */
extern WeirSkipped *weir_verdict_load(Oid stream, int32 partition, int64 from, int64 to, int *n);

#endif							/* WEIR_VERDICT_H */
