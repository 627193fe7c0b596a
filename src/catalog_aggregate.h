/*
 * catalog_aggregate.h
 *	  The definitions of continuous aggregates.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_AGGREGATE_H
#define WEIR_CATALOG_AGGREGATE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/snapshot.h"
#include "window.h"

/* One row of weir_internal.continuous_aggregate. */
typedef struct WeirAggregateRow
{
	Oid			view;			/* what users read */
	Oid			stream;			/* where its events come from */
	Oid			source;			/* what its query reads: that, or a table made of it */
	Oid			query;			/* view: the user's query, as PostgreSQL keeps it */
	Oid			states;			/* foreign table: groups in open windows, finished */
	Oid			store;			/* table: their states */
	Oid			finish;			/* view: the query's columns over states */
	Oid			results;		/* table: closed windows; InvalidOid without a window */
	char	   *trigger_name;
	WeirWindow	window;
	int64		lateness;		/* microseconds */
	int64		retention;		/* microseconds; -1: for ever */
	Datum		spec;			/* weir.window_spec that window is made of; no window: 0 */
	Oid			spec_type;
	List	   *settings;		/* String: name=value, as they were when it was created */
	TimestampTz complete_since; /* windows that start at or before it miss events: they are not shown */
} WeirAggregateRow;

/* Which column of the row is given. */
typedef enum WeirAggregateLink
{
	WEIR_AGGREGATE_VIEW,
	WEIR_AGGREGATE_STATES,
	WEIR_AGGREGATE_QUERY
} WeirAggregateLink;

/* Returns the row with this relation in that column, or NULL; in the current context. */
extern WeirAggregateRow *weir_catalog_load_aggregate(WeirAggregateLink link, Oid relid);

/* Returns the one whose batches this trigger of a source takes, or NULL. */
extern WeirAggregateRow *weir_catalog_aggregate_of_trigger(Oid source, const char *trigger_name);

/* Returns the views of the aggregates over a stream, or of those with windows. */
extern List *weir_catalog_aggregates(Oid stream, bool windowed);

/* Returns the views of all aggregates. */
extern List *weir_catalog_all_aggregates(void);

/* Returns the relations of the aggregates over a stream that are its owner's: all but the stores. */
extern List *weir_catalog_aggregate_relations(Oid stream);

/* Returns a number for the names of a new derived object's relations. */
extern int64 weir_catalog_next_derived(void);

/* Raises an error if triggers of a stream, or of a table made of it, are missing that take its batches on. */
extern void weir_catalog_check_triggers(Oid source);

/* Adds a row; spec, lateness and retention are SQL values, NULL where nulls says so. */
extern void weir_catalog_add_aggregate(const WeirAggregateRow *row, Datum spec, bool no_spec,
									   Datum lateness, Datum retention, bool no_retention);

/*
 * Returns the greatest event time before what is staged, or with !staged the
 * greatest so far; -infinity if there is none.
 */
extern TimestampTz weir_catalog_seen(Oid stream, bool staged);
extern TimestampTz weir_catalog_seen_at(Oid stream, bool staged, Snapshot snapshot);

/* Windows that end, with the lateness allowed, at or before this are closed: as a snapshot sees it. */
extern TimestampTz weir_catalog_aggregate_closed(Oid view, Snapshot snapshot);
extern void weir_catalog_aggregate_close(Oid view, TimestampTz closed);

/* Forgets all that was made of events, but for the results. */
extern void weir_catalog_reset_aggregate(const WeirAggregateRow *row);

/* Logs an event that came too late for a window. */
extern void weir_catalog_add_late_event(Oid view, TimestampTz window_start, TimestampTz window_end,
										int32 partition, int64 offset);

#endif							/* WEIR_CATALOG_AGGREGATE_H */
