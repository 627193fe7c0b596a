/*
 * catalog_query.h
 *	  Statements on the catalogue's tables, and columns of what they return.
 *
 * Floor 1, for catalog*.c alone.  All but those that open one need a session:
 * weir_catalog_enter().
 */
#ifndef WEIR_CATALOG_QUERY_H
#define WEIR_CATALOG_QUERY_H

#include "postgres.h"

#include "executor/spi.h"

/* A statement that is planned once per session. */
typedef struct WeirCatalogStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[20];
	bool		by_index;		/* however small the table was when this was planned */
	SPIPlanPtr	plan;
} WeirCatalogStatement;

/* Executes a statement; did it find or change a row? */
extern bool weir_catalog_execute(WeirCatalogStatement *statement, Datum *values,
								 const char *nulls, int expected);

/* Opens a session, and executes a statement whose one argument is a relation; did it find or change a row? */
extern bool weir_catalog_execute_for(WeirCatalogStatement *statement, Oid relid, int expected);

/* Opens a session, and executes a SELECT of OIDs; returns them in the current context. */
extern List *weir_catalog_oids_of(WeirCatalogStatement *statement, Datum *values);

/* Executes a SELECT that sees what others have committed by now, whatever the isolation level. */
extern bool weir_catalog_execute_latest(WeirCatalogStatement *statement, Datum *values);

/* Executes a SELECT that sees what this snapshot sees. */
extern bool weir_catalog_execute_snapshot(WeirCatalogStatement *statement, Datum *values, Snapshot snapshot);

/* Values of a row of SPI_tuptable, by position from 1. */
extern Datum weir_catalog_column(HeapTuple tuple, int position, bool *isnull);
extern char *weir_catalog_string(HeapTuple tuple, int position, MemoryContext context);
extern int64 weir_catalog_int64(HeapTuple tuple, int position, int64 if_null);
extern int32 weir_catalog_int32(HeapTuple tuple, int position, int32 if_null);
extern Oid	weir_catalog_oid(HeapTuple tuple, int position);	/* InvalidOid if NULL */
extern int64 weir_catalog_duration(HeapTuple tuple, int position);	/* microseconds, months as 30 days; -1 if NULL */
extern List *weir_catalog_strings(HeapTuple tuple, int position, MemoryContext context);	/* of String, in context */

/* Returns a text[] of a List of String. */
extern Datum weir_catalog_strings_array(List *strings);

#endif							/* WEIR_CATALOG_QUERY_H */
