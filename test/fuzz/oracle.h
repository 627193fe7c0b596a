/*
 * oracle.h
 *	  What PostgreSQL's own functions make of an input.
 */
#ifndef FUZZ_ORACLE_H
#define FUZZ_ORACLE_H

#include "postgres.h"

#include "access/tupdesc.h"

/* What a function returned, or why it did not. */
typedef struct Answer
{
	bool		ok;
	bool		isnull;
	int			sqlstate;		/* unless ok */
	bool		unknown;		/* this oracle cannot say */
	bool		zone_rule;		/* there may be a rule for a time zone */
	Datum		value;
} Answer;

/* A column of the row type that inputs are decoded into. */
typedef struct Column
{
	const char *name;
	Oid			type;
	int32		typmod;
	Oid			input;			/* its type's function */
	int			len;
	bool		byval;
	int			unit;			/* as WeirConverter has it */
	const char *path[4];		/* ends with NULL */
} Column;

extern TupleDesc oracle_row_type(const Column *columns, int ncolumns, bool extra);
extern Answer oracle_call(Oid function, int nargs, Datum a, Datum b, Datum c);
extern Answer oracle_input(const Column *column, const char *text);
extern Answer oracle_scalar(const Column *column, const char *text);
extern Answer oracle_epoch(const Column *column, const char *number);
extern char *oracle_cstring(Datum value);
extern bool oracle_is_text(const char *bytes, size_t len);
extern bool oracle_is_json(const char *text);
extern bool oracle_equal(const Column *column, Datum a, Datum b);

extern bool oracle_same_error(const Column *column, const Answer *expected, int actual);

extern const char *oracle_show(const Answer *answer);

/* Stops with a message: the decoder and PostgreSQL differ. */
extern void oracle_differ(const char *format,...) pg_attribute_noreturn();

#endif							/* FUZZ_ORACLE_H */
