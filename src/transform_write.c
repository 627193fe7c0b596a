/*
 * transform_write.c
 *	  Rows written into the target of a transform.
 *
 * As COPY does it: many at a time, with the table's generated columns,
 * constraints, indexes and AFTER triggers, among these the ones of what reads
 * the table.  Where BEFORE ROW triggers, policies or partitions have a say, the
 * executor inserts row by row.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "transform_query.h"
#include "transform_write.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* How many rows, and about how many bytes of them, are written at once. */
#define LOT_ROWS 1000
#define LOT_BYTES 65536

/* A target that is being written into. */
typedef struct Writer
{
	DestReceiver pub;
	WeirTransform *transform;
	Relation	target;
	EState	   *estate;
	ResultRelInfo *info;
	TransitionCaptureState *capture;
	BulkInsertState bulk;
	CommandId	cid;
	TupleTableSlot **slots;		/* as many as were needed so far */
	int			nslots;
	int			nrows;
	Size		bytes;
	TimestampTz least;			/* event time */
} Writer;

/* A table that is being written into, and how deep in triggers we are. */
typedef struct Writing
{
	Oid			relid;
	int			depth;
} Writing;

static Writing writing = {InvalidOid, 0};

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* Did our own writing fire the trigger that asks? */
bool
weir_transform_is_writing(Oid relid)
{
	return relid == writing.relid && trigger_depth() == writing.depth + 1;
}

/* May rows be written past the executor? */
bool
weir_transform_may_write(Relation target)
{
	TriggerDesc *desc = target->trigdesc;

	return target->rd_rel->relkind == RELKIND_RELATION &&
		(desc == NULL || (!desc->trig_insert_before_row && !desc->trig_insert_instead_row)) &&
		check_enable_rls(RelationGetRelid(target), InvalidOid, true) != RLS_ENABLED;
}

/* Raises an error if a trigger of what reads the table is disabled: it would miss rows. */
static void
check_triggers(Relation target)
{
	TriggerDesc *desc = target->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		const Trigger *trigger = &desc->triggers[i];

		if (strncmp(trigger->tgname, "weir_", 5) == 0 &&
			(trigger->tgenabled == TRIGGER_DISABLED || trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("trigger \"%s\" of table \"%s\" is disabled", trigger->tgname,
							RelationGetRelationName(target)),
					 errhint("Use ALTER TABLE ... ENABLE ALWAYS TRIGGER %s.", trigger->tgname)));
	}
}

/* Computes generated columns, and checks constraints. */
static void
complete_row(Writer *writer, TupleTableSlot *slot)
{
	const TupleConstr *constraints = RelationGetDescr(writer->target)->constr;

	slot->tts_tableOid = RelationGetRelid(writer->target);
	if (constraints == NULL)
		return;
	if (constraints->has_generated_stored)
		ExecComputeStoredGenerated(writer->info, writer->estate, slot, CMD_INSERT);
	ExecConstraints(writer->info, slot, writer->estate);
}

/* Writes the rows that have come together. */
static void
write_lot(Writer *writer)
{
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));

	if (writer->nrows > 0)
		table_multi_insert(writer->target, writer->slots, writer->nrows, writer->cid, 0, writer->bulk);
	for (int i = 0; i < writer->nrows; i++)
	{
		TupleTableSlot *slot = writer->slots[i];
		List	   *recheck = NIL;

		if (writer->info->ri_NumIndices > 0)
			recheck = weir_insert_index_tuples(writer->info, slot, writer->estate);
		ExecARInsertTriggers(writer->estate, writer->info, slot, recheck, writer->capture);
		list_free(recheck);
		ExecClearTuple(slot);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(writer->estate);
	writer->nrows = 0;
	writer->bytes = 0;
}

/* Returns a slot for one more row. */
static TupleTableSlot *
next_slot(Writer *writer)
{
	MemoryContext old;

	if (writer->nrows < writer->nslots)
		return writer->slots[writer->nrows];
	old = MemoryContextSwitchTo(writer->estate->es_query_cxt);
	writer->slots[writer->nslots++] = table_slot_create(writer->target, NULL);
	MemoryContextSwitchTo(old);
	return writer->slots[writer->nrows];
}

/* Notes the event time of a row; one that no window could hold is an error. */
static void
note_time(Writer *writer, TupleTableSlot *slot)
{
	AttrNumber	column = writer->transform->event_time;
	TimestampTz time;

	if (column == InvalidAttrNumber)
		return;
	if (slot->tts_isnull[column - 1])
	{
		/* a tombstone's is Kafka's, as in the stream; where that is the one, and missing, windows will say so */
		if (writer->transform->row->same_time ||
			strcmp(writer->transform->row->event_time, weir_place_names[WEIR_PLACE_TIMESTAMP]) == 0)
			return;
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event time \"%s\" is null", writer->transform->row->event_time)));
	}
	time = DatumGetTimestampTz(slot->tts_values[column - 1]);
	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("event time \"%s\" is infinite", writer->transform->row->event_time)));
	writer->least = Min(writer->least, time);
}

/* Receives a row of the plan. */
static bool
receive_row(TupleTableSlot *given, DestReceiver *self)
{
	Writer	   *writer = (Writer *) self;
	TupleTableSlot *slot = next_slot(writer);
	ListCell   *cell;

	slot_getallattrs(given);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	foreach(cell, writer->transform->columns)
	{
		int			column = lfirst_int(cell) - 1;

		slot->tts_values[column] = given->tts_values[foreach_current_index(cell)];
		slot->tts_isnull[column] = given->tts_isnull[foreach_current_index(cell)];
	}
	ExecStoreVirtualTuple(slot);
	note_time(writer, slot);
	complete_row(writer, slot);
	/* what was given is gone with the next row */
	ExecMaterializeSlot(slot);
	writer->bytes += ((HeapTupleTableSlot *) slot)->tuple->t_len;
	if (++writer->nrows == LOT_ROWS || writer->bytes > LOT_BYTES)
		write_lot(writer);
	return true;
}

static void
start_receiving(DestReceiver *self, int operation, TupleDesc tupdesc)
{
}

static void
stop_receiving(DestReceiver *self)
{
}

/* Begins to write. */
static void
begin(Writer *writer, WeirTransform *transform)
{
	memset(writer, 0, sizeof(*writer));
	writer->pub = (DestReceiver) {receive_row, start_receiving, stop_receiving, stop_receiving, DestNone};
	writer->transform = transform;
	writer->least = DT_NOEND;
	writer->target = table_open(transform->row->target, RowExclusiveLock);
	check_triggers(writer->target);
	writer->estate = CreateExecutorState();
	writer->slots = MemoryContextAlloc(writer->estate->es_query_cxt, sizeof(TupleTableSlot *) * LOT_ROWS);
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, writer->target, 0, NULL, 0);
	ExecOpenIndices(writer->info, false);
	writer->cid = GetCurrentCommandId(true);
	writer->estate->es_output_cid = writer->cid;
	writer->estate->es_snapshot = RegisterSnapshot(GetActiveSnapshot());
	AfterTriggerBeginQuery();
	writer->capture = MakeTransitionCaptureState(writer->target->trigdesc, transform->row->target, CMD_INSERT);
	ExecBSInsertTriggers(writer->estate, writer->info);
	writer->bulk = GetBulkInsertState();
}

/* Fires the triggers, and ends. */
static void
end(Writer *writer)
{
	write_lot(writer);
	FreeBulkInsertState(writer->bulk);
	table_finish_bulk_insert(writer->target, 0);
	ExecASInsertTriggers(writer->estate, writer->info, writer->capture);
	AfterTriggerEndQuery(writer->estate);
	for (int i = 0; i < writer->nslots; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->info);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	ExecCloseResultRelations(writer->estate);
	UnregisterSnapshot(writer->estate->es_snapshot);
	FreeExecutorState(writer->estate);
	table_close(writer->target, NoLock);
}

/* Runs the plan and writes what it gives. */
static TimestampTz
write_directly(WeirTransform *transform, PlannedStmt *plan, Tuplestorestate *batch)
{
	Writer		writer;

	begin(&writer, transform);
	weir_batch_plan_run(plan, transform->row->source, batch, &writer.pub);
	end(&writer);
	return writer.least;
}

/* Lets the executor insert: -infinity, as nobody has seen the rows. */
static TimestampTz
write_by_executor(WeirTransform *transform, PlannedStmt *plan, Tuplestorestate *batch)
{
	Relation	target = table_open(transform->row->target, RowExclusiveLock);

	check_triggers(target);
	weir_batch_plan_run(plan, transform->row->source, batch, None_Receiver);
	table_close(target, NoLock);
	return DT_NOBEGIN;
}

/* Writes what a plan gives of a batch. */
TimestampTz
weir_transform_write(WeirTransform *transform, PlannedStmt *plan, Tuplestorestate *batch)
{
	Writing		outer = writing;
	TimestampTz least = DT_NOBEGIN;

	writing.relid = transform->row->target;
	writing.depth = trigger_depth();
	PG_TRY();
	{
		least = transform->direct ? write_directly(transform, plan, batch) :
			write_by_executor(transform, plan, batch);
	}
	PG_FINALLY();
	{
		writing = outer;
	}
	PG_END_TRY();
	return least;
}
