/*
 * catalog_expect.h
 *	  What a stream expects of its events: weir_internal.expectation, how
 *	  often that failed, and when it changed.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_EXPECT_H
#define WEIR_CATALOG_EXPECT_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* What becomes of an event that violates an expectation; the strictest is asked first. */
typedef enum WeirOnViolation
{
	WEIR_ON_VIOLATION_STOP,
	WEIR_ON_VIOLATION_DEAD_LETTER,
	WEIR_ON_VIOLATION_DROP,
	WEIR_ON_VIOLATION_KEEP
} WeirOnViolation;

/* By that number; ends with NULL. */
extern const char *const weir_on_violation_words[];

/* How far a partition was when an expectation began to hold. */
typedef struct WeirSince
{
	int32		partition;
	int64		offset;
} WeirSince;

typedef struct WeirExpectation
{
	char	   *name;			/* also of the CHECK constraint on the staging table, which has the expression */
	WeirOnViolation on_violation;
	int			nsince;
	WeirSince  *since;			/* partitions that are not here: 0 */
	Node	   *condition;		/* set by runtime.c */
} WeirExpectation;

/* Returns the expectations of a stream, the strictest first, then by name. */
extern List *weir_catalog_load_expectations(Oid stream);

/* Is there one of that name? */
extern bool weir_catalog_has_expectation(Oid stream, const char *name);

/* Writes one, or changes it; its constraint is there. */
extern void weir_catalog_set_expectation(Oid stream, const char *name, WeirOnViolation on_violation);

/* Forgets one, and its counts; its constraint is still there. */
extern void weir_catalog_drop_expectation(Oid stream, const char *name);

/* Adds to how often an expectation failed, and to how many of those events were kept. */
extern void weir_catalog_add_failures(Oid stream, const char *name, int32 partition,
									  int64 failed, int64 kept, int64 last_offset);

#endif							/* WEIR_CATALOG_EXPECT_H */
