/*
 * rotate.c
 *	  Staged rows leave when they are older than the stream's retention.
 *
 *		chunk 1   chunk 2  …  chunk 8   chunk 9
 *		▲ dropped whole                 ▲ takes new rows
 *		when its youngest row is
 *		past retention
 *
 * Old rows are never deleted one by one.  Dropping a table takes a lock that
 * conflicts with every reader; waiting for it would make readers that come
 * later wait behind us.  So a lock that is not free at once is left alone,
 * and the child stays until the next time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "chunk.h"
#include "rotate.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* When a lock was not free, or nothing is known yet. */
#define TRY_AGAIN_MS 1000

/* Makes a new child take the new rows; false if the staging table is in use. */
static bool
begin_chunk(Oid stream)
{
	if (!ConditionalLockRelationOid(stream, ShareUpdateExclusiveLock))
		return false;
	weir_catalog_close_chunks(stream, weir_chunk_create(stream));
	return true;
}

/* Drops a child; false if it is in use. */
static bool
drop_chunk(Oid chunk)
{
	if (!ConditionalLockRelationOid(chunk, AccessExclusiveLock))
		return false;
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(chunk)))
		weir_chunk_drop(chunk);
	return true;
}

/* Drops old children. */
bool
weir_rotate_expire(Oid stream)
{
	bool		dropped_all = true;
	ListCell   *lc;

	foreach(lc, weir_catalog_expired_chunks(stream))
		dropped_all &= drop_chunk(lfirst_oid(lc));
	CommandCounterIncrement();
	return dropped_all;
}

/* Drops old children and begins a new one. */
TimestampTz
weir_rotate(Oid stream)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = weir_catalog_rotation_due(stream);
	bool		done;

	if (due > now)
		return due;
	done = weir_rotate_expire(stream);
	if (weir_catalog_chunk_full_at(stream) <= now)
	{
		done &= begin_chunk(stream);
		CommandCounterIncrement();
	}
	if (!done)
		return TimestampTzPlusMilliseconds(now, TRY_AGAIN_MS);
	return weir_catalog_rotation_due(stream);
}

/* ---- for sessions, whose transactions may stay open for long ---- */

/* The stream to rotate when this transaction commits. */
static Oid	pending = InvalidOid;

static void
rotate_before_commit(XactEvent event, void *arg)
{
	Oid			stream = pending;

	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		pending = InvalidOid;
	if (event != XACT_EVENT_PRE_COMMIT || !OidIsValid(stream))
		return;
	pending = InvalidOid;
	/* whoever cannot write leaves it to the next one */
	if (XactReadOnly || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(stream)))
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) weir_rotate(stream);
	PopActiveSnapshot();
}

/* Rotates a stream just before commit, if it is time. */
void
weir_rotate_at_commit(Oid stream)
{
	static bool registered = false;

	if (weir_catalog_rotation_due(stream) > GetCurrentTimestamp())
		return;
	if (!registered)
	{
		RegisterXactCallback(rotate_before_commit, NULL);
		registered = true;
	}
	pending = stream;
}
