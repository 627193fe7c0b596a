/*
 * decode_format.h
 *	  What decode.c and the formats agree on.
 *
 * A format is a file decode_<format>.c that exports one WeirFormat, and a line
 * in decode.c's table.
 */
#ifndef WEIR_DECODE_FORMAT_H
#define WEIR_DECODE_FORMAT_H

#include "batch.h"
#include "convert.h"
#include "nodes/pg_list.h"

/* A column that is filled from a message, or from its key. */
typedef struct WeirColumn
{
	const char *name;
	int			index;			/* in values[] */
	List	   *path;			/* of char *: field, field inside it ... */
	WeirConverter converter;
} WeirColumn;

/* Where the values of a row go. */
typedef struct WeirRow
{
	Datum	   *values;
	bool	   *isnull;
	bool	   *present;
	const char *column;			/* the last that went to its type's own function */
} WeirRow;

typedef struct WeirFormat
{
	const char *name;

	/*
	 * Compiles the columns, which outlive the result.  extra is the index of
	 * the column for all other fields, or -1.
	 */
	void	   *(*create) (const WeirColumn *columns, int ncolumns, int extra);

	/*
	 * Fills in the columns, and extra.  Returns false with *fault set.  Faults
	 * in the bytes themselves are of stage WEIR_STAGE_DECODE.
	 */
	bool		(*decode) (void *reader, const char *bytes, Size len,
						   WeirRow *row, WeirFault *fault);
} WeirFormat;

#endif							/* WEIR_DECODE_FORMAT_H */
