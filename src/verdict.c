/*
 * verdict.c
 *	  The verdict log: offsets that were consumed and gave no row.
 *
 * What a batch has skipped of a partition is one row of the log, encoded as
 * pairs of (offsets not skipped, offsets skipped * 8 + why), from the row's
 * first_offset on, each number in groups of seven bits, the lowest first.  Two
 * bytes for each that is skipped alone, three for a thousand in a row.
 *
 * catalog_verdict.c has the table.
 */
#include "postgres.h"

#include "catalog_verdict.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "verdict.h"

/* Bits of the second number that say why. */
#define WHY_BITS 3

/* Starts an empty list. */
void
weir_verdict_init(WeirVerdicts *verdicts, MemoryContext context)
{
	memset(verdicts, 0, sizeof(*verdicts));
	verdicts->context = context;
}

/* Adds an offset. */
void
weir_verdict_add(WeirVerdicts *verdicts, int32 partition, int64 offset, WeirVerdict verdict)
{
	if (verdicts->count == verdicts->room)
	{
		Size		room = verdicts->room == 0 ? 64 : (Size) verdicts->room * 2;

		verdicts->items = verdicts->items == NULL ?
			MemoryContextAllocHuge(verdicts->context, room * sizeof(WeirSkipped)) :
			repalloc_huge(verdicts->items, room * sizeof(WeirSkipped));
		verdicts->room = (int) room;
	}
	verdicts->items[verdicts->count++] = (WeirSkipped) {partition, verdict, offset};
}

/* Orders by partition and offset. */
static int
compare_skipped(const void *a, const void *b)
{
	const WeirSkipped *left = a;
	const WeirSkipped *right = b;

	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	return 0;
}

/* Appends a number. */
static void
put_number(StringInfo bytes, uint64 number)
{
	while (number >= 0x80)
	{
		appendStringInfoCharMacro(bytes, (char) (number | 0x80));
		number >>= 7;
	}
	appendStringInfoCharMacro(bytes, (char) number);
}

/* Reads a number; false at the end. */
static bool
get_number(const uint8 **at, const uint8 *end, uint64 *number)
{
	*number = 0;
	for (int shift = 0; *at < end && shift < 64; shift += 7)
	{
		uint8		byte = *(*at)++;

		*number |= (uint64) (byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

/* Encodes the offsets of one partition. */
static bytea *
encode(const WeirSkipped *items, int n)
{
	int64		at = items[0].offset;
	StringInfoData bytes;

	initStringInfo(&bytes);
	appendStringInfoSpaces(&bytes, VARHDRSZ);
	for (int i = 0; i < n;)
	{
		int			run = 1;

		while (i + run < n && items[i + run].offset == items[i].offset + run &&
			   items[i + run].verdict == items[i].verdict)
			run++;
		put_number(&bytes, items[i].offset - at);
		put_number(&bytes, (uint64) run << WHY_BITS | items[i].verdict);
		at = items[i].offset + run;
		i += run;
	}
	SET_VARSIZE(bytes.data, bytes.len);
	return (bytea *) bytes.data;
}

/* Logs what a batch has skipped. */
void
weir_verdict_log(WeirVerdicts *verdicts, Oid stream, Oid chunk)
{
	WeirSkipped *items = verdicts->items;

	if (verdicts->count == 0)
		return;
	qsort(items, verdicts->count, sizeof(WeirSkipped), compare_skipped);
	for (int from = 0; from < verdicts->count;)
	{
		int			to = from + 1;

		while (to < verdicts->count && items[to].partition == items[from].partition)
			to++;
		weir_catalog_add_verdict(stream, chunk, items[from].partition, items[from].offset,
								 items[to - 1].offset, encode(items + from, to - from));
		from = to;
	}
}

/* Appends those offsets of a row that are within from .. to; returns how many there are then.  Without room it counts only. */
static int
decode(const WeirVerdictRow *row, int32 partition, int64 from, int64 to, WeirSkipped *skipped, int n)
{
	const uint8 *at = (const uint8 *) VARDATA(row->skipped);
	const uint8 *end = at + VARSIZE(row->skipped) - VARHDRSZ;
	int64		offset = row->first_offset;
	uint64		gap;
	uint64		run;

	to = Min(to, row->last_offset);
	while (get_number(&at, end, &gap) && get_number(&at, end, &run))
	{
		int64		first = offset + (int64) gap;
		int64		past = first + (int64) (run >> WHY_BITS);
		WeirVerdict verdict = run & ((1 << WHY_BITS) - 1);

		for (int64 o = Max(first, from); o < past && o <= to; o++, n++)
		{
			if (skipped != NULL)
				skipped[n] = (WeirSkipped) {partition, verdict, o};
		}
		offset = past;
	}
	return n;
}

/* Returns the offsets of a range that were skipped. */
WeirSkipped *
weir_verdict_load(Oid stream, int32 partition, int64 from, int64 to, int *n)
{
	List	   *rows = weir_catalog_load_verdicts(stream, partition, from, to);
	WeirSkipped *skipped = NULL;
	ListCell   *lc;

	*n = 0;
	foreach(lc, rows)
		*n = decode(lfirst(lc), partition, from, to, NULL, *n);
	if (*n > 0)
		skipped = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(WeirSkipped) * *n);
	*n = 0;
	if (skipped == NULL)
		return NULL;
	foreach(lc, rows)
		*n = decode(lfirst(lc), partition, from, to, skipped, *n);
	return skipped;
}
