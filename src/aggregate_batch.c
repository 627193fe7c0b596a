/*
 * aggregate_batch.c
 *	  A batch taken into a continuous aggregate: grouped by the executor, its
 *	  states written as one run of the store.
 */
#include "postgres.h"

#include "aggregate.h"
#include "catalog.h"
#include "executor/tuptable.h"
#include "settings.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A group of the batch: where its bytes are. */
typedef struct BatchGroup
{
	int64		bucket;
	uint32		hash;
	int64		sub[WEIR_STORE_SUBS];
	int			key;			/* positions in the bytes */
	int			value;
	int			end;
} BatchGroup;

/* Receives the groups of a batch. */
typedef struct GroupReceiver
{
	DestReceiver pub;
	WeirAggregate *aggregate;
	int			ngroups;
	int			room;
	BatchGroup *groups;
	StringInfoData bytes;
} GroupReceiver;

/* Says where a group stands in the store, given its bins. */
static void
place_group(const WeirAggregate *aggregate, BatchGroup *group, const Datum *bins)
{
	const WeirWindow *window = &aggregate->row->window;

	group->bucket = group->sub[0] = group->sub[1] = 0;
	switch (window->kind)
	{
		case WEIR_WINDOW_NONE:
			break;
		case WEIR_WINDOW_TUMBLE:
			group->bucket = DatumGetTimestampTz(bins[0]);
			break;
		case WEIR_WINDOW_HOP:
			group->bucket = DatumGetTimestampTz(bins[0]);
			group->sub[0] = DatumGetTimestampTz(bins[1]);
			break;
		case WEIR_WINDOW_SESSION:
			group->sub[0] = DatumGetTimestampTz(bins[0]);
			group->sub[1] = weir_window_add(group->sub[0], window->gap);
			break;
	}
}

/* Receives one group; those without a bin are of events that came too late. */
static bool
receive_group(TupleTableSlot *slot, DestReceiver *self)
{
	GroupReceiver *receiver = (GroupReceiver *) self;
	WeirAggregate *aggregate = receiver->aggregate;
	int			bins = weir_aggregate_plan_bins(aggregate->row->window.kind);
	BatchGroup *group;
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(slot);
	values = slot->tts_values + bins;
	nulls = slot->tts_isnull + bins;
	if (bins > 0 && slot->tts_isnull[0])
		return true;
	if (receiver->ngroups == receiver->room)
	{
		receiver->room *= 2;
		receiver->groups = repalloc_huge(receiver->groups, sizeof(BatchGroup) * receiver->room);
	}
	group = &receiver->groups[receiver->ngroups++];
	place_group(aggregate, group, slot->tts_values);
	group->key = receiver->bytes.len;
	group->hash = weir_keys_pack(aggregate->keys, values, nulls, &receiver->bytes);
	group->value = receiver->bytes.len;
	weir_states_pack_row(aggregate->partials, values + aggregate->keys->n, nulls + aggregate->keys->n,
						 &receiver->bytes);
	group->end = receiver->bytes.len;
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

static void
init_receiver(GroupReceiver *receiver, WeirAggregate *aggregate)
{
	memset(receiver, 0, sizeof(*receiver));
	receiver->pub.receiveSlot = receive_group;
	receiver->pub.rStartup = start_receiving;
	receiver->pub.rShutdown = stop_receiving;
	receiver->pub.rDestroy = stop_receiving;
	receiver->pub.mydest = DestNone;
	receiver->aggregate = aggregate;
	receiver->room = 64;
	receiver->groups = palloc(sizeof(BatchGroup) * receiver->room);
	initStringInfo(&receiver->bytes);
}

static PlannedStmt *
make_plan(const void *arg, double rows)
{
	const WeirAggregate *aggregate = arg;

	return weir_aggregate_plan_make(aggregate->query, aggregate->row->window.kind, &aggregate->source->columns, rows);
}

/* Returns the plan for a batch of so many rows, made when first needed; its tables are locked. */
PlannedStmt *
weir_aggregate_plan_for(WeirAggregate *aggregate, int64 rows)
{
	return weir_batch_plan_for(&aggregate->plans, rows, &aggregate->base.valid, make_plan, aggregate);
}

/* Groups a batch. */
static void
group_batch(WeirAggregate *aggregate, Tuplestorestate *batch, GroupReceiver *receiver, WeirBinner *binner)
{
	PlannedStmt *plan = weir_aggregate_plan_for(aggregate, tuplestore_tuple_count(batch));
	WeirBinner *before = weir_bin_enter(binner);

	PG_TRY();
	{
		weir_batch_plan_run(plan, aggregate->row->source, batch, &receiver->pub);
	}
	PG_FINALLY();
	{
		(void) weir_bin_enter(before);
	}
	PG_END_TRY();
}

static int
compare_groups(const void *a, const void *b)
{
	const BatchGroup *left = a;
	const BatchGroup *right = b;

	if (left->bucket != right->bucket)
		return left->bucket < right->bucket ? -1 : 1;
	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	return 0;
}

/* Writes the groups of a batch as a run. */
static void
write_groups(WeirAggregate *aggregate, GroupReceiver *receiver)
{
	WeirStore  *store = weir_store_open(aggregate->row->store, weir_aggregate_subs(aggregate), RowExclusiveLock);
	WeirStoreLane *lane = weir_store_take_lane(store, aggregate->row->window.kind == WEIR_WINDOW_SESSION);
	WeirStoreWriter *writer = weir_store_write_begin(store, lane, 0);
	const char *bytes = receiver->bytes.data;

	qsort(receiver->groups, receiver->ngroups, sizeof(BatchGroup), compare_groups);
	for (int i = 0; i < receiver->ngroups; i++)
	{
		const BatchGroup *group = &receiver->groups[i];
		WeirStoreEntry entry = {
			.bucket = group->bucket,
			.hash = group->hash,
			.sub = {group->sub[0], group->sub[1]},
			.key = {bytes + group->key, bytes + group->value},
			.value = {bytes + group->value, bytes + group->end}
		};

		weir_store_write(writer, &entry);
	}
	weir_store_write_end(writer, NULL);
	weir_aggregate_fold(aggregate, store, lane);
	weir_store_close(store);
}

/* Logs the events that came too late. */
static void
log_late(WeirAggregate *aggregate, List *late)
{
	ListCell   *cell;

	foreach(cell, late)
	{
		const WeirLateEvent *event = lfirst(cell);

		weir_catalog_add_late_event(aggregate->row->view, event->window_start, event->window_end,
									event->partition, event->offset);
	}
}

/* Takes a batch in. */
void
weir_aggregate_take_batch(WeirAggregate *aggregate, Tuplestorestate *batch)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir aggregate batch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	WeirBinner	binner = {&aggregate->row->window, aggregate->row->lateness, context, NIL};
	int			settings = weir_settings_enter(aggregate->row->settings);
	GroupReceiver receiver;

	init_receiver(&receiver, aggregate);
	group_batch(aggregate, batch, &receiver, &binner);
	if (receiver.ngroups > 0)
		write_groups(aggregate, &receiver);
	log_late(aggregate, binner.late);
	weir_settings_leave(settings);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

static void
take_rows(void *arg, Tuplestorestate *rows)
{
	weir_aggregate_take_batch(arg, rows);
}

/* Takes in the rows that its source has. */
void
weir_aggregate_backfill(WeirAggregate *aggregate)
{
	weir_source_backfill(aggregate->source, take_rows, aggregate);
}
