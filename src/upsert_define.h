/*
 * upsert_define.h
 *	  The relations of an upsert, made.
 *
 * Floor 2, a part of the step upsert.
 */
#ifndef WEIR_UPSERT_DEFINE_H
#define WEIR_UPSERT_DEFINE_H

#include "postgres.h"

#include "catalog_upsert.h"
#include "derived_define.h"
#include "utils/relcache.h"

/* Makes the view of the query anew, with the columns that are added to it. */
extern void weir_upsert_define_query(const WeirPlace *place, const char *text, WeirUpsertRow *row);

/*
 * Makes the table, unless it is the user's, that of positions if deletes or
 * the user's table need it, and the trigger; fills in row, of which query, source,
 * key and order_by are set.
 */
extern void weir_upsert_define_relations(const WeirPlace *place, bool deletes, WeirUpsertRow *row);

/* Checks a table of the user's own: 42809, 42501, 42P10, 55000 or what fits. */
extern void weir_upsert_check_target(const WeirUpsertRow *row, const char *name);

/* Has a table a unique constraint or index on exactly these columns, neither partial nor deferrable? */
extern bool weir_upsert_has_key(Relation table, List *key);

#endif							/* WEIR_UPSERT_DEFINE_H */
