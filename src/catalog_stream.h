/*
 * catalog_stream.h
 *	  Writing rows of weir_internal.stream: creation and changes.
 *
 * Floor 1, beside catalog.c, which reads them.
 */
#ifndef WEIR_CATALOG_STREAM_H
#define WEIR_CATALOG_STREAM_H

#include "postgres.h"

/*
 * A column of weir_internal.stream and the value to give it.  The types are
 * the columns' own; lists are arrays of text.
 */
typedef struct WeirStreamField
{
	const char *column;
	Oid			type;
	Datum		value;
	bool		isnull;
} WeirStreamField;

extern void weir_catalog_insert_stream(Oid relid, int n, const WeirStreamField *fields);

/* Changes the given columns; the caller then calls weir_catalog_touch. */
extern void weir_catalog_update_stream(Oid relid, int n, const WeirStreamField *fields);

/* Does another stream than relid commit offsets of this topic to this group? */
extern bool weir_catalog_group_is_taken(Oid relid, const char *server, const char *topic, const char *name);

#endif							/* WEIR_CATALOG_STREAM_H */
