/*
 * aggregate.c
 *	  Continuous aggregates made ready to run, and kept so from batch to batch.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "aggregate.h"
#include "catalog.h"
#include "rewrite/rewriteHandler.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Those in use or for use, of this session. */
static List *aggregates = NIL;

static void
invalidate_relation(Datum arg, Oid relid)
{
	ListCell   *cell;

	/* any table that a query reads may be the one: plans are cheap beside missing one */
	foreach(cell, aggregates)
		((WeirAggregate *) lfirst(cell))->valid = false;
}

static void
invalidate_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate_relation(arg, InvalidOid);
}

/* Nobody uses any of them when a transaction is over, however it ended. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	foreach(cell, aggregates)
		((WeirAggregate *) lfirst(cell))->busy = 0;
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, invalidate_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, invalidate_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, invalidate_syscache, (Datum) 0);
	RegisterXactCallback(end_of_transaction, NULL);
	registered = true;
}

/* Returns the columns of a stream that say where and when an event was. */
WeirEventColumns
weir_aggregate_columns(Oid relid)
{
	WeirStream *stream = weir_catalog_load_stream(relid, false);
	WeirEventColumns columns;

	columns.kafka_time = get_attnum(relid, "_timestamp");
	columns.event_time = stream->event_time == NULL ? columns.kafka_time : get_attnum(relid, stream->event_time);
	columns.watermark = get_attnum(relid, "_watermark");
	columns.partition = get_attnum(relid, "_partition");
	columns.offset = get_attnum(relid, "_offset");
	return columns;
}

/* Compiles an aggregate in a context of its own. */
static WeirAggregate *
build(WeirAggregateRow *row, MemoryContext context)
{
	WeirAggregate *aggregate = palloc0(sizeof(WeirAggregate));
	Relation	view = table_open(row->query, AccessShareLock);

	aggregate->row = row;
	aggregate->context = context;
	aggregate->query = weir_aggregate_query_read(copyObject(get_view_query(view)), row->stream,
												 get_rel_name(row->view));
	table_close(view, NoLock);
	aggregate->columns = weir_aggregate_columns(row->stream);
	aggregate->keys = weir_keys_init(aggregate->query->keys);
	aggregate->partials = weir_partial_init(aggregate->query->aggrefs);
	aggregate->valid = true;
	return aggregate;
}

/* Forgets those that are out of date and that nobody uses. */
static void
forget_stale(void)
{
	ListCell   *cell;

	foreach(cell, aggregates)
	{
		WeirAggregate *aggregate = lfirst(cell);

		if (aggregate->valid || aggregate->busy > 0)
			continue;
		aggregates = foreach_delete_current(aggregates, cell);
		MemoryContextDelete(aggregate->context);
	}
}

/* Makes an aggregate ready from its row, which is read into context; NULL if there is none. */
static WeirAggregate *
keep(WeirAggregateRow *row, MemoryContext context, MemoryContext old)
{
	WeirAggregate *aggregate;

	if (row == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return NULL;
	}
	aggregate = build(row, context);
	MemoryContextSwitchTo(CacheMemoryContext);
	aggregates = lappend(aggregates, aggregate);
	MemoryContextSetParent(context, CacheMemoryContext);
	MemoryContextSwitchTo(old);
	aggregate->busy++;
	return aggregate;
}

static Oid
linked(const WeirAggregateRow *row, WeirAggregateLink link)
{
	switch (link)
	{
		case WEIR_AGGREGATE_STATES:
			return row->states;
		case WEIR_AGGREGATE_QUERY:
			return row->query;
		default:
			return row->view;
	}
}

/* Returns the aggregate with this relation in that role. */
WeirAggregate *
weir_aggregate_get(WeirAggregateLink link, Oid relid)
{
	ListCell   *cell;
	MemoryContext context;
	MemoryContext old;

	register_callbacks();
	AcceptInvalidationMessages();
	forget_stale();
	foreach(cell, aggregates)
	{
		WeirAggregate *aggregate = lfirst(cell);

		if (aggregate->valid && linked(aggregate->row, link) == relid)
		{
			aggregate->busy++;
			return aggregate;
		}
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir aggregate", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	return keep(weir_catalog_load_aggregate(link, relid), context, old);
}

/* Returns the aggregate of a trigger. */
WeirAggregate *
weir_aggregate_of_trigger(Oid stream, const char *trigger_name)
{
	ListCell   *cell;
	MemoryContext context;
	MemoryContext old;

	register_callbacks();
	forget_stale();
	foreach(cell, aggregates)
	{
		WeirAggregate *aggregate = lfirst(cell);

		if (aggregate->valid && aggregate->row->stream == stream &&
			strcmp(aggregate->row->trigger_name, trigger_name) == 0)
		{
			aggregate->busy++;
			return aggregate;
		}
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir aggregate", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	return keep(weir_catalog_aggregate_of_trigger(stream, trigger_name), context, old);
}

/* Lets an aggregate go. */
void
weir_aggregate_release(WeirAggregate *aggregate)
{
	aggregate->busy--;
}

/* How many numbers of their own the entries of its store have. */
int
weir_aggregate_subs(const WeirAggregate *aggregate)
{
	switch (aggregate->row->window.kind)
	{
		case WEIR_WINDOW_HOP:
			return 1;
		case WEIR_WINDOW_SESSION:
			return 2;
		default:
			return 0;
	}
}

/* Is all that an entry says about windows that are closed? */
bool
weir_aggregate_is_over(const WeirAggregate *aggregate, const WeirStoreEntry *entry, TimestampTz closed, bool whole)
{
	const WeirWindow *window = &aggregate->row->window;
	TimestampTz first,
				last,
				end;

	switch (window->kind)
	{
		case WEIR_WINDOW_TUMBLE:
			(void) weir_window_tumble(window, entry->bucket, &end);
			return weir_window_late(end, aggregate->row->lateness, closed);
		case WEIR_WINDOW_HOP:
			if (!weir_window_hops(window, entry->bucket, &first, &last))
				return true;
			return weir_window_late(weir_window_add(last, window->size), aggregate->row->lateness, closed);
		case WEIR_WINDOW_SESSION:
			return whole && weir_window_late(entry->sub[1], aggregate->row->lateness, closed);
		default:
			return false;
	}
}
