/*
 * catalog_dedup.c
 *	  The tables that remember event ids: made, numbered, emptied.
 *
 * They belong to the superuser, who alone reads them; dedup_store.c has their
 * contents.  As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog_dedup.h"
#include "commands/defrem.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Runs a statement with the superuser's rights. */
static void
run(const char *sql)
{
	WeirCatalogSession session;
	int			rc;

	weir_catalog_enter(&session);
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	weir_catalog_leave(&session);
}

/* Makes the table for the ids of a stream. */
Oid
weir_catalog_create_ids(Oid stream)
{
	Oid			namespace = get_namespace_oid("weir_internal", false);
	char	   *name = ChooseRelationName(get_rel_name(stream), NULL, "ids", namespace, false);

	run(psprintf("CREATE TABLE weir_internal.%s (block bigint NOT NULL, slice_end timestamptz NOT NULL,"
				 " count int NOT NULL, ids bytea NOT NULL)", quote_identifier(name)));
	/* nothing in it that could be compressed */
	run(psprintf("ALTER TABLE weir_internal.%s ALTER COLUMN ids SET STORAGE EXTERNAL", quote_identifier(name)));
	run(psprintf("CREATE UNIQUE INDEX ON weir_internal.%s (block)", quote_identifier(name)));
	return get_relname_relid(name, namespace);
}

/* Returns a number for a block. */
int64
weir_catalog_next_block(void)
{
	return nextval_internal(get_relname_relid("dedup_block", get_namespace_oid("weir_internal", false)), false);
}

/* Forgets the ids of a stream: a new file, by which whoever has read the old one knows. */
void
weir_catalog_forget_ids(Oid stream)
{
	WeirStream *definition = weir_catalog_load_stream(stream, false);

	if (OidIsValid(definition->ids))
		run(psprintf("TRUNCATE weir_internal.%s", quote_identifier(get_rel_name(definition->ids))));
}
