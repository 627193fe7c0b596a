/*
 * store_merge.c
 *	  Several runs of a store read as one, in order.
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "store_merge.h"

typedef struct Source
{
	WeirStoreCursor *cursor;
	const WeirStoreEntry *entry;
} Source;

struct WeirStoreMerge
{
	binaryheap *heap;			/* of Source, the least entry first */
	bool		one_bucket;		/* buckets are not compared */
	bool		begun;			/* the first source's entry was returned */
	int			nsources;
	Source		sources[FLEXIBLE_ARRAY_MEMBER];
};

/* The greatest comes first in a binaryheap: hence the other way round. */
static int
compare(Datum a, Datum b, void *arg)
{
	const WeirStoreEntry *left = ((Source *) DatumGetPointer(a))->entry;
	const WeirStoreEntry *right = ((Source *) DatumGetPointer(b))->entry;

	if (left->bucket != right->bucket && !*(bool *) arg)
		return left->bucket < right->bucket ? 1 : -1;
	if (left->hash != right->hash)
		return left->hash < right->hash ? 1 : -1;
	return 0;
}

/* Makes a merge. */
WeirStoreMerge *
weir_store_merge_begin(int n, bool one_bucket)
{
	WeirStoreMerge *merge = palloc0(offsetof(WeirStoreMerge, sources) + sizeof(Source) * Max(n, 1));

	merge->one_bucket = one_bucket;
	merge->heap = binaryheap_allocate(Max(n, 1), compare, &merge->one_bucket);
	return merge;
}

/* Adds a cursor. */
void
weir_store_merge_add(WeirStoreMerge *merge, WeirStoreCursor *cursor)
{
	Source	   *source = &merge->sources[merge->nsources++];

	source->cursor = cursor;
	source->entry = weir_store_cursor_next(cursor);
	if (source->entry != NULL)
		binaryheap_add_unordered(merge->heap, PointerGetDatum(source));
}

/* Moves the source whose entry was returned last to its next. */
static void
advance(WeirStoreMerge *merge)
{
	Source	   *source = (Source *) DatumGetPointer(binaryheap_first(merge->heap));

	source->entry = weir_store_cursor_next(source->cursor);
	if (source->entry != NULL)
		binaryheap_replace_first(merge->heap, PointerGetDatum(source));
	else
		(void) binaryheap_remove_first(merge->heap);
}

/* Returns the next entry. */
const WeirStoreEntry *
weir_store_merge_next(WeirStoreMerge *merge)
{
	if (!merge->begun)
		binaryheap_build(merge->heap);
	else if (!binaryheap_empty(merge->heap))
		advance(merge);
	merge->begun = true;
	if (binaryheap_empty(merge->heap))
		return NULL;
	return ((Source *) DatumGetPointer(binaryheap_first(merge->heap)))->entry;
}

/* Closes all cursors. */
void
weir_store_merge_end(WeirStoreMerge *merge)
{
	for (int i = 0; i < merge->nsources; i++)
		weir_store_cursor_close(merge->sources[i].cursor);
	binaryheap_free(merge->heap);
	pfree(merge);
}
