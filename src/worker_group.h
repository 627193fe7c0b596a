/*
 * worker_group.h
 *	  Telling a consumer group how far a stream is applied.
 *
 * Floor 4.
 */
#ifndef WEIR_WORKER_GROUP_H
#define WEIR_WORKER_GROUP_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "worker_source.h"

/* What a worker has told its group; all zero before weir_group_begin(). */
typedef struct WeirGroup
{
	bool		stale;			/* offsets may have moved since they were read */
	bool		sent;			/* an answer is awaited */
	bool		known;			/* the group has the offsets below */
	int			n;
	int32	   *partitions;
	int64	   *offsets;
	XLogRecPtr	lsn;			/* they hold once this is flushed; 0: they are not to be sent */
	TimestampTz since;			/* they were read, or sent */
	TimestampTz next;			/* they are not read again before */
	TimestampTz due;			/* there is something to do then; 0: there is not */
	bool		failing;
	TimestampTz complained_at;
} WeirGroup;

/* The worker begins to read from the applied offsets. */
extern void weir_group_begin(WeirGroup *group);

/* A batch has been applied. */
extern void weir_group_applied(WeirGroup *group);

/* Does what is to be done; cheap when that is nothing.  Throws, but not for the group's sake. */
extern void weir_group_step(WeirGroup *group, const WeirStream *stream, const WeirSource *source);

/* Tells the group for the last time; waits for half a second at most, and does not throw. */
extern void weir_group_leave(WeirGroup *group, const WeirStream *stream, const WeirSource *source);

#endif							/* WEIR_WORKER_GROUP_H */
