/*
 * wake.h
 *	  Waking workers when a transaction commits.
 *
 * Floor 4.
 */
#ifndef WEIR_WAKE_H
#define WEIR_WAKE_H

#include "postgres.h"

/*
 * Makes the workers of a stream, and the launcher, look at its definition
 * once this transaction has committed.  InvalidOid: the launcher alone.
 */
extern void weir_wake_at_commit(Oid stream);

/* Makes the launcher look at this database once this transaction has ended, however it does. */
extern void weir_wake_at_end(void);

/* Has the scheduler of this database's tasks look what is due once this transaction has committed. */
extern void weir_wake_tasks_at_commit(void);

#endif							/* WEIR_WAKE_H */
