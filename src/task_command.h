/*
 * task_command.h
 *	  The SQL of tasks, and its parameters.
 *
 * Floor 1.
 */
#ifndef WEIR_TASK_COMMAND_H
#define WEIR_TASK_COMMAND_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* The parameters by number, from 1; names and types are in task_command.c. */
typedef enum WeirTaskParameter
{
	WEIR_TASK_INTERVAL_START = 1,
	WEIR_TASK_INTERVAL_END,
	WEIR_TASK_NAME,
	WEIR_TASK_RUN_ID,
	WEIR_TASK_ATTEMPT,
	WEIR_TASK_SQLSTATE,
	WEIR_TASK_ERROR
} WeirTaskParameter;

#define WEIR_TASK_PARAMETERS 7

extern const Oid weir_task_parameter_types[WEIR_TASK_PARAMETERS];

/* Returns a command with $1 … for :interval_start …, as PostgreSQL's parser takes it. */
extern char *weir_task_command_prepare(const char *command);

/* Parses such a command, raises 42601 where it cannot be; NIL: it is empty. */
extern List *weir_task_command_parse(const char *prepared);

#endif							/* WEIR_TASK_COMMAND_H */
