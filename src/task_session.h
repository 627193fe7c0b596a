/*
 * task_session.h
 *	  A session that runs what a task says, as the task's owner.
 *
 * Floor 4.
 */
#ifndef WEIR_TASK_SESSION_H
#define WEIR_TASK_SESSION_H

#include "postgres.h"

#include "catalog_task.h"

/* What the scheduler gives a session along (bgw_extra). */
typedef struct WeirTaskTicket
{
	Oid			dboid;
	Oid			owner;
	int64		run;
	int			attempt;
	WeirTaskActivity activity;
} WeirTaskTicket;

PGDLLEXPORT void weir_task_session_main(Datum arg);

/* The run that this session is there for; NULL elsewhere. */
extern const WeirTaskOrder *weir_task_session_order(void);

/* Makes the run fail when its command is done, which is kept.  Does nothing elsewhere. */
extern void weir_task_session_fail(const char *reason);

#endif							/* WEIR_TASK_SESSION_H */
