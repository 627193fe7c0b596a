/*
 * upsert_collapse.c
 *	  The rows that a batch gives an upsert, reduced to the latest of each key.
 *
 * They are sorted by key, partition and offset.  So the rows of a key are next
 * to each other, among them those that one event gave twice, and the table is
 * written in the order of its key: for the cache's sake, and for that of
 * workers who would else wait for each other in a circle.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "upsert_collapse.h"
#include "upsert_query.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* How much memory a sort may take, in kilobytes. */
#define SORT_KB 65536

/* Returns the collation to sort a key by: any order does, and bytes compare fastest where equal ones are the same bytes. */
static Oid
sort_collation(Oid type, Oid collation)
{
	if ((type == TEXTOID || type == VARCHAROID || type == BPCHAROID) && OidIsValid(collation) &&
		get_collation_isdeterministic(collation))
		return C_COLLATION_OID;
	return collation;
}

/* Makes ready to compare values of a column. */
static void
init_order(SortSupport order, TupleDesc desc, AttrNumber column, Oid collation)
{
	memset(order, 0, sizeof(*order));
	order->ssup_cxt = CurrentMemoryContext;
	order->ssup_collation = collation;
	order->ssup_attno = column;
	PrepareSortSupportFromOrderingOp(lookup_type_cache(TupleDescAttr(desc, column - 1)->atttypid,
													   TYPECACHE_LT_OPR)->lt_opr, order);
}

/* Raises an error if values of a column have no order. */
static void
check_orderable(const WeirCollapser *collapser, AttrNumber column, const char *what)
{
	Form_pg_attribute att = TupleDescAttr(collapser->desc, column - 1);

	if (!OidIsValid(lookup_type_cache(att->atttypid, TYPECACHE_LT_OPR)->lt_opr))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("%s column \"%s\" of upsert \"%s\" is of type %s, which has no order",
						what, strncmp(NameStr(att->attname), "_weir_", 6) == 0 ? collapser->order_name : NameStr(att->attname),
						collapser->name, format_type_be(att->atttypid))));
}

/* Says by what to sort. */
static void
sort_by(WeirCollapser *collapser, int i, AttrNumber column, Oid collation)
{
	collapser->sort_columns[i] = column;
	collapser->sort_operators[i] = lookup_type_cache(TupleDescAttr(collapser->desc, column - 1)->atttypid,
													 TYPECACHE_LT_OPR)->lt_opr;
	collapser->sort_collations[i] = collation;
	collapser->nulls_first[i] = false;
}

/* Returns a column by its name. */
static AttrNumber
column_number(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i + 1;
	}
	elog(ERROR, "query has no column \"%s\"", name);
}

/* Finds the keys. */
static void
find_keys(WeirCollapser *collapser, List *key, const Oid *collations)
{
	collapser->nkeys = list_length(key);
	collapser->keys = palloc(sizeof(AttrNumber) * collapser->nkeys);
	collapser->key_order = palloc(sizeof(SortSupportData) * collapser->nkeys);
	collapser->sort_columns = palloc(sizeof(AttrNumber) * (collapser->nkeys + 2));
	collapser->sort_operators = palloc(sizeof(Oid) * (collapser->nkeys + 2));
	collapser->sort_collations = palloc(sizeof(Oid) * (collapser->nkeys + 2));
	collapser->nulls_first = palloc(sizeof(bool) * (collapser->nkeys + 2));
	for (int i = 0; i < collapser->nkeys; i++)
	{
		AttrNumber	column = column_number(collapser->desc, strVal(list_nth(key, i)));
		Oid			collation = sort_collation(TupleDescAttr(collapser->desc, column - 1)->atttypid, collations[i]);

		check_orderable(collapser, column, "key");
		collapser->keys[i] = column;
		init_order(&collapser->key_order[i], collapser->desc, column, collation);
		sort_by(collapser, i, column, collation);
	}
}

/* Makes ready for rows. */
WeirCollapser *
weir_collapser_create(const char *name, TupleDesc desc, List *key, const Oid *collations, const char *order_name, int64 ttl)
{
	WeirCollapser *collapser = palloc0(sizeof(WeirCollapser));
	AttrNumber	order;

	collapser->name = name;
	collapser->desc = desc;
	collapser->order_name = order_name;
	collapser->added = desc->natts - WEIR_UPSERT_COLUMNS + 1;
	collapser->ttl = ttl;
	find_keys(collapser, key, collations);
	order = collapser->added + WEIR_UPSERT_ORDER;
	check_orderable(collapser, order, "order_by");
	init_order(&collapser->order, desc, order, TupleDescAttr(desc, order - 1)->attcollation);
	sort_by(collapser, collapser->nkeys, collapser->added + WEIR_UPSERT_PARTITION, InvalidOid);
	sort_by(collapser, collapser->nkeys + 1, collapser->added + WEIR_UPSERT_OFFSET, InvalidOid);
	return collapser;
}

/* Raises the error of an event that has no value where one is needed. */
static void
refuse_null(const WeirCollapser *collapser, const char *what, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("%s column \"%s\" of upsert \"%s\" is null", what, column, collapser->name),
			 err_generic_string(PG_DIAG_COLUMN_NAME, column)));
}

static void
check_nulls(const WeirCollapser *collapser, TupleTableSlot *slot)
{
	for (int i = 0; i < collapser->nkeys; i++)
	{
		if (slot->tts_isnull[collapser->keys[i] - 1])
			refuse_null(collapser, "key", NameStr(TupleDescAttr(collapser->desc, collapser->keys[i] - 1)->attname));
	}
	if (slot->tts_isnull[collapser->added - 1 + WEIR_UPSERT_ORDER])
		refuse_null(collapser, "order_by", collapser->order_name);
}

/* Does an event come too late?  Notes that. */
static bool
is_late(WeirCollapse *collapse, TupleTableSlot *slot)
{
	const WeirCollapser *collapser = collapse->collapser;
	const Datum *added = slot->tts_values + collapser->added - 1;
	TimestampTz event_time;
	TimestampTz until;
	WeirLateUpsert *late;
	MemoryContext old;

	if (collapser->ttl < 0)
		return false;
	event_time = DatumGetTimestampTz(added[WEIR_UPSERT_ORDER]);
	if (pg_add_s64_overflow(event_time, collapser->ttl, &until) ||
		until > DatumGetTimestampTz(added[WEIR_UPSERT_WATERMARK]))
		return false;
	old = MemoryContextSwitchTo(collapse->context);
	late = palloc(sizeof(WeirLateUpsert));
	*late = (WeirLateUpsert) {event_time, DatumGetInt32(added[WEIR_UPSERT_PARTITION]), DatumGetInt64(added[WEIR_UPSERT_OFFSET])};
	collapse->late = lappend(collapse->late, late);
	MemoryContextSwitchTo(old);
	return true;
}

/* Takes a row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	WeirCollapse *collapse = (WeirCollapse *) self;

	slot_getallattrs(slot);
	check_nulls(collapse->collapser, slot);
	if (!is_late(collapse, slot))
		tuplesort_puttupleslot(collapse->sort, slot);
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

/* Begins with a batch. */
WeirCollapse *
weir_collapse_begin(const WeirCollapser *collapser)
{
	WeirCollapse *collapse = palloc0(sizeof(WeirCollapse));

	collapse->pub.receiveSlot = receive_row;
	collapse->pub.rStartup = start_receiving;
	collapse->pub.rShutdown = stop_receiving;
	collapse->pub.rDestroy = stop_receiving;
	collapse->pub.mydest = DestNone;
	collapse->collapser = collapser;
	collapse->context = CurrentMemoryContext;
	collapse->sort = tuplesort_begin_heap(collapser->desc, collapser->nkeys + 2, collapser->sort_columns,
										  collapser->sort_operators, collapser->sort_collations, collapser->nulls_first,
										  Max(work_mem, SORT_KB), NULL, TUPLESORT_NONE);
	return collapse;
}

static bool
same_key(const WeirCollapser *collapser, TupleTableSlot *a, TupleTableSlot *b)
{
	for (int i = 0; i < collapser->nkeys; i++)
	{
		AttrNumber	column = collapser->keys[i];

		if (ApplySortComparator(a->tts_values[column - 1], false, b->tts_values[column - 1], false,
								(SortSupport) &collapser->key_order[i]) != 0)
			return false;
	}
	return true;
}

/* Is a row, which comes after another one in the sort, of the same event? */
static bool
same_event(const WeirCollapser *collapser, TupleTableSlot *a, TupleTableSlot *b)
{
	const Datum *left = a->tts_values + collapser->added - 1;
	const Datum *right = b->tts_values + collapser->added - 1;

	return DatumGetInt32(left[WEIR_UPSERT_PARTITION]) == DatumGetInt32(right[WEIR_UPSERT_PARTITION]) &&
		DatumGetInt64(left[WEIR_UPSERT_OFFSET]) == DatumGetInt64(right[WEIR_UPSERT_OFFSET]);
}

/* Does a row, which comes after another one in the sort, win over it? */
static bool
wins(const WeirCollapser *collapser, TupleTableSlot *later, TupleTableSlot *earlier)
{
	int			order = collapser->added - 1 + WEIR_UPSERT_ORDER;

	return ApplySortComparator(later->tts_values[order], false, earlier->tts_values[order], false,
							   (SortSupport) &collapser->order) >= 0;
}

/* Adds the latest row of a key to those that are left. */
static void
keep(WeirCollapse *collapse, Tuplestorestate *latest, TupleTableSlot *slot)
{
	collapse->deletes = collapse->deletes ||
		DatumGetBool(slot->tts_values[collapse->collapser->added - 1 + WEIR_UPSERT_DELETED]);
	collapse->rows++;
	tuplestore_puttupleslot(latest, slot);
}

static void
swap(TupleTableSlot **a, TupleTableSlot **b)
{
	TupleTableSlot *slot = *a;

	*a = *b;
	*b = slot;
}

/* Goes through the sorted rows: slots hold the best of the key so far, the last one, and the next. */
static void
pick_latest(WeirCollapse *collapse, Tuplestorestate *latest, TupleTableSlot *best, TupleTableSlot *last, TupleTableSlot *next)
{
	const WeirCollapser *collapser = collapse->collapser;

	while (tuplesort_gettupleslot(collapse->sort, true, true, next, NULL))
	{
		slot_getallattrs(next);
		if (!TTS_EMPTY(best) && same_key(collapser, best, next))
		{
			if (same_event(collapser, TTS_EMPTY(last) ? best : last, next))
				ereport(ERROR,
						(errcode(ERRCODE_CARDINALITY_VIOLATION),
						 errmsg("one event gives upsert \"%s\" the same key twice", collapser->name),
						 errhint("Make the key longer, or the query give one row.")));
			if (wins(collapser, next, best))
			{
				swap(&best, &next);
				ExecClearTuple(last);
			}
			else
				swap(&last, &next);
			continue;
		}
		if (!TTS_EMPTY(best))
			keep(collapse, latest, best);
		swap(&best, &next);
		ExecClearTuple(last);
	}
	if (!TTS_EMPTY(best))
		keep(collapse, latest, best);
}

/* Returns the latest row of each key. */
Tuplestorestate *
weir_collapse_end(WeirCollapse *collapse)
{
	Tuplestorestate *latest = tuplestore_begin_heap(false, false, SORT_KB);
	TupleTableSlot *slots[3];

	tuplesort_performsort(collapse->sort);
	for (int i = 0; i < lengthof(slots); i++)
		slots[i] = MakeSingleTupleTableSlot(collapse->collapser->desc, &TTSOpsMinimalTuple);
	pick_latest(collapse, latest, slots[0], slots[1], slots[2]);
	for (int i = 0; i < lengthof(slots); i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	tuplesort_end(collapse->sort);
	return latest;
}
