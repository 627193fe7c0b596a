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

#include "access/xact.h"
#include "catalog.h"
#include "miscadmin.h"
#include "shared.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define FENCE_BATCH 0x5701		/* locktag_field4 of the fences */
#define FENCE_WORKER 0x5702
#define FENCE_LANE 0x5703
#define FENCE_DERIVED 0x5704
#define FENCE_IDS 0x5705
#define FENCE_TASKS 0x5706

/* After waiting for so long the user is told why. */
#define PATIENCE_MS 2000

/* How long a batch is given to be canceled, at first and at last. */
#define CANCEL_AGAIN_MS 200
#define CANCEL_LAST_MS 5000

/* Is a batch applied in parts? */
static bool in_parts = false;

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

/* Waits for the fence for so many milliseconds; false if that was not enough. */
static bool
wait_a_while(const LOCKTAG *tag, int ms)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		int			guc_level = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", psprintf("%d", ms), PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		(void) LockAcquire(tag, ExclusiveLock, false, false);
		/* what is set in a subtransaction outlives its commit */
		AtEOXact_GUC(false, guc_level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	return error == NULL;
}

/* Tells the user whom he waits for. */
static void
say_who(Oid relid)
{
	for (int i = 0; i < weir_shared_nslots(); i++)
	{
		WeirWorkerSlot slot;
		TimestampTz since;

		if (!weir_shared_read_slot(i, &slot) || slot.dboid != MyDatabaseId || slot.stream != relid)
			continue;
		since = (TimestampTz) pg_atomic_read_u64(&slot.batch_since);
		if (since != 0)
			ereport(NOTICE,
					(errmsg("waiting for a batch of stream \"%s\" that process %d has been applying since %s",
							get_rel_name(relid), slot.pid, timestamptz_to_str(since)),
					 errhint("weir.stop() with cancel_batch => true ends it.")));
	}
}

/* Takes the batch fence alone, until commit: waits for running batches, keeps new ones out. */
void
weir_fence_exclusive(Oid relid)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_BATCH);

	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return;
	if ((LockTimeout == 0 || LockTimeout > PATIENCE_MS) && !wait_a_while(&tag, PATIENCE_MS))
		say_who(relid);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Raises the error of a lock that was not free within the session's lock_timeout. */
static void
check_patience(Oid relid, TimestampTz since)
{
	if (LockTimeout == 0 || !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), LockTimeout))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("stream \"%s\" is in use by another session", get_rel_name(relid)),
			 errhint("pg_locks shows which session that is; only batches of workers are canceled.")));
}

/*
 * The same, canceling the batches that run.  Sessions are not canceled, and
 * may wait for us: so waits get longer, for the deadlock detector to see.
 */
void
weir_fence_cancel(Oid relid)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_BATCH);
	TimestampTz since = GetCurrentTimestamp();
	int			ms = CANCEL_AGAIN_MS;

	/* the signal may come between two batches: again, then */
	for (;;)
	{
		weir_shared_cancel(MyDatabaseId, relid);
		if (wait_a_while(&tag, LockTimeout > 0 ? Min(ms, LockTimeout) : ms))
			return;
		check_patience(relid, since);
		ms = Min(ms * 2, Max(CANCEL_LAST_MS, DeadlockTimeout * 2));
	}
}

/* Becomes the one session that is this worker of the stream, until the session ends. */
bool
weir_fence_worker(Oid relid, int worker)
{
	LOCKTAG		tag = fence_tag(relid, worker, FENCE_WORKER);

	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* Becomes the one transaction that writes to this lane of a store, until it ends. */
bool
weir_fence_lane(Oid relid, int lane, bool wait)
{
	LOCKTAG		tag = fence_tag(relid, lane, FENCE_LANE);

	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Says whether what follows is one of the parts that a batch is applied in; returns what was so before. */
bool
weir_fence_parts(bool parts)
{
	bool		before = in_parts;

	in_parts = parts;
	return before;
}

/*
 * Takes an upsert or an alert alone or with others, until commit.  The part of
 * a batch takes it alone: the next part may have deletes, or lesser keys than
 * those it has locked, and two that have both begun would wait for each other.
 */
bool
weir_fence_derived(Oid relid, bool alone, bool wait)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_DERIVED);

	return LockAcquire(&tag, alone || in_parts ? ExclusiveLock : ShareLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Becomes the one transaction that adds to a table of ids, until it says so or ends. */
void
weir_fence_ids(Oid relid)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_IDS);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Lets others add. */
void
weir_fence_ids_release(Oid relid)
{
	LOCKTAG		tag = fence_tag(relid, 0, FENCE_IDS);

	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* Becomes the one transaction that changes which tasks run after which, until it ends. */
void
weir_fence_tasks(void)
{
	LOCKTAG		tag = fence_tag(InvalidOid, 0, FENCE_TASKS);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
