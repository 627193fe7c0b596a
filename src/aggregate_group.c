/*
 * aggregate_group.c
 *	  Groups put together from the runs of a store.
 *
 * First the entries of some hundred groups are gathered, then their states are
 * combined under one subtransaction, which costs nothing as nothing is written
 * in it.  Should that raise an error of data, each of these groups is combined
 * under one of its own, and the one at fault keeps the error for its states.
 */
#include "postgres.h"

#include "aggregate_group.h"
#include "errors.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Makes ready to gather groups. */
void
weir_grouper_init(WeirGrouper *grouper, WeirStoreMerge *merge, const WeirKeySet *keys,
				  WeirPartialSet *partials, int nsubs, bool one_bucket)
{
	memset(grouper, 0, sizeof(*grouper));
	grouper->merge = merge;
	grouper->keys = keys;
	grouper->partials = partials;
	grouper->nsubs = nsubs;
	grouper->one_bucket = one_bucket;
	grouper->memory = AllocSetContextCreate(CurrentMemoryContext, "pg_weir groups", ALLOCSET_DEFAULT_SIZES);
}

/* Copies bytes. */
static WeirUnpack
copy(WeirUnpack bytes)
{
	Size		len = bytes.end - bytes.next;
	char	   *data = palloc(len);

	memcpy(data, bytes.next, len);
	return (WeirUnpack) {data, data + len};
}

/* Does an entry belong to a group?  Spans of time are put together later. */
static bool
belongs(const WeirGrouper *grouper, const WeirStoreEntry *entry, const WeirGroup *group)
{
	if (grouper->sessions)
		return false;
	for (int i = 0; i < grouper->nsubs; i++)
	{
		if (entry->sub[i] != group->sub[i])
			return false;
	}
	return weir_keys_equal(grouper->keys, entry->key, group->key);
}

/* Adds an entry to one of the last nlast groups, which have its bucket and hash, or to a new one. */
static List *
add_entry(WeirGrouper *grouper, const WeirStoreEntry *entry, List *groups, int nlast)
{
	WeirGroup  *group = NULL;
	WeirUnpack *value = palloc(sizeof(WeirUnpack));

	for (int i = list_length(groups) - nlast; i < list_length(groups) && group == NULL; i++)
	{
		if (belongs(grouper, entry, list_nth(groups, i)))
			group = list_nth(groups, i);
	}
	if (group == NULL)
	{
		group = palloc0(sizeof(WeirGroup));
		group->bucket = entry->bucket;
		group->hash = entry->hash;
		memcpy(group->sub, entry->sub, sizeof(group->sub));
		group->key = copy(entry->key);
		groups = lappend(groups, group);
	}
	*value = copy(entry->value);
	group->values = lappend(group->values, value);
	return groups;
}

/* Orders groups by the beginning of their spans. */
static int
compare_spans(const ListCell *a, const ListCell *b)
{
	const WeirGroup *left = lfirst(a);
	const WeirGroup *right = lfirst(b);

	if (left->sub[0] != right->sub[0])
		return left->sub[0] < right->sub[0] ? -1 : 1;
	return left->sub[1] < right->sub[1] ? -1 : left->sub[1] > right->sub[1];
}

/* Appends groups of one key with spans that touch put together: [0, 30) and [30, 60) do. */
static List *
join_spans(List *groups, List *of_key)
{
	WeirGroup  *last = NULL;
	ListCell   *cell;

	list_sort(of_key, compare_spans);
	foreach(cell, of_key)
	{
		WeirGroup  *group = lfirst(cell);

		if (last != NULL && group->sub[0] <= last->sub[1])
		{
			last->sub[1] = Max(last->sub[1], group->sub[1]);
			last->values = list_concat(last->values, group->values);
			continue;
		}
		last = group;
		groups = lappend(groups, group);
	}
	return groups;
}

/* Puts the spans together among the groups from this position on, which have one hash. */
static List *
join_sessions(WeirGrouper *grouper, List *groups, int from)
{
	List	   *rest = list_copy_tail(groups, from);

	groups = list_truncate(groups, from);
	while (rest != NIL)
	{
		WeirUnpack	key = ((WeirGroup *) linitial(rest))->key;
		List	   *of_key = NIL;
		List	   *others = NIL;
		ListCell   *cell;

		foreach(cell, rest)
		{
			if (weir_keys_equal(grouper->keys, ((WeirGroup *) lfirst(cell))->key, key))
				of_key = lappend(of_key, lfirst(cell));
			else
				others = lappend(others, lfirst(cell));
		}
		groups = join_spans(groups, of_key);
		rest = others;
	}
	return groups;
}

/* Gathers all entries of the next bucket and hash. */
static List *
gather(WeirGrouper *grouper, List *groups)
{
	int64		bucket = grouper->next->bucket;
	uint32		hash = grouper->next->hash;
	int			before = list_length(groups);

	do
	{
		groups = add_entry(grouper, grouper->next, groups, list_length(groups) - before);
		grouper->next = weir_store_merge_next(grouper->merge);
	} while (grouper->next != NULL && grouper->next->hash == hash &&
			 (grouper->one_bucket || grouper->next->bucket == bucket));
	return grouper->sessions ? join_sessions(grouper, groups, before) : groups;
}

/* Combines what was gathered for a group. */
static void
combine_group(WeirGrouper *grouper, WeirGroup *group)
{
	StringInfoData bytes;

	if (list_length(group->values) == 1)
	{
		group->value = *(WeirUnpack *) linitial(group->values);
		return;
	}
	initStringInfo(&bytes);
	weir_states_combine(grouper->partials, group->values, &bytes);
	group->value = (WeirUnpack) {bytes.data, bytes.data + bytes.len};
}

/* Groups to combine. */
typedef struct Combining
{
	WeirGrouper *grouper;
	List	   *groups;
} Combining;

static void
combine_groups(void *arg)
{
	Combining  *combining = arg;
	ListCell   *cell;

	foreach(cell, combining->groups)
		combine_group(combining->grouper, lfirst(cell));
}

/* Combines groups, each by itself if they fail together. */
static void
combine(WeirGrouper *grouper, List *groups)
{
	Combining	combining = {grouper, groups};
	ErrorData  *error = weir_try(combine_groups, &combining);
	ListCell   *cell;
	StringInfoData bytes;

	if (error == NULL)
		return;
	if (list_length(groups) == 1)
	{
		WeirGroup  *group = linitial(groups);

		initStringInfo(&bytes);
		weir_states_pack_error(error->sqlerrcode, error->message, &bytes);
		group->value = (WeirUnpack) {bytes.data, bytes.data + bytes.len};
		return;
	}
	foreach(cell, groups)
		combine(grouper, list_make1(lfirst(cell)));
}

/* Is there anything to combine? */
static bool
needs_combining(List *groups)
{
	ListCell   *cell;

	foreach(cell, groups)
	{
		WeirGroup  *group = lfirst(cell);

		if (list_length(group->values) > 1)
			return true;
		group->value = *(WeirUnpack *) linitial(group->values);
	}
	return false;
}

/* Returns the next groups. */
List *
weir_grouper_next(WeirGrouper *grouper, int about)
{
	MemoryContext old;
	List	   *groups = NIL;

	CHECK_FOR_INTERRUPTS();
	if (!grouper->begun)
		grouper->next = weir_store_merge_next(grouper->merge);
	grouper->begun = true;
	MemoryContextReset(grouper->memory);
	old = MemoryContextSwitchTo(grouper->memory);
	while (grouper->next != NULL && list_length(groups) < about)
		groups = gather(grouper, groups);
	if (needs_combining(groups))
		combine(grouper, groups);
	MemoryContextSwitchTo(old);
	return groups;
}

/* Frees memory and merge. */
void
weir_grouper_end(WeirGrouper *grouper)
{
	weir_store_merge_end(grouper->merge);
	MemoryContextDelete(grouper->memory);
}
