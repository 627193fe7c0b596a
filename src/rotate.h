/*
 * rotate.h
 *	  Staged rows leave when they are older than the stream's retention.
 *
 * Floor 3, as it puts chunk.c and the catalogue together.
 */
#ifndef WEIR_ROTATE_H
#define WEIR_ROTATE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Begins a new child if the present one is full, and drops those that are
 * past retention.  Never waits for a lock: what is in use by others is left
 * for the next time.  Returns when that should be.
 *
 * The caller commits soon: readers wait for a child that is being dropped.
 */
extern TimestampTz weir_rotate(Oid stream);

/* Does the first half of it only, which takes no room on the disk; false if some child is in use. */
extern bool weir_rotate_expire(Oid stream);

/* Has weir_rotate called just before the current transaction commits, if it is time. */
extern void weir_rotate_at_commit(Oid stream);

#endif							/* WEIR_ROTATE_H */
