/*
 * expect.h
 *	  What a stream expects of its events, judged event by event.
 *
 * Floor 2.
 */
#ifndef WEIR_EXPECT_H
#define WEIR_EXPECT_H

#include "access/attnum.h"
#include "batch.h"
#include "catalog_expect.h"
#include "executor/tuptable.h"

typedef struct WeirExpecter WeirExpecter;

/* What is to become of an event. */
typedef enum WeirJudgement
{
	WEIR_JUDGED_GOOD,			/* to staging; marked, where something that is kept was violated */
	WEIR_JUDGED_DROPPED,
	WEIR_JUDGED_DEAD,
	WEIR_JUDGED_STOPPING		/* the stream must not go on */
} WeirJudgement;

/*
 * Compiles expectations, a List of WeirExpectation whose conditions are set,
 * in the current context.  violations: the column that takes the names of
 * those that are violated and keep the event; 0: there is none.
 */
extern WeirExpecter *weir_expect_create(List *expectations, AttrNumber violations);

/* May judging a row raise an error of the row's? */
extern bool weir_expect_may_throw(const WeirExpecter *expecter);

/*
 * Judges the row in slot, which is complete, and marks it.  If it is not good,
 * *fault says why.
 */
extern WeirJudgement weir_expect_judge(WeirExpecter *expecter, TupleTableSlot *slot, WeirFault *fault);

/* Raises 55000 for an event that stops its stream, whose fault this is. */
extern void weir_expect_stop(const WeirMessage *message, const WeirFault *fault) pg_attribute_noreturn();

/* Marks a row that was judged before; expectations that began to hold after it, if not always, do not count. */
extern void weir_expect_mark(WeirExpecter *expecter, TupleTableSlot *slot, const WeirMessage *message, bool always);

/* Turns the fault of an error that judging has raised into the expectation's. */
extern void weir_expect_blame(WeirExpecter *expecter, WeirFault *fault);

/* ---- counting ---- */

/* One expectation that one event has violated. */
typedef struct WeirViolation
{
	const char *name;
	bool		kept;			/* the event was staged, marked with it */
	int32		partition;
	int64		offset;
} WeirViolation;

/* Those of a batch so far; may be cut back to an earlier count. */
typedef struct WeirViolations
{
	WeirViolation *items;
	int			count;
	int			room;
	MemoryContext context;		/* where items live */
} WeirViolations;

extern void weir_expect_count_init(WeirViolations *violations, MemoryContext context);

/* Counts what the last event that was judged has violated: what refused it, or with kept what it was marked with. */
extern void weir_expect_count(WeirViolations *violations, const WeirExpecter *expecter,
							  const WeirMessage *message, bool kept);

/* Saves the counts. */
extern void weir_expect_save(WeirViolations *violations, Oid stream);

#endif							/* WEIR_EXPECT_H */
