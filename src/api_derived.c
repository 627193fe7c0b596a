/*
 * api_derived.c
 *	  weir.drop: what is derived from a stream, whatever its kind.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog_aggregate.h"
#include "catalog_transform.h"
#include "catalog_upsert.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(weir_drop_derived);

/* Returns the command that drops an object; NULL if it is not derived. */
static char *
drop_command(Oid relid)
{
	WeirUpsertRow *upsert = weir_catalog_load_upsert(relid);
	WeirTransformRow *transform = weir_catalog_load_transform(relid);

	/* a user's own table stays; guard.sql lets the rest go with the query */
	if (transform != NULL)
		return transform->owns_target ? psprintf("DROP TABLE %s", weir_relation_name(relid)) :
			psprintf("DROP VIEW %s", weir_relation_name(transform->query));
	if (upsert != NULL)
		return upsert->owns_target ? psprintf("DROP TABLE %s", weir_relation_name(relid)) :
			psprintf("DROP VIEW %s", weir_relation_name(upsert->query));
	if (weir_catalog_load_aggregate(WEIR_AGGREGATE_VIEW, relid) != NULL)
		return psprintf("DROP VIEW %s", weir_relation_name(relid));
	return NULL;
}

/* weir.drop */
Datum
weir_drop_derived(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *command;
	int			rc;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"object\" must not be null")));
	command = drop_command(relid);
	if (command == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not derived from a stream", get_rel_name(relid)),
				 errhint("weir.drop_stream drops streams.")));
	SPI_connect();
	rc = SPI_execute(command, false, 0);
	if (rc < 0)
		elog(ERROR, "could not drop: %s", SPI_result_code_string(rc));
	SPI_finish();
	PG_RETURN_VOID();
}
