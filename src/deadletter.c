/*
 * deadletter.c
 *	  Messages that could not be applied, gathered over a batch.
 */
#include "postgres.h"

#include "deadletter.h"
#include "errors.h"
#include "utils/memutils.h"

/* Starts an empty list whose contents live in context. */
void
weir_deadletter_init(WeirDeadLetters *letters, MemoryContext context)
{
	memset(letters, 0, sizeof(*letters));
	letters->context = context;
}

static const char *
copy_string(MemoryContext context, const char *string)
{
	return string == NULL ? NULL : MemoryContextStrdup(context, string);
}

/* Adds a message with its fault. */
void
weir_deadletter_add(WeirDeadLetters *letters, const WeirMessage *message, const WeirFault *fault)
{
	MemoryContext context = letters->context;
	WeirDeadLetter *letter;

	if (letters->count == letters->room)
	{
		Size		room = letters->room == 0 ? 64 : (Size) letters->room * 2;

		letters->items = letters->items == NULL ?
			MemoryContextAllocHuge(context, room * sizeof(WeirDeadLetter)) :
			repalloc_huge(letters->items, room * sizeof(WeirDeadLetter));
		letters->room = (int) room;
	}
	letter = &letters->items[letters->count++];
	letter->message = message;
	letter->fault = *fault;
	letter->fault.message = copy_string(context, fault->message);
	letter->fault.detail = copy_string(context, fault->detail);
	letter->fault.column_name = copy_string(context, fault->column_name);
	letter->fault.constraint_name = copy_string(context, fault->constraint_name);
	letter->fault.object_name = copy_string(context, fault->object_name);
}

/* Makes the fault of an error that was caught. */
void
weir_deadletter_fault_of_error(WeirFault *fault, WeirStage stage, const ErrorData *edata)
{
	memset(fault, 0, sizeof(*fault));
	fault->stage = stage;
	fault->sqlstate = edata->sqlerrcode;
	fault->message = edata->message ? edata->message : "unknown error";
	fault->detail = edata->detail;
	fault->column_name = edata->column_name;
	fault->constraint_name = edata->constraint_name;
	if (stage == WEIR_STAGE_TRIGGER)
		fault->object_name = weir_error_object(edata->context);
}
