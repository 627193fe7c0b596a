/*
 * aggregate_recompute.h
 *	  The query that gives a continuous aggregate's rows from scratch.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_RECOMPUTE_H
#define WEIR_AGGREGATE_RECOMPUTE_H

#include "aggregate.h"

/* A query over staging, and where in its rows is what. */
typedef struct WeirRecompute
{
	Query	   *query;
	int			window_start;	/* column numbers; 0: no window */
	int			window_end;		/* of a session: its last event */
	int			count;			/* of events */
	List	   *keys;			/* int: of each expression of GROUP BY */
	List	   *columns;		/* int: of each column of the user's query */
} WeirRecompute;

/* A group of a window. */
typedef struct WeirBadGroup
{
	TimestampTz window_start;
	TimestampTz window_end;
	uint32		hash;
	WeirUnpack	key;
} WeirBadGroup;

/* Groups whose events are left out, as they are known to raise an error. */
typedef struct WeirBadGroups
{
	const WeirAggregate *aggregate;
	int			n;
	WeirBadGroup  *faults;			/* by hash */
} WeirBadGroups;

/* Makes the query, over the events that are on time; with faults it asks is_at_fault() of each. */
extern WeirRecompute *weir_recompute_make(const WeirAggregate *aggregate, bool faults);

/* Makes is_at_fault() answer for these, or for none; returns for which it did before. */
extern const WeirBadGroups *weir_recompute_leave_out(const WeirBadGroups *faults);

#endif							/* WEIR_AGGREGATE_RECOMPUTE_H */
