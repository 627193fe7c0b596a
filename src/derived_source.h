/*
 * derived_source.h
 *	  What a derived object reads: a stream's staging table, or the table of a
 *	  transform.
 *
 * Floor 2, below all kinds of derived objects.
 */
#ifndef WEIR_DERIVED_SOURCE_H
#define WEIR_DERIVED_SOURCE_H

#include "postgres.h"

#include "nodes/parsenodes.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* The columns of a source that say where and when an event was. */
typedef struct WeirEventColumns
{
	AttrNumber	event_time;
	AttrNumber	kafka_time;
	AttrNumber	watermark;
	AttrNumber	partition;
	AttrNumber	offset;
} WeirEventColumns;

typedef struct WeirSource
{
	Oid			relid;
	Oid			stream;			/* where its events come from: it has offsets and watermarks, and its owner runs batches */
	WeirEventColumns columns;
	bool		same_time;		/* its event time is the stream's */
	TimestampTz complete_since; /* table of a transform: rows of events at or before it may be missing */
	int64		retention;		/* of that table, in microseconds; -1: for ever */
} WeirSource;

/* Returns a source, in the current context; NULL if the relation is none. */
extern WeirSource *weir_source_load(Oid relid);

/* Returns the source that the query of "name" reads; raises an error if there is none, or it is not the caller's. */
extern WeirSource *weir_source_of_query(const Query *query, const char *name);

/*
 * Returns a time after which it has all events: all rows with a greater event
 * time are there, or with !backfill are yet to come.  As a snapshot sees it;
 * -infinity if nothing is missing, infinity if nobody knows.
 */
extern TimestampTz weir_source_seen(const WeirSource *source, bool backfill, Snapshot snapshot);

/* Raises an error if nobody knows, as it is then with the windows of "name". */
extern void weir_source_check_known(const WeirSource *source, TimestampTz seen, const char *name);

/* Raises an error if rows of it are lost and not yet back; the hint is for who could do without them. */
extern void weir_source_check_complete(const WeirSource *source, const char *hint);

/* Locks what its rows are in, so that none of them leaves. */
extern void weir_source_lock(const WeirSource *source);

/*
 * Hands the rows over, as transition tables of its triggers would: a batch at
 * a time.  The caller keeps batches of the stream out.  An error that one event
 * alone raises says in its context which one.
 */
typedef void (*WeirSourceTake) (void *arg, Tuplestorestate *batch);
extern void weir_source_backfill(const WeirSource *source, WeirSourceTake take, void *arg);

#endif							/* WEIR_DERIVED_SOURCE_H */
