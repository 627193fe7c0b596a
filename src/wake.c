/*
 * wake.c
 *	  Waking workers when a transaction commits.
 *
 * Earlier they would find nothing changed.  What waking does is worker.c's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "shared.h"
#include "utils/memutils.h"
#include "wake.h"
#include "worker.h"

/* Streams whose workers are to be woken at commit. */
static List *to_wake = NIL;

/* Is the launcher to be rung at the end, whatever that is? */
static bool ring_at_end = false;

/* Is the scheduler of tasks to be woken at commit? */
static bool wake_tasks = false;

/* Wakes workers once the transaction that touched their streams has committed. */
static void
wake_all(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
	{
		foreach(lc, to_wake)
			weir_worker_wake(MyDatabaseId, lfirst_oid(lc));
	}
	if (ring_at_end)
		weir_shared_ring(MyDatabaseId);
	if (wake_tasks && event == XACT_EVENT_COMMIT)
		weir_shared_ring_tasks(MyDatabaseId);
	ring_at_end = false;
	wake_tasks = false;
	to_wake = NIL;				/* its memory goes with the transaction */
}

/* Makes sure that the end of a transaction is noticed. */
static void
watch(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(wake_all, NULL);
	registered = true;
}

/* Notes that workers were sent away for the length of this transaction. */
void
weir_wake_at_end(void)
{
	watch();
	ring_at_end = true;
}

/* Notes a stream whose workers are to be woken at commit. */
void
weir_wake_at_commit(Oid stream)
{
	MemoryContext old;

	watch();
	old = MemoryContextSwitchTo(TopTransactionContext);
	to_wake = list_append_unique_oid(to_wake, stream);
	MemoryContextSwitchTo(old);
}

/* Notes that tasks are to be looked at when this transaction commits. */
void
weir_wake_tasks_at_commit(void)
{
	watch();
	wake_tasks = true;
}
