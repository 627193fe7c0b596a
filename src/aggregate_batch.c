/*
 * aggregate_batch.c
 *	  A batch taken into a continuous aggregate: grouped by the executor, its
 *	  states written as one run of the store.
 *
 * Windows are bins to group by besides the keys.  Where it is known that all
 * events of a batch are of one window, which is so for most batches, it is
 * grouped by the keys alone: there is nothing to compute, to hash and to
 * compare for each event.
 */
#include "postgres.h"

#include "aggregate.h"
#include "catalog.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
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
	int			nbins;			/* columns before the keys */
	Datum		bins[2];		/* of all groups, if there are no such columns */
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
	BatchGroup *group;
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(slot);
	values = slot->tts_values + receiver->nbins;
	nulls = slot->tts_isnull + receiver->nbins;
	if (receiver->nbins > 0 && slot->tts_isnull[0])
		return true;
	if (receiver->ngroups == receiver->room)
	{
		receiver->room *= 2;
		receiver->groups = repalloc_huge(receiver->groups, sizeof(BatchGroup) * receiver->room);
	}
	group = &receiver->groups[receiver->ngroups++];
	place_group(aggregate, group, receiver->nbins > 0 ? slot->tts_values : receiver->bins);
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

static PlannedStmt *
make_key_plan(const void *arg, double rows)
{
	const WeirAggregate *aggregate = arg;

	return weir_aggregate_plan_make(aggregate->query, WEIR_WINDOW_NONE, &aggregate->source->columns, rows);
}

/* Returns the plan for a batch of this kind and size, made when first needed; its tables are locked. */
PlannedStmt *
weir_aggregate_plan_for(WeirAggregate *aggregate, int64 rows, bool one_window)
{
	return weir_batch_plan_for(one_window ? &aggregate->key_plans : &aggregate->plans, rows, &aggregate->base.valid,
							   one_window ? make_key_plan : make_plan, aggregate);
}

/* Are all events of one window?  Without keys they are grouped by it all the same: there may be no group at all. */
static bool
is_one_window(const WeirAggregate *aggregate, const WeirSpan *span, WeirBinner *binner, Datum *bins)
{
	return aggregate->keys->n > 0 && weir_bin_all(binner, span, bins);
}

/* Groups a batch. */
static void
group_batch(WeirAggregate *aggregate, Tuplestorestate *batch, const WeirSpan *span, GroupReceiver *receiver,
			WeirBinner *binner)
{
	bool		one_window = is_one_window(aggregate, span, binner, receiver->bins);
	PlannedStmt *plan = weir_aggregate_plan_for(aggregate, tuplestore_tuple_count(batch), one_window);
	WeirBinner *before = weir_bin_enter(binner);

	receiver->nbins = one_window ? 0 : weir_aggregate_plan_bins(aggregate->row->window.kind);
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
weir_aggregate_take_batch(WeirAggregate *aggregate, Tuplestorestate *batch, WeirSpan span)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir aggregate batch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	WeirBinner	binner = {.window = &aggregate->row->window, .lateness = aggregate->row->lateness, .context = context};
	int			settings = weir_settings_enter(aggregate->row->settings);
	ErrorContextCallback position = {error_context_stack, weir_compiled_describe, &aggregate->base};
	GroupReceiver receiver;

	error_context_stack = &position;
	init_receiver(&receiver, aggregate);
	group_batch(aggregate, batch, &span, &receiver, &binner);
	if (receiver.ngroups > 0)
		write_groups(aggregate, &receiver);
	log_late(aggregate, binner.late);
	error_context_stack = position.previous;
	weir_settings_leave(settings);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Begins running totals of everything, which have a row before there is any event, as the plain query has. */
void
weir_aggregate_begin_totals(WeirAggregate *aggregate)
{
	Tuplestorestate *nothing;

	if (aggregate->row->window.kind != WEIR_WINDOW_NONE || aggregate->keys->n > 0)
		return;
	nothing = tuplestore_begin_heap(false, false, work_mem);
	weir_aggregate_take_batch(aggregate, nothing, (WeirSpan) {false});
	tuplestore_end(nothing);
}

static void
take_rows(void *arg, Tuplestorestate *rows)
{
	weir_aggregate_take_batch(arg, rows, (WeirSpan) {false});
}

/* Takes in the rows that its source has. */
void
weir_aggregate_backfill(WeirAggregate *aggregate)
{
	weir_source_backfill(aggregate->source, take_rows, aggregate);
}
