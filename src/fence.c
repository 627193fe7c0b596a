/*
 * fence.c
 *	  Locks that keep batches, workers and commands on a stream apart.
 *
 * They are heavyweight locks, so that waits show in pg_locks and the deadlock
 * detector sees them, under a tag that no SQL function can produce: the tag's
 * last field is not one that pg_advisory_lock() uses, and the lock method is
 * the ordinary one, which pg_advisory_unlock_all() does not touch.
 */
#include "postgres.h"

#include "catalog.h"
#include "miscadmin.h"
#include "storage/lock.h"

#define FENCE_BATCH 0x5701		/* locktag_field4 of the two fences */
#define FENCE_WORKER 0x5702

static LOCKTAG
fence_tag(Oid relid, int worker, uint16 kind)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, relid, worker, kind);
	tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
	return tag;
}

/* Takes the batch fence as a batch does, until commit. */
void
weir_fence_share(Oid relid)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_BATCH);

	(void) LockAcquire(&tag, ShareLock, false, false);
}

/* Takes the batch fence alone, until commit: waits for running batches, keeps new ones out. */
void
weir_fence_exclusive(Oid relid)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_BATCH);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Becomes the one session that is this worker of the stream, until the session ends. */
bool
weir_fence_worker(Oid relid, int worker)
{
	LOCKTAG		tag = fence_tag(relid, worker, FENCE_WORKER);

	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}
