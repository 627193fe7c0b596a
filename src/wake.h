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

#endif							/* WEIR_WAKE_H */
