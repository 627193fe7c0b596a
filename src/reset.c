/*
 * reset.c
 *	  A stream begins anew: everything made of its events goes, in the
 *	  caller's transaction.
 *
 * Kafka's partitions and their dead letters are api_seek.c's, as what becomes
 * of them depends on where the stream begins.
 */
#include "postgres.h"

#include "access/xact.h"
#include "aggregate.h"
#include "catalog_dedup.h"
#include "catalog_gap.h"
#include "catalog_reset.h"
#include "chunk.h"
#include "reset.h"
#include "transform.h"
#include "upsert.h"

/*
 * What is emptied, in this order.  Whatever is derived from a stream adds a
 * line before the staged rows; one that cannot be emptied throws.
 */
static void (*const emptied[]) (Oid stream) =
{
	weir_aggregate_reset,		/* states, results, late events */
	weir_upsert_reset,			/* rows, positions, late events */
	weir_transform_reset,		/* rows */
	weir_chunk_drop_all,		/* staged rows */
	weir_catalog_forget_ids,
	weir_catalog_reset,			/* what a refill goes by, watermarks, counters */
	weir_catalog_void_gaps,
};

/* Empties a stream. */
void
weir_reset(Oid stream)
{
	for (int i = 0; i < lengthof(emptied); i++)
	{
		emptied[i] (stream);
		CommandCounterIncrement();
	}
}
