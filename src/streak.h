/*
 * streak.h
 *	  Events that triggers have refused in a row, all for the same reason.
 *
 * One bad event is the event's fault.  So many in a row, with none accepted
 * between, are the trigger's: then none of them should be a dead letter, also
 * those of batches that have committed since it began.
 *
 * Floor 2.
 */
#ifndef WEIR_STREAK_H
#define WEIR_STREAK_H

#include "batch.h"
#include "catalog.h"

/* A streak of this length is the trigger's fault. */
#define WEIR_STREAK_LIMIT 100

typedef struct WeirStreak
{
	int			count;
	int			sqlstate;
	char		object[NAMEDATALEN];
	int			nmarks;			/* a partition's counters before its first event of the streak */
	WeirProgress marks[WEIR_STREAK_LIMIT];
} WeirStreak;

/* An event was accepted. */
extern void weir_streak_end(WeirStreak *streak);

/*
 * Adds an event that was refused.  increments are what the batch has done to
 * its partition before it.  True if the streak has reached its limit.
 */
extern bool weir_streak_add(WeirStreak *streak, Oid stream, const WeirMessage *message,
							const WeirFault *fault, const WeirProgress *increments);

/* Puts every partition of the streak back to where it began, and its dead letters away. */
extern void weir_streak_rewind(const WeirStreak *streak, Oid stream);

#endif							/* WEIR_STREAK_H */
