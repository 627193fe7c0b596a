/*
 * constrain.h
 *	  What the staging table itself asks of a row: DEFAULTs, generated
 *	  columns, NOT NULL, domains, CHECK.
 *
 * Floor 2.
 */
#ifndef WEIR_CONSTRAIN_H
#define WEIR_CONSTRAIN_H

#include "batch.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

typedef struct WeirConstrainer WeirConstrainer;

/* Compiles the constraints of a child table, in the current context. */
extern WeirConstrainer *weir_constrain_create(Relation relation);

/* Does some constraint evaluate an expression, which may ereport? */
extern bool weir_constrain_may_throw(const WeirConstrainer *constrainer);

/*
 * Completes, stores and judges the row in slot (an empty slot whose values[]
 * and isnull[] are set).  present[] tells which columns the message
 * mentioned: others get their DEFAULT, unless the row is a tombstone.  False
 * with *fault set if a constraint is violated.
 */
extern bool weir_constrain_row(WeirConstrainer *constrainer, TupleTableSlot *slot,
							   const bool *present, bool tombstone, WeirFault *fault);

#endif							/* WEIR_CONSTRAIN_H */
