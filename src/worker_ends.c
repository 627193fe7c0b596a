/*
 * worker_ends.c
 *	  How far partitions go, while nothing of them can be applied.
 *
 * Batches save where their partitions end.  A worker that has failed, or tries
 * again, has no batch to save it with; but its lag grows, and somebody wants
 * to know.  So it asks the broker now and then, and writes only what has
 * changed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker_ends.h"

/* Begins a transaction; what it reads is the caller's. */
static void
begin(MemoryContext caller)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(caller);
}

static void
commit(MemoryContext caller)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

/* Reads the progress of our partitions. */
static List *
load_share(const WeirSource *source, const WeirStream *stream)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *share = NIL;
	List	   *all;
	ListCell   *lc;

	begin(caller);
	all = weir_catalog_load_partitions(stream->relid);
	commit(caller);
	foreach(lc, all)
	{
		const WeirProgress *progress = lfirst(lc);

		if (progress->partition >= 0 && progress->partition % stream->parallelism == source->worker)
			share = lappend(share, lfirst(lc));
	}
	return share;
}

/* Asks for the ends of these partitions; NULL: nobody can tell. */
static int64 *
ask_ends(const WeirSource *source, const List *share)
{
	int			n = list_length(share);
	int32	   *partitions = palloc(sizeof(int32) * n);
	int64	   *starts = palloc(sizeof(int64) * n);
	int64	   *ends = palloc(sizeof(int64) * n);
	WeirKafkaError error;

	for (int i = 0; i < n; i++)
	{
		partitions[i] = ((const WeirProgress *) list_nth(share, i))->partition;
		starts[i] = WEIR_OFFSET_LATEST;
	}
	if (weir_consumer_resolve(source->consumer, n, partitions, starts, ends, &error))
		return ends;
	ereport(DEBUG1, (errmsg_internal("could not learn where partitions end: %s", error.message)));
	return NULL;
}

/* Saves the ends that are not known yet. */
static void
save_ends(const WeirStream *stream, const List *share, const int64 *ends)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		begun = false;

	for (int i = 0; i < list_length(share); i++)
	{
		const WeirProgress *progress = list_nth(share, i);

		if (progress->end_offset == ends[i])
			continue;
		if (!begun)
			begin(caller);
		begun = true;
		weir_catalog_save_end(stream->relid, progress->partition, ends[i]);
	}
	if (begun)
		commit(caller);
}

static void
note(const WeirSource *source, const WeirStream *stream)
{
	List	   *share = load_share(source, stream);
	int64	   *ends = share == NIL ? NULL : ask_ends(source, share);

	if (ends != NULL)
		save_ends(stream, share, ends);
}

/* Asks where our partitions end, and saves what has changed. */
void
weir_ends_note(const WeirSource *source, const WeirStream *stream)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "pg_weir ends", ALLOCSET_SMALL_SIZES);

	PG_TRY();
	{
		MemoryContextSwitchTo(scratch);
		note(source, stream);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		/* The state tells what is wrong; this is one more sign of it. */
		ereport(DEBUG1, (errmsg_internal("could not note where partitions end: %s", error->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
}
