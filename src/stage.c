/*
 * stage.c
 *	  Writing rows into a child of the staging table and firing the staging
 *	  table's statement triggers over them.
 *
 * This is what COPY does, less its parsing: whole pages at a time through
 * table_multi_insert.  The rows go to the child, and the triggers that fire
 * are the parent's, as they would on a partitioned table:
 *
 *		BEFORE STATEMENT of parent
 *		  rows -> child, its indexes, parent's transition tables
 *		AFTER STATEMENT of parent
 *
 * Constraints are constrain.c's business.  Row triggers are refused when
 * somebody creates them (guard.c).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "stage.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct WeirStager
{
	Relation	child;
	EState	   *estate;
	ResultRelInfo *parent_info;
	ResultRelInfo *child_info;
	TransitionCaptureState *capture;
	BulkInsertState bulk;
	CommandId	cid;
	bool		fire;
};

/* The staging table whose BEFORE triggers we are firing, and how deep in triggers we were then. */
static WeirStaging staging = {InvalidOid, 0};

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/*
 * Tells whether the trigger that asks was fired by our insert into this
 * staging table, and not by one that another trigger of it has tried.
 */
bool
weir_stage_in_progress(Oid relid)
{
	return OidIsValid(relid) && relid == staging.relid && trigger_depth() == staging.depth + 1;
}

/* Returns what is being written now. */
WeirStaging
weir_stage_current(void)
{
	return staging;
}

/* Puts back what was being written before an insert that an error has ended. */
void
weir_stage_restore(WeirStaging saved)
{
	staging = saved;
}

/* Raises an error if a trigger of ours is disabled. */
void
weir_stage_check_triggers(Relation parent)
{
	TriggerDesc *desc = parent->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];

		if (strncmp(trigger->tgname, "weir_", 5) != 0)
			continue;
		if (trigger->tgenabled == TRIGGER_DISABLED ||
			trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("trigger \"%s\" of stream \"%s\" is disabled",
							trigger->tgname, RelationGetRelationName(parent)),
					 errhint("Use ALTER TABLE %s ENABLE ALWAYS TRIGGER %s.",
							 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(parent)),
														RelationGetRelationName(parent)),
							 quote_identifier(trigger->tgname))));
	}
}

/* Fires the BEFORE triggers, the guard among them. */
static void
fire_before(WeirStager *stager)
{
	WeirStaging outer = staging;

	staging.relid = RelationGetRelid(stager->parent_info->ri_RelationDesc);
	staging.depth = trigger_depth();
	ExecBSInsertTriggers(stager->estate, stager->parent_info);
	staging = outer;
}

/* Begins an insert. */
WeirStager *
weir_stage_begin(Relation parent, Relation child, bool fire)
{
	WeirStager *stager = palloc0(sizeof(WeirStager));
	EState	   *estate = CreateExecutorState();
	MemoryContext old;

	stager->child = child;
	stager->estate = estate;
	stager->fire = fire;
	stager->parent_info = makeNode(ResultRelInfo);
	InitResultRelInfo(stager->parent_info, parent, 0, NULL, 0);
	stager->child_info = makeNode(ResultRelInfo);
	/* the parent as root: triggers see the parent's columns, whatever the child's numbers */
	InitResultRelInfo(stager->child_info, child, 0, stager->parent_info, 0);
	/* made on first use, which would be in a context that is reset after each lot */
	old = MemoryContextSwitchTo(estate->es_query_cxt);
	(void) ExecGetChildToRootMap(stager->child_info);
	MemoryContextSwitchTo(old);
	ExecOpenIndices(stager->child_info, false);

	stager->cid = GetCurrentCommandId(true);
	estate->es_output_cid = stager->cid;
	estate->es_snapshot = RegisterSnapshot(GetActiveSnapshot());

	AfterTriggerBeginQuery();
	if (fire)
	{
		stager->capture = MakeTransitionCaptureState(parent->trigdesc, RelationGetRelid(parent), CMD_INSERT);
		fire_before(stager);
	}
	stager->bulk = GetBulkInsertState();
	return stager;
}

/* Writes rows. */
void
weir_stage_rows(WeirStager *stager, TupleTableSlot **slots, int nslots)
{
	MemoryContext per_tuple = GetPerTupleMemoryContext(stager->estate);
	MemoryContext old = MemoryContextSwitchTo(per_tuple);

	table_multi_insert(stager->child, slots, nslots, stager->cid, 0, stager->bulk);

	for (int i = 0; i < nslots; i++)
	{
		slots[i]->tts_tableOid = RelationGetRelid(stager->child);
		if (stager->child_info->ri_NumIndices > 0)
			list_free(weir_insert_index_tuples(stager->child_info, slots[i], stager->estate));
		if (stager->capture != NULL)
			ExecARInsertTriggers(stager->estate, stager->child_info, slots[i], NIL, stager->capture);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(stager->estate);
}

/* Fires the statement triggers and ends the insert. */
void
weir_stage_fire(WeirStager *stager)
{
	EState	   *estate = stager->estate;

	FreeBulkInsertState(stager->bulk);
	table_finish_bulk_insert(stager->child, 0);

	if (stager->fire)
		ExecASInsertTriggers(estate, stager->parent_info, stager->capture);
	AfterTriggerEndQuery(estate);

	ExecCloseIndices(stager->child_info);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	UnregisterSnapshot(estate->es_snapshot);
	FreeExecutorState(estate);
}
