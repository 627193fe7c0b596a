/*
 * derived_define.h
 *	  What the making of relations of derived objects has in common.
 *
 * Floor 2, below all kinds of derived objects.
 */
#ifndef WEIR_DERIVED_DEFINE_H
#define WEIR_DERIVED_DEFINE_H

#include "postgres.h"

#include "derived_source.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"

/* What is to be made. */
typedef struct WeirPlace
{
	const char *kind;			/* aggregate and so on: in names that users do not see */
	const char *label;			/* in messages: continuous aggregate */
	int64		number;			/* in names that users do not see */
	const char *schema;			/* of what users see */
	const char *name;			/* of the derived object */
	Oid			owner;			/* of everything: the stream's */
} WeirPlace;

/* Says where an object is to be made that is called by this text; raises an error if it would be temporary. */
extern void weir_define_place(WeirPlace *place, const char *kind, const char *label, text *name);

/* Handles a name that is taken: true, with a notice, if that is fine as the relation is alike; else an error. */
extern bool weir_define_exists(const WeirPlace *place, bool alike);

/*
 * Begins with a derived object: keeps its query as a view, made with the
 * user's own rights and names, and finds its source; errors in the query are
 * raised here.  Returns the query as PostgreSQL has analysed it.  Batches of
 * the stream are kept out from now on, and place->owner is its owner.
 */
extern Query *weir_define_begin(WeirPlace *place, const char *text, Oid *view, WeirSource **source);

/* Returns the query of such a view: a copy. */
extern Query *weir_define_query_of(Oid view);

/*
 * Makes a view in weir_internal of a query that is made of the user's, every
 * name in it qualified.  Analysing it reads its literals, which may call the
 * CHECKs of domains: that is done with the user's own rights.
 */
extern Oid	weir_define_view(const WeirPlace *place, const char *part, const char *text);

/* Makes the trigger of a source that takes batches, by a function of weir_internal; returns its name. */
extern char *weir_define_trigger(const WeirPlace *place, Oid source, const char *function);

/* Runs a statement with the superuser's rights. */
extern void weir_define_run(const char *sql);

/* Gives a relation, whose kind is a keyword, to the owner; returns its OID. */
extern Oid	weir_define_give(const WeirPlace *place, const char *kind, const char *schema, const char *name);

/* Returns a relation's OID, or InvalidOid. */
extern Oid	weir_define_named(const char *schema, const char *name);

/* Returns the name of a relation in weir_internal. */
extern char *weir_define_internal_name(const WeirPlace *place, const char *part);

/* Raises an error if a table, or a partition of it, is not logged. */
extern void weir_define_check_logged(Oid relid);

/* Appends the definition of a column, its name quoted already. */
extern void weir_define_add_column(StringInfo sql, const char *name, Oid type, int32 typmod, Oid collation);

#endif							/* WEIR_DERIVED_DEFINE_H */
