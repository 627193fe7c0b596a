/*
 * aggregate.c
 *	  Continuous aggregates made ready to run.
 */
#include "postgres.h"

#include "aggregate.h"
#include "derived_define.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

/* What aggregates are looked for by: a relation, or a trigger of their source. */
typedef struct AggregateKey
{
	WeirAggregateLink link;
	Oid			relid;			/* of that link; with a trigger, the source */
	const char *trigger_name;	/* or NULL */
} AggregateKey;

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

static bool
matches(const WeirCompiled *compiled, const void *arg)
{
	const WeirAggregateRow *row = ((const WeirAggregate *) compiled)->row;
	const AggregateKey *key = arg;

	if (key->trigger_name == NULL)
		return linked(row, key->link) == key->relid;
	return row->source == key->relid && strcmp(row->trigger_name, key->trigger_name) == 0;
}

/* Compiles an aggregate. */
static WeirCompiled *
build(const void *arg)
{
	const AggregateKey *key = arg;
	WeirAggregateRow *row = key->trigger_name == NULL ? weir_catalog_load_aggregate(key->link, key->relid) :
		weir_catalog_aggregate_of_trigger(key->relid, key->trigger_name);
	WeirAggregate *aggregate;

	if (row == NULL)
		return NULL;
	aggregate = palloc0(sizeof(WeirAggregate));
	aggregate->row = row;
	aggregate->query = weir_aggregate_query_read(weir_define_query_of(row->query), row->source,
												 get_rel_name(row->view));
	aggregate->source = weir_source_load(row->source);
	aggregate->keys = weir_keys_init(aggregate->query->keys);
	aggregate->partials = weir_partial_init(aggregate->query->aggrefs);
	aggregate->base.name = aggregate->query->name;
	aggregate->plans.context = aggregate->key_plans.context = CurrentMemoryContext;
	return &aggregate->base;
}

static const WeirCompiledKind aggregates = {"continuous aggregate", matches, build};

/* Returns the aggregate with this relation in that role. */
WeirAggregate *
weir_aggregate_get(WeirAggregateLink link, Oid relid)
{
	AggregateKey key = {link, relid, NULL};

	AcceptInvalidationMessages();
	return (WeirAggregate *) weir_compiled_get(&aggregates, &key);
}

/* Returns the aggregate of a trigger. */
WeirAggregate *
weir_aggregate_of_trigger(Oid source, const char *trigger_name)
{
	AggregateKey key = {WEIR_AGGREGATE_VIEW, source, trigger_name};

	return (WeirAggregate *) weir_compiled_get(&aggregates, &key);
}

/* Lets an aggregate go. */
void
weir_aggregate_release(WeirAggregate *aggregate)
{
	weir_compiled_release(&aggregate->base);
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
