/*
 * guard.c
 *	  Trigger functions and helpers that keep streams whole when users use
 *	  plain DML and DDL.  The event triggers that call them are in guard.sql.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog.h"
#include "catalog_aggregate.h"
#include "catalog_alert.h"
#include "catalog_upsert.h"
#include "catalog_transform.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "chunk.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "stage.h"
#include "tcop/pquery.h"
#include "upsert_define.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "wake.h"

PG_FUNCTION_INFO_V1(weir_guard_staging);
PG_FUNCTION_INFO_V1(weir_follow_ddl);
PG_FUNCTION_INFO_V1(weir_touch_stream);
PG_FUNCTION_INFO_V1(weir_has_unique_key);

/* What a user may have wanted instead. */
static const char *
remedy(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event) && ActivePortal != NULL && ActivePortal->commandTag == CMDTAG_COPY)
		return "Use weir.ingest, which decodes, checks and counts. A dump of data alone is restored with --disable-triggers.";
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "Use weir.ingest, which decodes, checks and counts.";
	if (TRIGGER_FIRED_BY_TRUNCATE(event))
		return "Use weir.drop_stream to drop it with its offsets.";
	return "Staged events do not change; derive a table from them instead.";
}

static const char *
verb(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "insert into";
	if (TRIGGER_FIRED_BY_UPDATE(event))
		return "update";
	if (TRIGGER_FIRED_BY_DELETE(event))
		return "delete from";
	return "truncate";
}

/* BEFORE STATEMENT trigger of staging tables and their children. */
Datum
weir_guard_staging(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_staging() can only be called as a trigger")));
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
		weir_stage_in_progress(RelationGetRelid(trigger->tg_relation)))
		PG_RETURN_POINTER(NULL);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s stream \"%s\" directly", verb(trigger->tg_event),
					RelationGetRelationName(trigger->tg_relation)),
			 errhint("%s", remedy(trigger->tg_event))));
}

/* Refuses row triggers: rows do not pass through the staging table itself. */
static void
refuse_row_triggers(Relation relation)
{
	TriggerDesc *desc = relation->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		if (TRIGGER_FOR_ROW(desc->triggers[i].tgtype))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("stream \"%s\" cannot have row trigger \"%s\"",
							RelationGetRelationName(relation), desc->triggers[i].tgname),
					 errhint("Use AFTER INSERT ... REFERENCING NEW TABLE AS ... FOR EACH STATEMENT, which fires once for every batch.")));
	}
}

/* Gives relations to an owner. */
static void
give_all(List *relations, Oid owner)
{
	ListCell   *cell;

	foreach(cell, relations)
	{
		if (weir_relation_owner(lfirst_oid(cell)) != owner)
			ATExecChangeOwner(lfirst_oid(cell), owner, true, AccessExclusiveLock);
	}
}

/* Brings the children of a stream, and what is derived from it, in line with it after DDL on it. */
Datum
weir_follow_ddl(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	relation = table_open(relid, AccessShareLock);
	Oid			owner = relation->rd_rel->relowner;

	refuse_row_triggers(relation);
	give_all(find_inheritance_children(relid, AccessShareLock), owner);
	give_all(weir_catalog_aggregate_relations(relid), owner);
	give_all(weir_catalog_upsert_relations(relid), owner);
	give_all(weir_catalog_transform_relations(relid), owner);
	give_all(weir_catalog_alert_relations(relid), owner);
	table_close(relation, NoLock);
	weir_chunk_copy_indexes(relid);
	PG_RETURN_VOID();
}

/* Makes the workers of a stream load its definition anew. */
Datum
weir_touch_stream(PG_FUNCTION_ARGS)
{
	weir_catalog_touch(PG_GETARG_OID(0));
	weir_wake_at_commit(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/* Has the table of an upsert an index on exactly its key? */
Datum
weir_has_unique_key(PG_FUNCTION_ARGS)
{
	WeirUpsertRow *row = weir_catalog_load_upsert(PG_GETARG_OID(0));
	Relation	target = table_open(row->target, AccessShareLock);
	bool		found = weir_upsert_has_key(target, row->key);

	table_close(target, NoLock);
	PG_RETURN_BOOL(found);
}
