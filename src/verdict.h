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

typedef struct WeirSkipped
{
	int32		partition;
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
extern void weir_verdict_add(WeirVerdicts *verdicts, int32 partition, int64 offset);

/* Logs them, for the time of a child. */
extern void weir_verdict_log(WeirVerdicts *verdicts, Oid stream, Oid chunk);

/* Returns the offsets from .. to that were skipped, ascending, and their number. */
extern int64 *weir_verdict_load(Oid stream, int32 partition, int64 from, int64 to, int *n);

#endif							/* WEIR_VERDICT_H */
