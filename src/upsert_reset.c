/*
 * upsert_reset.c
 *	  Upserts emptied, as their stream begins anew.
 */
#include "postgres.h"

#include "upsert.h"
#include "utils/lsyscache.h"

/* Empties the upserts of a stream. */
void
weir_upsert_reset(Oid stream)
{
	ListCell   *cell;

	foreach(cell, weir_catalog_upserts(stream))
	{
		WeirUpsertRow *row = weir_catalog_load_upsert(lfirst_oid(cell));

		if (!row->owns_target)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("stream \"%s\" cannot be reset: it writes into table \"%s\"", get_rel_name(stream),
							get_rel_name(row->target)),
					 errdetail("The table is a user's, who alone can say which of its rows to empty."),
					 errhint("Drop the upsert with weir.drop, which leaves the table alone, and create it again afterwards.")));
		weir_merger_empty(row);
		weir_catalog_reset_upsert(row->target);
	}
}
