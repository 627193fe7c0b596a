/*
 * catalog_task.h
 *	  Tasks and their runs, by the functions of weir_internal that move them on.
 *
 * Floor 1.  All need a transaction with a snapshot; results are palloc'd in
 * the current context.
 */
#ifndef WEIR_CATALOG_TASK_H
#define WEIR_CATALOG_TASK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "task_command.h"

/* What a session is there for. */
typedef enum WeirTaskActivity
{
	WEIR_TASK_COMMAND,
	WEIR_TASK_CONDITION,		/* start_when */
	WEIR_TASK_ON_FAILURE
} WeirTaskActivity;

/* A run that a session is to be started for, or is there for. */
typedef struct WeirTaskRun
{
	int64		run;
	WeirTaskActivity activity;
	Oid			owner;
	char	   *task;
	int			attempt;
	char	   *obstacle;		/* why there can be no session; NULL: nothing */
	pid_t		pid;			/* 0: not known */
	bool		cancel_requested;
} WeirTaskRun;

/* What a session runs. */
typedef struct WeirTaskOrder
{
	char	   *command;
	int			timeout_ms;		/* 0: none */
	Datum		values[WEIR_TASK_PARAMETERS];
	bool		nulls[WEIR_TASK_PARAMETERS];
} WeirTaskOrder;

/* Does all that needs no session; returns when something is due next (0: nothing), and whether to stay for it. */
extern TimestampTz weir_catalog_task_step(bool *stay);

extern List *weir_catalog_task_take(int slots); /* of WeirTaskRun *: marked as started */
extern List *weir_catalog_task_active(void);	/* of WeirTaskRun *: without activity, owner and task */
extern void weir_catalog_task_put_back(int64 run, const char *reason);
extern void weir_catalog_task_purge(int older_than_s);
extern bool weir_catalog_task_is_due(bool soon); /* is something due soon; else: are runs not over? */
extern void weir_catalog_task_drop_tick(void);

/* A session's beginning and end.  NULL: not wanted any more. */
extern WeirTaskOrder *weir_catalog_task_begin(const WeirTaskRun *run);
extern void weir_catalog_task_end(const WeirTaskRun *run, int64 rows, Datum result, bool has_result);

/* With an error; returns what became of the run, NULL if it had ended before. */
extern char *weir_catalog_task_break(const WeirTaskRun *run, bool any_activity, int sqlstate, const char *error);

#endif							/* WEIR_CATALOG_TASK_H */
