/*
 * dedup_list.c
 *	  Blocks of event ids that a process knows of, and how it stands with them.
 *
 *		         ┌──▶ distant ──▶ resident ──┐
 *		add ─────┤                          ├──▶ gone ──▶ unused
 *		         └──▶ and pending, as long as its writer has not ended
 *
 * A block has a place from which it does not move: entries of the set are
 * places.  So a place is used again only when the set was swept of it.
 */
#include "postgres.h"

#include "access/transam.h"
#include "dedup_list.h"
#include "utils/memutils.h"

/* Parts of the set that one call sweeps. */
#define SWEEP_PARTS 4

/* Makes a list empty. */
void
weir_dedup_list_init(WeirDedupList *list, MemoryContext context)
{
	memset(list, 0, sizeof(*list));
	list->context = context;
}

static void
add_place(WeirDedupList *list, WeirDedupPlaces *places, uint32 place)
{
	if (places->count == places->room)
	{
		uint32		room = Max(16, places->room * 2);

		places->items = places->items == NULL ?
			MemoryContextAllocHuge(list->context, sizeof(uint32) * room) :
			repalloc_huge(places->items, sizeof(uint32) * room);
		places->room = room;
	}
	places->items[places->count++] = place;
}

static void
remove_at(WeirDedupPlaces *places, uint32 i)
{
	places->items[i] = places->items[--places->count];
}

/* Makes room for one more block. */
static void
make_room(WeirDedupList *list)
{
	uint32		room = Max(64, list->room + list->room / 2);

	if (list->nblocks < list->room)
		return;
	list->blocks = list->blocks == NULL ?
		MemoryContextAllocHuge(list->context, sizeof(WeirDedupKnown) * room) :
		repalloc_huge(list->blocks, sizeof(WeirDedupKnown) * room);
	list->room = room;
}

/* Notes a block. */
void
weir_dedup_list_add(WeirDedupList *list, const WeirDedupRow *row)
{
	uint32		place = list->nblocks;

	if (list->unused.count > 0)
		place = list->unused.items[list->unused.count - 1];
	else
		make_room(list);
	list->blocks[place] = (WeirDedupKnown) {*row, false, false};
	if (TransactionIdIsValid(row->xid))
		add_place(list, &list->pending, place);
	add_place(list, &list->distant, place);
	if (place == list->nblocks)
		list->nblocks++;
	else
		list->unused.count--;
	list->distant_ids += row->count;
	list->last = Max(list->last, row->number);
}

/* Says that a distant block is in the set from now on. */
uint32
weir_dedup_list_take(WeirDedupList *list, uint32 i)
{
	uint32		place = list->distant.items[i];
	WeirDedupKnown *block = &list->blocks[place];

	remove_at(&list->distant, i);
	list->distant_ids -= block->row.count;
	block->resident = true;
	return place;
}

/* Takes a block off the list of distant ones. */
static void
leave_distant(WeirDedupList *list, uint32 place)
{
	uint32		i = 0;

	while (list->distant.items[i] != place)
		i++;
	remove_at(&list->distant, i);
	list->distant_ids -= list->blocks[place].row.count;
}

/* Says that a block's row is not there any more. */
void
weir_dedup_list_forget(WeirDedupList *list, uint32 place)
{
	WeirDedupKnown *block = &list->blocks[place];

	add_place(list, &list->gone, place);
	block->gone = true;
	if (!block->resident)
		leave_distant(list, place);
}

/* Finds out what has become of blocks whose writers had not ended. */
void
weir_dedup_list_settle(WeirDedupList *list)
{
	for (uint32 i = 0; i < list->pending.count;)
	{
		uint32		place = list->pending.items[i];
		WeirDedupKnown *block = &list->blocks[place];
		bool		rolled_back = !weir_dedup_table_settle(&block->row.xid);

		if (!rolled_back && TransactionIdIsValid(block->row.xid))
		{
			i++;
			continue;
		}
		remove_at(&list->pending, i);
		if (rolled_back && !block->gone)
			weir_dedup_list_forget(list, place);
	}
}

/* Is the block at a place gone? */
bool
weir_dedup_list_is_gone(void *list, uint32 place)
{
	return ((WeirDedupList *) list)->blocks[place].gone;
}

/* Takes entries of blocks that are gone out of the set. */
void
weir_dedup_list_sweep(WeirDedupList *list, WeirDedupSet *set)
{
	if (list->sweeping == 0)
	{
		list->swept = 0;
		list->sweeping = list->gone.count;
	}
	if (list->sweeping == 0)
		return;
	for (int i = 0; i < SWEEP_PARTS && list->swept < WEIR_DEDUP_SET_PARTS; i++)
		weir_dedup_set_sweep(set, list->swept++);
	if (list->swept < WEIR_DEDUP_SET_PARTS)
		return;
	for (uint32 i = 0; i < list->sweeping; i++)
		add_place(list, &list->unused, list->gone.items[i]);
	list->gone.count -= list->sweeping;
	memmove(list->gone.items, list->gone.items + list->sweeping, sizeof(uint32) * list->gone.count);
	list->sweeping = 0;
}

/* Returns how much memory is in use. */
Size
weir_dedup_list_bytes(const WeirDedupList *list)
{
	return sizeof(WeirDedupKnown) * (Size) list->room;
}
