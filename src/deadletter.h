/*
 * deadletter.h
 *	  Messages that could not be applied, gathered over a batch.
 *
 * Floor 2.  catalog_deadletter.c writes them.
 */
#ifndef WEIR_DEADLETTER_H
#define WEIR_DEADLETTER_H

#include "batch.h"

typedef struct WeirDeadLetter
{
	const WeirMessage *message;
	WeirFault	fault;
} WeirDeadLetter;

/* The dead letters of a batch so far; may be cut back to an earlier count. */
typedef struct WeirDeadLetters
{
	WeirDeadLetter *items;
	int			count;
	int			room;
	MemoryContext context;		/* where items and the faults' strings live */
} WeirDeadLetters;

extern void weir_deadletter_init(WeirDeadLetters *letters, MemoryContext context);

/* Adds a message with its fault, copying the fault's strings. */
extern void weir_deadletter_add(WeirDeadLetters *letters, const WeirMessage *message,
								const WeirFault *fault);

/* Makes the fault of an error that was caught. */
extern void weir_deadletter_fault_of_error(WeirFault *fault, WeirStage stage, const ErrorData *edata);

#endif							/* WEIR_DEADLETTER_H */
