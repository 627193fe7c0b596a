/*
 * chunk.h
 *	  The children of a staging table: where the rows are.
 *
 * Floor 2.
 */
#ifndef WEIR_CHUNK_H
#define WEIR_CHUNK_H

#include "postgres.h"

/* Returns the child that takes new rows of a stream, making one if there is none. */
extern Oid	weir_chunk_current(Oid stream);

/* Makes a new child, with the parent's indexes and guards, and registers it. */
extern Oid	weir_chunk_create(Oid stream);

/* Drops a child, which the caller has locked, with all that hangs on it. */
extern void weir_chunk_drop(Oid chunk);

/* Drops all children; waits for whoever reads them. */
extern void weir_chunk_drop_all(Oid stream);

/* Copies to every child those indexes of the staging table that it lacks. */
extern void weir_chunk_copy_indexes(Oid stream);

/* Attaches the guard triggers (see guard.c) to a staging table or child. */
extern void weir_chunk_guard(Oid relid);

#endif							/* WEIR_CHUNK_H */
