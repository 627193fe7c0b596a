/*
 * aggregate_verify.c
 *	  A continuous aggregate's rows compared with what its query gives over
 *	  the staged rows.
 *
 * Rows of both sides go into one sort, by window and hash of the group, and
 * come out next to each other.  Left out are windows that staging does not
 * cover, those past retention, and groups that are known to raise an error:
 * the query would give none of its rows because of them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "aggregate_recompute.h"
#include "aggregate_same.h"
#include "aggregate_verify.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

/* Columns of what is sorted; then come those of the user's query. */
enum
{
	S_START, S_END, S_HASH, S_SIDE, S_KEY, S_FIRST
};

/* The sides. */
#define MAINTAINED 0
#define RECOMPUTED 1

static const char *const sides[] = {"maintained", "recomputed"};

/* Columns of the query for the maintained side; then come those of the user's. */
enum
{
	M_START, M_END, M_KEY, M_ERROR, M_FIRST
};

typedef struct Verify
{
	WeirAggregate *aggregate;
	TimestampTz covered;		/* windows start after it */
	TimestampTz retained;		/* and end after it */
	TupleDesc	desc;			/* of what is sorted */
	int			ncolumns;
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	WeirRecompute *recompute;
	WeirBadGroups	faults;
	int			room;			/* for faults */
	MemoryContext row;
	WeirDifference difference;
	void	   *arg;
	SPIPlanPtr	to_jsonb;
} Verify;

/* A row out of the sort. */
typedef struct Row
{
	Datum	   *values;
	bool	   *nulls;
	bool		matched;
} Row;

/* Receives the rows of one side. */
typedef struct SideReceiver
{
	DestReceiver pub;
	Verify	   *verify;
	int			side;
} SideReceiver;

/* Is a window to be compared? */
static bool
is_in(const Verify *verify, TimestampTz start, TimestampTz end)
{
	return verify->aggregate->row->window.kind == WEIR_WINDOW_NONE ||
		(start > verify->covered && end > verify->retained);
}

/* Puts a row into the sort. */
static void
put(Verify *verify, int side, TimestampTz start, TimestampTz end, uint32 hash, Datum key)
{
	TupleTableSlot *slot = verify->slot;

	slot->tts_values[S_START] = TimestampTzGetDatum(start);
	slot->tts_values[S_END] = TimestampTzGetDatum(end);
	slot->tts_values[S_HASH] = Int64GetDatum(hash);
	slot->tts_values[S_SIDE] = Int32GetDatum(side);
	slot->tts_values[S_KEY] = key;
	memset(slot->tts_isnull, false, sizeof(bool) * S_FIRST);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(verify->sort, slot);
}

static void
put_column(Verify *verify, int column, Datum value, bool isnull)
{
	verify->slot->tts_values[S_FIRST + column] = value;
	verify->slot->tts_isnull[S_FIRST + column] = isnull;
}

/* Notes a group at fault; its events are left out. */
static void
add_fault(Verify *verify, TimestampTz start, TimestampTz end, uint32 hash, WeirUnpack key)
{
	MemoryContext old = MemoryContextSwitchTo(verify->row->parent);
	Size		len = key.end - key.next;
	char	   *bytes = palloc(Max(len, 1));

	if (verify->faults.n == verify->room)
	{
		verify->room = Max(16, verify->room * 2);
		verify->faults.faults = verify->faults.n == 0 ? palloc(sizeof(WeirBadGroup) * verify->room) :
			repalloc_huge(verify->faults.faults, sizeof(WeirBadGroup) * verify->room);
	}
	memcpy(bytes, key.next, len);
	verify->faults.faults[verify->faults.n++] = (WeirBadGroup) {start, end, hash, {bytes, bytes + len}};
	MemoryContextSwitchTo(old);
}

/* Returns the hash of packed keys. */
static uint32
hash_of(const WeirKeySet *keys, WeirUnpack key)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(keys->n, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(keys->n, 1));
	StringInfoData bytes;

	initStringInfo(&bytes);
	weir_keys_unpack(keys, key, values, nulls);
	return weir_keys_pack(keys, values, nulls, &bytes);
}

/* Takes a row of the maintained side. */
static void
take_maintained(Verify *verify, const Datum *values, const bool *nulls)
{
	TimestampTz start = nulls[M_START] ? 0 : DatumGetTimestampTz(values[M_START]);
	TimestampTz end = nulls[M_END] ? 0 : DatumGetTimestampTz(values[M_END]);
	bytea	   *bytes;
	WeirUnpack	key;
	uint32		hash;

	if (!is_in(verify, start, end))
		return;
	bytes = DatumGetByteaPP(values[M_KEY]);
	key = (WeirUnpack) {VARDATA_ANY(bytes), VARDATA_ANY(bytes) + VARSIZE_ANY_EXHDR(bytes)};
	hash = hash_of(verify->aggregate->keys, key);
	if (!nulls[M_ERROR])
	{
		add_fault(verify, start, end, hash, key);
		return;
	}
	ExecClearTuple(verify->slot);
	for (int i = 0; i < verify->ncolumns; i++)
		put_column(verify, i, values[M_FIRST + i], nulls[M_FIRST + i]);
	put(verify, MAINTAINED, start, end, hash, PointerGetDatum(bytes));
}

/* Takes a row of the recomputed side. */
static void
take_recomputed(Verify *verify, const Datum *values, const bool *nulls)
{
	const WeirRecompute *recompute = verify->recompute;
	const WeirWindow *window = &verify->aggregate->row->window;
	const WeirKeySet *keys = verify->aggregate->keys;
	Datum	   *key_values = palloc(sizeof(Datum) * Max(keys->n, 1));
	bool	   *key_nulls = palloc(sizeof(bool) * Max(keys->n, 1));
	TimestampTz start = recompute->window_start == 0 ? 0 : DatumGetTimestampTz(values[recompute->window_start - 1]);
	TimestampTz end = recompute->window_end == 0 ? 0 : DatumGetTimestampTz(values[recompute->window_end - 1]);
	StringInfoData bytes;
	uint32		hash;

	if (window->kind == WEIR_WINDOW_SESSION)
		end = weir_window_add(end, window->gap);
	/* without GROUP BY there is a row even of no events: those of a group at fault are left out */
	if (!is_in(verify, start, end) || (verify->faults.n > 0 && DatumGetInt64(values[recompute->count - 1]) == 0))
		return;
	for (int i = 0; i < keys->n; i++)
	{
		key_values[i] = values[list_nth_int(recompute->keys, i) - 1];
		key_nulls[i] = nulls[list_nth_int(recompute->keys, i) - 1];
	}
	initStringInfo(&bytes);
	hash = weir_keys_pack(keys, key_values, key_nulls, &bytes);
	ExecClearTuple(verify->slot);
	for (int i = 0; i < verify->ncolumns; i++)
	{
		int			column = list_nth_int(recompute->columns, i) - 1;

		put_column(verify, i, values[column], nulls[column]);
	}
	put(verify, RECOMPUTED, start, end, hash, PointerGetDatum(cstring_to_text_with_len(bytes.data, bytes.len)));
}

/* Takes a row of either. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	SideReceiver *receiver = (SideReceiver *) self;
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	MemoryContextReset(receiver->verify->row);
	old = MemoryContextSwitchTo(receiver->verify->row);
	if (receiver->side == MAINTAINED)
		take_maintained(receiver->verify, slot->tts_values, slot->tts_isnull);
	else
		take_recomputed(receiver->verify, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
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

/* Runs a query for one side. */
static void
run_side(Verify *verify, Query *query, int side)
{
	SideReceiver receiver = {{receive_row, start_receiving, stop_receiving, stop_receiving, DestNone}, verify, side};
	PlannedStmt *plan;
	QueryDesc  *desc;

	AcquireRewriteLocks(query, true, false);
	plan = planner(linitial_node(Query, QueryRewrite(query)), NULL, CURSOR_OPT_PARALLEL_OK, NULL);
	desc = weir_create_query_desc(plan, GetActiveSnapshot(), &receiver.pub, NULL);
	ExecutorStart(desc, 0);
	weir_executor_run(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Returns the query for the maintained side. */
static Query *
maintained_query(const WeirAggregate *aggregate)
{
	const WeirAggregateRow *row = aggregate->row;
	StringInfoData columns;
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, aggregate->query->query->targetList)
	{
		if (!((TargetEntry *) lfirst(cell))->resjunk)
			appendStringInfo(&columns, ", %s", quote_identifier(((TargetEntry *) lfirst(cell))->resname));
	}
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT window_start, window_end, _key, _error%s FROM %s WHERE _having IS NOT FALSE",
					 columns.data, qualified_name(row->finish));
	if (OidIsValid(row->results))
		appendStringInfo(&sql, " UNION ALL SELECT window_start, window_end, _key, _error%s FROM %s WHERE _having IS NOT FALSE",
						 columns.data, qualified_name(row->results));
	return parse_analyze_fixedparams(linitial_node(RawStmt, raw_parser(sql.data, RAW_PARSE_DEFAULT)),
									 sql.data, NULL, 0, NULL);
}

static int
compare_faults(const void *a, const void *b)
{
	const WeirBadGroup *left = a;
	const WeirBadGroup *right = b;

	return left->hash < right->hash ? -1 : left->hash > right->hash;
}

/* Runs the query over staging. */
static void
recompute(Verify *verify)
{
	const WeirBadGroups *before;

	verify->faults.aggregate = verify->aggregate;
	if (verify->faults.n > 1)
		qsort(verify->faults.faults, verify->faults.n, sizeof(WeirBadGroup), compare_faults);
	verify->recompute = weir_recompute_make(verify->aggregate, verify->faults.n > 0);
	before = weir_recompute_leave_out(&verify->faults);
	PG_TRY();
	{
		run_side(verify, verify->recompute->query, RECOMPUTED);
	}
	PG_FINALLY();
	{
		(void) weir_recompute_leave_out(before);
	}
	PG_END_TRY();
}

/* Says what is to be sorted. */
static TupleDesc
sorted_desc(const WeirAggregate *aggregate)
{
	List	   *targets = aggregate->query->query->targetList;
	TupleDesc	desc;
	ListCell   *cell;
	int			n = S_FIRST;

	foreach(cell, targets)
		n += ((TargetEntry *) lfirst(cell))->resjunk ? 0 : 1;
	desc = CreateTemplateTupleDesc(n);
	TupleDescInitEntry(desc, S_START + 1, "window_start", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, S_END + 1, "window_end", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, S_HASH + 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(desc, S_SIDE + 1, "side", INT4OID, -1, 0);
	TupleDescInitEntry(desc, S_KEY + 1, "key", BYTEAOID, -1, 0);
	n = S_FIRST;
	foreach(cell, targets)
	{
		TargetEntry *entry = lfirst(cell);

		if (entry->resjunk)
			continue;
		TupleDescInitEntry(desc, ++n, entry->resname, exprType((Node *) entry->expr), exprTypmod((Node *) entry->expr), 0);
		TupleDescInitEntryCollation(desc, n, exprCollation((Node *) entry->expr));
	}
	return desc;
}

/* Begins the sort. */
static void
begin_sort(Verify *verify)
{
	AttrNumber	columns[] = {S_START + 1, S_END + 1, S_HASH + 1, S_SIDE + 1};
	Oid			operators[lengthof(columns)];
	Oid			collations[lengthof(columns)] = {InvalidOid};
	bool		nulls_first[lengthof(columns)] = {false};

	verify->desc = sorted_desc(verify->aggregate);
	for (int i = 0; i < lengthof(columns); i++)
		operators[i] = lookup_type_cache(TupleDescAttr(verify->desc, columns[i] - 1)->atttypid, TYPECACHE_LT_OPR)->lt_opr;
	verify->ncolumns = verify->desc->natts - S_FIRST;
	verify->slot = MakeSingleTupleTableSlot(verify->desc, &TTSOpsVirtual);
	verify->sort = tuplesort_begin_heap(verify->desc, lengthof(columns), columns, operators, collations, nulls_first,
										work_mem, NULL, TUPLESORT_NONE);
}

/* Prepares the statement that makes jsonb of a row. */
static void
prepare_to_jsonb(Verify *verify)
{
	bool		windowed = verify->aggregate->row->window.kind != WEIR_WINDOW_NONE;
	Oid		   *types = palloc(sizeof(Oid) * verify->desc->natts);
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT pg_catalog.jsonb_build_object(");
	for (int i = 0; i < verify->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(verify->desc, i);

		types[i] = att->atttypid;
		if (i < S_FIRST && (i > S_END || !windowed))
			continue;
		appendStringInfo(&sql, "%s%s, $%d", n++ > 0 ? ", " : "", quote_literal_cstr(NameStr(att->attname)), i + 1);
	}
	appendStringInfoString(&sql, ")");
	verify->to_jsonb = SPI_prepare(sql.data, verify->desc->natts, types);
	if (verify->to_jsonb == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql.data, SPI_result_code_string(SPI_result));
}

/* Reports a row. */
static void
report(Verify *verify, const Row *row)
{
	char	   *nulls = palloc(verify->desc->natts);
	bool		isnull;

	for (int i = 0; i < verify->desc->natts; i++)
		nulls[i] = row->nulls[i] ? 'n' : ' ';
	if (SPI_execute_plan(verify->to_jsonb, row->values, nulls, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not make jsonb of a row");
	verify->difference(verify->arg, sides[DatumGetInt32(row->values[S_SIDE])],
					   SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
}

/* Are two rows of the same group? */
static bool
is_same_group(const Verify *verify, const Row *a, const Row *b)
{
	bytea	   *left = DatumGetByteaPP(a->values[S_KEY]);
	bytea	   *right = DatumGetByteaPP(b->values[S_KEY]);

	return weir_keys_equal(verify->aggregate->keys,
						   (WeirUnpack) {VARDATA_ANY(left), VARDATA_ANY(left) + VARSIZE_ANY_EXHDR(left)},
						   (WeirUnpack) {VARDATA_ANY(right), VARDATA_ANY(right) + VARSIZE_ANY_EXHDR(right)});
}

/* Do two rows say the same? */
static bool
is_same_row(const Verify *verify, const Row *a, const Row *b)
{
	for (int i = S_FIRST; i < verify->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(verify->desc, i);

		if (a->nulls[i] != b->nulls[i])
			return false;
		if (!a->nulls[i] && !weir_is_same(att->atttypid, att->attcollation, a->values[i], b->values[i]))
			return false;
	}
	return true;
}

/* Compares rows of one window and hash. */
static void
compare(Verify *verify, List *rows)
{
	ListCell   *cell;

	foreach(cell, rows)
	{
		Row		   *row = lfirst(cell);

		for (int i = foreach_current_index(cell) + 1; i < list_length(rows) && !row->matched; i++)
		{
			Row		   *other = list_nth(rows, i);

			if (other->matched || DatumGetInt32(row->values[S_SIDE]) == DatumGetInt32(other->values[S_SIDE]) ||
				!is_same_group(verify, row, other))
				continue;
			row->matched = other->matched = is_same_row(verify, row, other);
		}
		if (!row->matched)
			report(verify, row);
	}
}

/* Copies a row. */
static Row *
copy_row(const Verify *verify, TupleTableSlot *slot)
{
	Row		   *row = palloc0(sizeof(Row));
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	row->values = palloc(sizeof(Datum) * verify->desc->natts);
	row->nulls = palloc(sizeof(bool) * verify->desc->natts);
	heap_deform_tuple(tuple, verify->desc, row->values, row->nulls);
	return row;
}

static bool
is_same_block(const Row *a, const Row *b)
{
	return a->values[S_START] == b->values[S_START] && a->values[S_END] == b->values[S_END] &&
		a->values[S_HASH] == b->values[S_HASH];
}

/* Reads the sorted rows, and compares those that belong together. */
static void
compare_sorted(Verify *verify)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(verify->desc, &TTSOpsMinimalTuple);
	MemoryContext contexts[2] = {
		AllocSetContextCreate(CurrentMemoryContext, "pg_weir verify", ALLOCSET_DEFAULT_SIZES),
		AllocSetContextCreate(CurrentMemoryContext, "pg_weir verify", ALLOCSET_DEFAULT_SIZES)
	};
	int			turn = 0;
	List	   *block = NIL;
	MemoryContext old = MemoryContextSwitchTo(contexts[turn]);

	tuplesort_performsort(verify->sort);
	while (tuplesort_gettupleslot(verify->sort, true, false, slot, NULL))
	{
		Row		   *row = copy_row(verify, slot);

		CHECK_FOR_INTERRUPTS();
		if (block != NIL && !is_same_block(linitial(block), row))
		{
			compare(verify, block);
			/* the row goes over to the other context, and this one is emptied */
			turn = 1 - turn;
			MemoryContextSwitchTo(contexts[turn]);
			row = copy_row(verify, slot);
			MemoryContextReset(contexts[1 - turn]);
			block = NIL;
		}
		block = lappend(block, row);
	}
	compare(verify, block);
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
}

/* Finds out which windows are to be compared. */
static void
find_bounds(Verify *verify)
{
	const WeirAggregateRow *row = verify->aggregate->row;
	TimestampTz seen = weir_source_seen(verify->aggregate->source, true, GetActiveSnapshot());
	TimestampTz closed = weir_catalog_aggregate_closed(row->view, GetActiveSnapshot());

	verify->covered = Max(seen, row->complete_since);
	verify->retained = row->retention >= 0 && closed > MIN_TIMESTAMP + row->retention ?
		closed - row->retention : DT_NOBEGIN;
	if (row->window.kind == WEIR_WINDOW_SESSION && verify->covered != DT_NOBEGIN)
		verify->covered = weir_window_add(verify->covered, row->window.gap);
	if (row->window.kind == WEIR_WINDOW_NONE && verify->covered != DT_NOBEGIN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("continuous aggregate \"%s\" is not covered by what is staged", get_rel_name(row->view)),
				 errdetail("Its running totals count events that are staged no more, or leave out some that are."),
				 errhint("Only windows can be verified for as long as their events are staged.")));
}

/* Compares a continuous aggregate with its query. */
void
weir_aggregate_verify(WeirAggregate *aggregate, WeirDifference difference, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir verify", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Verify		verify = {.aggregate = aggregate, .difference = difference, .arg = arg};

	verify.row = AllocSetContextCreate(context, "pg_weir verify row", ALLOCSET_DEFAULT_SIZES);
	find_bounds(&verify);
	begin_sort(&verify);
	run_side(&verify, maintained_query(aggregate), MAINTAINED);
	recompute(&verify);
	SPI_connect();
	prepare_to_jsonb(&verify);
	compare_sorted(&verify);
	SPI_finish();
	tuplesort_end(verify.sort);
	ExecDropSingleTupleTableSlot(verify.slot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
