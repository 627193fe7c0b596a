/*
 * expect_compare.h
 *	  Conditions that compare columns with constants, without the executor.
 *
 * Floor 2, a part of expect.c's step.
 */
#ifndef WEIR_EXPECT_COMPARE_H
#define WEIR_EXPECT_COMPARE_H

#include "postgres.h"

#include "nodes/primnodes.h"

/* What is asked of a column. */
typedef enum WeirComparisonKind
{
	WEIR_COMPARE_IS_NULL,
	WEIR_COMPARE_IS_NOT_NULL,
	WEIR_COMPARE_INT,
	WEIR_COMPARE_FLOAT
} WeirComparisonKind;

/* The answers that are fine: any of less, equal, greater. */
#define WEIR_COMPARE_LESS 1
#define WEIR_COMPARE_EQUAL 2
#define WEIR_COMPARE_GREATER 4

typedef struct WeirComparisonTerm
{
	WeirComparisonKind kind;
	int			column;			/* index */
	int16		typlen;
	uint8		accepted;		/* WEIR_COMPARE_… */
	int64		number;
	float8		real;
} WeirComparisonTerm;

/* Terms of which none may be false. */
typedef struct WeirComparison
{
	int			nterms;
	WeirComparisonTerm terms[FLEXIBLE_ARRAY_MEMBER];
} WeirComparison;

/* Compiles a planned condition, in the current context; NULL if it is of another kind. */
extern WeirComparison *weir_compare_create(Expr *condition);

/* Is the condition true or NULL for a row?  Raises no error. */
extern bool weir_compare_is_met(const WeirComparison *comparison, const Datum *values, const bool *isnull);

#endif							/* WEIR_EXPECT_COMPARE_H */
