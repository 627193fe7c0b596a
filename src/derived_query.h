/*
 * derived_query.h
 *	  What the query of a derived object may be, whatever its kind.
 *
 * Floor 2, below all kinds of derived objects.
 */
#ifndef WEIR_DERIVED_QUERY_H
#define WEIR_DERIVED_QUERY_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* Something that a query must not have. */
typedef struct WeirDerivedClause
{
	bool		there;
	const char *construct;
	const char *hint;			/* the way out, or NULL */
} WeirDerivedClause;

/* Raises 0A000 about a construct in the query of "name". */
extern void weir_derived_refuse(const char *name, const char *construct, const char *hint) pg_attribute_noreturn();

/*
 * Checks what holds for all kinds and that none of these clauses is there;
 * returns where the source stands in the
 * query's range table.  Raises 0A000 or what fits, naming the construct and
 * the way out.
 */
extern Index weir_derived_query_check(Query *query, Oid source, const char *name,
									  const WeirDerivedClause *clauses, int n);

#endif							/* WEIR_DERIVED_QUERY_H */
