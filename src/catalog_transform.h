/*
 * catalog_transform.h
 *	  The definitions of transforms.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_TRANSFORM_H
#define WEIR_CATALOG_TRANSFORM_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* One row of weir_internal.transform. */
typedef struct WeirTransformRow
{
	Oid			target;			/* the table that takes the rows */
	Oid			stream;			/* where its events come from */
	Oid			source;			/* what its query reads: that, or a table made of it */
	Oid			query;			/* view: the user's query, as PostgreSQL keeps it */
	char	   *trigger_name;
	bool		owns_target;	/* false: into_table, the user's own */
	char	   *event_time;		/* column of the target; NULL: into_table */
	bool		same_time;		/* it is the source's event time */
	int64		retention;		/* microseconds; -1: for ever */
	TimestampTz complete_since; /* rows of events at or before it may be missing */
	List	   *settings;		/* String: name=value, as they were when it was created */
} WeirTransformRow;

/* Returns the row with this target, or that of a trigger; NULL if there is none; in the current context. */
extern WeirTransformRow *weir_catalog_load_transform(Oid target);
extern WeirTransformRow *weir_catalog_transform_of_trigger(Oid source, const char *trigger_name);

/* Returns the targets of the transforms over a stream. */
extern List *weir_catalog_transforms(Oid stream);

/* Returns the relations of the transforms over a stream that are its owner's. */
extern List *weir_catalog_transform_relations(Oid stream);

/* Adds a row; with !backfill it begins with what comes from now on. */
extern void weir_catalog_add_transform(const WeirTransformRow *row, Datum retention, bool no_retention, bool backfill);

/* Notes that a transform is complete from the beginning, as its stream begins anew. */
extern void weir_catalog_reset_transform(Oid target);

/*
 * Returns, as jsonb, from which offset of each partition on a transform has
 * made rows; with staged from which on, besides, all that was accepted is
 * staged.  Partitions that are missing: from the beginning, or with staged not
 * at all.
 */
extern Datum weir_catalog_transform_begins(Oid target, bool staged);

#endif							/* WEIR_CATALOG_TRANSFORM_H */
