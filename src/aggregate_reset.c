/*
 * aggregate_reset.c
 *	  Continuous aggregates emptied, as their stream begins anew.
 */
#include "postgres.h"

#include "access/xact.h"
#include "aggregate.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Empties a table of results, as who we are: its triggers are the user's. */
static void
empty_results(Oid relid)
{
	char	   *sql = psprintf("DELETE FROM %s", quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
																		get_rel_name(relid)));
	int			rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	SPI_finish();
}

/* Empties the aggregates of a stream. */
void
weir_aggregate_reset(Oid stream)
{
	ListCell   *cell;

	foreach(cell, weir_catalog_aggregates(stream, false))
	{
		WeirAggregate *aggregate = weir_aggregate_get(WEIR_AGGREGATE_VIEW, lfirst_oid(cell));

		weir_catalog_reset_aggregate(aggregate->row);
		if (OidIsValid(aggregate->row->results))
			empty_results(aggregate->row->results);
		CommandCounterIncrement();
		weir_aggregate_begin_totals(aggregate);
		weir_aggregate_release(aggregate);
	}
}
