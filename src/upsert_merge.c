/*
 * upsert_merge.c
 *	  The latest rows of a batch brought into the table of an upsert.
 *
 * A row goes in if its position, which is what it is ordered by, partition and
 * offset, is greater than that of the row of its key.  SQL statements do it,
 * with all that they mean to a table: constraints, triggers, partitions,
 * policies, DEFAULTs.
 *
 * In a table of our own positions are columns.  What a deleted key's was is in
 * a table beside it:
 *
 *		put        INSERT ... ON CONFLICT (key) DO UPDATE ... WHERE excluded's position is greater,
 *		           unless a greater one is remembered as deleted
 *		delete     DELETE where the position is less
 *		remember   the position, where no row was left that is greater
 *
 * A delete that others do not see yet must not be overtaken: batches with
 * deletes take the upsert alone, others share it.  So do the parts of a batch
 * that is halved, whose keys come in no order.
 *
 * The positions of a user's table are all in the table beside it, and who has
 * moved a key's there, which locks it, has the say over its row:
 *
 *		claim      INSERT ... ON CONFLICT (key) DO UPDATE ... WHERE the position is greater
 *		put        INSERT ... ON CONFLICT DO UPDATE of keys whose position is now the row's
 *		delete     likewise
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "upsert_merge.h"
#include "upsert_query.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* What the rows are called in the statements. */
#define ROWS_NAME "weir_rows"

/* The table that is written to by us, and how deep in triggers we were then. */
static struct
{
	Oid			target;
	int			depth;
}			writing = {InvalidOid, 0};

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* Is a trigger asking that our writing to this table has fired? */
bool
weir_merger_in_progress(Oid target)
{
	return OidIsValid(target) && target == writing.target && trigger_depth() == writing.depth + 1;
}

/* Is a column part of the key? */
static bool
is_key(const WeirUpsertRow *row, const char *column)
{
	ListCell   *cell;

	foreach(cell, row->key)
	{
		if (strcmp(strVal(lfirst(cell)), column) == 0)
			return true;
	}
	return false;
}

/* Are values of a type that are equal the same bytes? */
static bool
equal_is_same(Oid type, Oid collation)
{
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			function = OidIsValid(cache->btree_opf) ?
		get_opfamily_proc(cache->btree_opf, cache->btree_opintype, cache->btree_opintype, BTEQUALIMAGE_PROC) : InvalidOid;

	return OidIsValid(function) &&
		DatumGetBool(OidFunctionCall1Coll(function, collation, ObjectIdGetDatum(cache->btree_opintype)));
}

/* Appends the key's columns, each after a prefix. */
static void
append_keys(StringInfo sql, const WeirUpsertRow *row, const char *prefix)
{
	ListCell   *cell;

	foreach(cell, row->key)
		appendStringInfo(sql, "%s%s%s", foreach_current_index(cell) > 0 ? ", " : "", prefix,
						 quote_identifier(strVal(lfirst(cell))));
}

/* Appends that the keys of two relations are equal. */
static void
append_same_key(StringInfo sql, const WeirUpsertRow *row, const char *one, const char *other)
{
	ListCell   *cell;

	foreach(cell, row->key)
	{
		const char *column = quote_identifier(strVal(lfirst(cell)));

		appendStringInfo(sql, "%s%s.%s = %s.%s", foreach_current_index(cell) > 0 ? " AND " : "", one, column, other, column);
	}
}

/* The column of our own table by which rows are ordered. */
static const char *
order_column(const WeirUpsertRow *row)
{
	return row->order_by != NULL ? quote_identifier(row->order_by) : WEIR_UPSERT_ORDER_COLUMN;
}

/* Returns the position of a row of the batch. */
static char *
batch_position(void)
{
	return psprintf("(r.%s, r.%s, r.%s)", weir_upsert_column_names[WEIR_UPSERT_ORDER],
					weir_upsert_column_names[WEIR_UPSERT_PARTITION], weir_upsert_column_names[WEIR_UPSERT_OFFSET]);
}

/* Returns the position of a row of a table. */
static char *
position_of(const char *relation, const char *order)
{
	return psprintf("(%s.%s, %s." WEIR_UPSERT_PARTITION_COLUMN ", %s." WEIR_UPSERT_OFFSET_COLUMN ")",
					relation, order, relation, relation);
}

#define POSITION_COLUMNS WEIR_UPSERT_ORDER_COLUMN ", " WEIR_UPSERT_PARTITION_COLUMN ", " WEIR_UPSERT_OFFSET_COLUMN
#define DELETED "r._weir_deleted"

/* Appends the query's columns, each after a prefix. */
static void
append_columns(StringInfo sql, TupleDesc desc, const char *prefix)
{
	for (int i = 0; i < desc->natts - WEIR_UPSERT_COLUMNS; i++)
		appendStringInfo(sql, "%s%s%s", i > 0 ? ", " : "", prefix, quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
}

/* Appends what an update sets; a key only where equal ones may look different.  Nothing: returns false. */
static bool
append_assignments(StringInfo sql, const WeirMerger *merger)
{
	const WeirUpsertRow *row = merger->row;
	int			n = 0;

	for (int i = 0; i < merger->desc->natts - WEIR_UPSERT_COLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(merger->desc, i);
		const char *column = quote_identifier(NameStr(att->attname));

		if (!is_key(row, NameStr(att->attname)) || !equal_is_same(att->atttypid, att->attcollation))
			appendStringInfo(sql, "%s%s = excluded.%s", n++ > 0 ? ", " : "", column, column);
	}
	if (row->owns_target)
	{
		const char *const columns[] = {WEIR_UPSERT_ORDER_COLUMN, WEIR_UPSERT_PARTITION_COLUMN, WEIR_UPSERT_OFFSET_COLUMN};

		for (int i = row->order_by != NULL ? 1 : 0; i < lengthof(columns); i++)
			appendStringInfo(sql, "%s%s = excluded.%s", n++ > 0 ? ", " : "", columns[i], columns[i]);
	}
	return n > 0;
}

/* Returns what puts rows into a table of ours. */
static char *
put_statement(const WeirMerger *merger)
{
	const WeirUpsertRow *row = merger->row;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (", weir_relation_name(row->target));
	append_columns(&sql, merger->desc, "");
	appendStringInfo(&sql, "%s, " WEIR_UPSERT_PARTITION_COLUMN ", " WEIR_UPSERT_OFFSET_COLUMN ") SELECT ",
					 row->order_by != NULL ? "" : ", " WEIR_UPSERT_ORDER_COLUMN);
	append_columns(&sql, merger->desc, "r.");
	appendStringInfo(&sql, "%s, r._weir_partition, r._weir_offset FROM " ROWS_NAME " r",
					 row->order_by != NULL ? "" : ", r._weir_order");
	if (OidIsValid(row->positions))
	{
		appendStringInfo(&sql, " WHERE NOT " DELETED " AND (SELECT %s > %s FROM %s p WHERE ", batch_position(),
						 position_of("p", WEIR_UPSERT_ORDER_COLUMN), weir_relation_name(row->positions));
		append_same_key(&sql, row, "p", "r");
		appendStringInfoString(&sql, ") IS NOT FALSE");
	}
	appendStringInfoString(&sql, " ON CONFLICT (");
	append_keys(&sql, row, "");
	appendStringInfoString(&sql, ") DO UPDATE SET ");
	(void) append_assignments(&sql, merger);
	appendStringInfo(&sql, " WHERE %s > %s", position_of("excluded", order_column(row)), position_of("t", order_column(row)));
	return sql.data;
}

/* Returns what deletes rows from a table of ours. */
static char *
delete_statement(const WeirMerger *merger)
{
	const WeirUpsertRow *row = merger->row;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s AS t USING " ROWS_NAME " r WHERE " DELETED " AND ", weir_relation_name(row->target));
	append_same_key(&sql, row, "t", "r");
	appendStringInfo(&sql, " AND %s > %s", batch_position(), position_of("t", order_column(row)));
	return sql.data;
}

/* Returns what notes positions, of all rows or, of a table of ours, of deletes that are not outdated. */
static char *
position_statement(const WeirMerger *merger)
{
	const WeirUpsertRow *row = merger->row;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS p (", weir_relation_name(row->positions));
	append_keys(&sql, row, "");
	appendStringInfoString(&sql, ", " POSITION_COLUMNS ", " WEIR_UPSERT_DELETED_COLUMN ") SELECT ");
	append_keys(&sql, row, "r.");
	appendStringInfoString(&sql, ", r._weir_order, r._weir_partition, r._weir_offset, " DELETED " FROM " ROWS_NAME " r");
	if (row->owns_target)
	{
		appendStringInfo(&sql, " WHERE " DELETED " AND (SELECT true FROM %s t WHERE ", weir_relation_name(row->target));
		append_same_key(&sql, row, "t", "r");
		appendStringInfoString(&sql, ") IS NULL");
	}
	appendStringInfoString(&sql, " ON CONFLICT (");
	append_keys(&sql, row, "");
	appendStringInfo(&sql, ") DO UPDATE SET (" POSITION_COLUMNS ", " WEIR_UPSERT_DELETED_COLUMN ") = ROW(excluded."
					 WEIR_UPSERT_ORDER_COLUMN ", excluded." WEIR_UPSERT_PARTITION_COLUMN ", excluded."
					 WEIR_UPSERT_OFFSET_COLUMN ", excluded." WEIR_UPSERT_DELETED_COLUMN ") WHERE %s > %s",
					 position_of("excluded", WEIR_UPSERT_ORDER_COLUMN), position_of("p", WEIR_UPSERT_ORDER_COLUMN));
	return sql.data;
}

/* Appends that a key's position is that of the batch's row. */
static void
append_claimed(StringInfo sql, const WeirUpsertRow *row)
{
	append_same_key(sql, row, "p", "r");
	appendStringInfoString(sql, " AND p." WEIR_UPSERT_PARTITION_COLUMN " = r._weir_partition AND p."
						   WEIR_UPSERT_OFFSET_COLUMN " = r._weir_offset");
}

/* Returns what puts rows into a user's table. */
static char *
put_claimed_statement(const WeirMerger *merger)
{
	const WeirUpsertRow *row = merger->row;
	StringInfoData sql;
	StringInfoData assignments;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS t (", weir_relation_name(row->target));
	append_columns(&sql, merger->desc, "");
	appendStringInfoString(&sql, ") SELECT ");
	append_columns(&sql, merger->desc, "r.");
	appendStringInfo(&sql, " FROM " ROWS_NAME " r, %s p WHERE NOT " DELETED " AND ", weir_relation_name(row->positions));
	append_claimed(&sql, row);
	appendStringInfoString(&sql, " ON CONFLICT (");
	append_keys(&sql, row, "");
	initStringInfo(&assignments);
	if (append_assignments(&assignments, merger))
		appendStringInfo(&sql, ") DO UPDATE SET %s", assignments.data);
	else
		appendStringInfoString(&sql, ") DO NOTHING");
	return sql.data;
}

/* Returns what deletes rows from a user's table. */
static char *
delete_claimed_statement(const WeirMerger *merger)
{
	const WeirUpsertRow *row = merger->row;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s AS t USING " ROWS_NAME " r, %s p WHERE " DELETED " AND ",
					 weir_relation_name(row->target), weir_relation_name(row->positions));
	append_claimed(&sql, row);
	appendStringInfoString(&sql, " AND ");
	append_same_key(&sql, row, "t", "r");
	return sql.data;
}

/* Makes the statements. */
WeirMerger *
weir_merger_create(const WeirUpsertRow *row, TupleDesc desc)
{
	WeirMerger *merger = palloc0(sizeof(WeirMerger));

	merger->row = row;
	merger->desc = desc;
	if (row->owns_target)
	{
		merger->sql[WEIR_MERGE_PUT] = put_statement(merger);
		if (OidIsValid(row->positions))
		{
			merger->sql[WEIR_MERGE_DELETE] = delete_statement(merger);
			merger->sql[WEIR_MERGE_REMEMBER] = position_statement(merger);
		}
	}
	else
	{
		merger->sql[WEIR_MERGE_CLAIM] = position_statement(merger);
		merger->sql[WEIR_MERGE_PUT] = put_claimed_statement(merger);
		merger->sql[WEIR_MERGE_DELETE] = delete_claimed_statement(merger);
	}
	if (row->tombstone_ttl >= 0)
		merger->sql[WEIR_MERGE_FORGET] = psprintf("DELETE FROM %s WHERE " WEIR_UPSERT_DELETED_COLUMN " AND " WEIR_UPSERT_ORDER_COLUMN " <= $1",
												  weir_relation_name(row->positions));
	return merger;
}

/* Frees its plans. */
void
weir_merger_free(WeirMerger *merger)
{
	for (int i = 0; i < WEIR_MERGE_STEPS; i++)
	{
		if (merger->plans[i] != NULL)
			SPI_freeplan(merger->plans[i]);
		merger->plans[i] = NULL;
	}
}

/* Executes one of the statements. */
static void
execute(WeirMerger *merger, WeirMergeStep step, Datum *values)
{
	int			rc;

	if (merger->plans[step] == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(merger->sql[step], values == NULL ? 0 : 1, (Oid[]) {TIMESTAMPTZOID});

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", merger->sql[step], SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		merger->plans[step] = plan;
	}
	rc = SPI_execute_plan(merger->plans[step], values, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", merger->sql[step], SPI_result_code_string(rc));
}

/* Has plans look keys up one by one: how many there are to come is not known to the planner. */
static void
look_up_by_key(void)
{
	static const char *const settings[] = {"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Makes the rows known to the statements. */
static void
register_rows(const WeirMerger *merger, Tuplestorestate *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	int			rc;

	enr->md.name = ROWS_NAME;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = merger->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(rows);
	enr->reldata = rows;
	rc = SPI_register_relation(enr);
	if (rc != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register rows: %s", SPI_result_code_string(rc));
}

/*
 * Refuses a transaction that may not see deletes which others have committed:
 * no conflict of rows would tell.
 */
static void
check_isolation(const WeirUpsertRow *row)
{
	if (row->owns_target && OidIsValid(row->positions) && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\", which remembers deletes, takes events at isolation level READ COMMITTED alone",
						get_rel_name(row->target)),
				 errhint("Begin the transaction with that level, or set default_transaction_isolation.")));
}

/* What is to be written. */
typedef struct Merge
{
	WeirMerger *merger;
	Tuplestorestate *rows;
	bool		deletes;
} Merge;

/* Executes the statements that bring rows in. */
static void
merge(const void *arg)
{
	const Merge *work = arg;
	WeirMerger *merger = work->merger;

	register_rows(merger, work->rows);
	for (WeirMergeStep step = 0; step < WEIR_MERGE_FORGET; step++)
	{
		if (merger->sql[step] != NULL &&
			(work->deletes || (step != WEIR_MERGE_DELETE && step != WEIR_MERGE_REMEMBER)))
			execute(merger, step, NULL);
	}
}

/* Does something in SPI, while triggers of a table are told that it is us who write. */
static void
write_to(Oid target, void (*action) (const void *arg), const void *arg)
{
	Oid			outer_target = writing.target;
	int			outer_depth = writing.depth;

	writing.target = target;
	writing.depth = trigger_depth();
	PG_TRY();
	{
		SPI_connect();
		action(arg);
		SPI_finish();
	}
	PG_FINALLY();
	{
		writing.target = outer_target;
		writing.depth = outer_depth;
	}
	PG_END_TRY();
}

/* Brings rows in. */
void
weir_merger_merge(WeirMerger *merger, Tuplestorestate *rows, bool deletes)
{
	const WeirUpsertRow *row = merger->row;
	Merge		work = {merger, rows, deletes};
	int			level = NewGUCNestLevel();

	check_isolation(row);
	(void) weir_fence_derived(row->target, deletes && row->owns_target, true);
	look_up_by_key();
	write_to(row->target, merge, &work);
	AtEOXact_GUC(false, level);
}

/* Empties a table. */
static void
empty_table(Oid relid)
{
	char	   *sql = psprintf("DELETE FROM %s", weir_relation_name(relid));
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
}

static void
empty_tables(const void *arg)
{
	const WeirUpsertRow *row = arg;

	empty_table(row->target);
	if (OidIsValid(row->positions))
		empty_table(row->positions);
}

/* Empties a table of ours, and what is remembered of it. */
void
weir_merger_empty(const WeirUpsertRow *row)
{
	write_to(row->target, empty_tables, row);
}

/* Forgets deletes up to this time, unless others write. */
bool
weir_merger_forget(WeirMerger *merger, TimestampTz until)
{
	Datum		value = TimestampTzGetDatum(until);

	if (!weir_fence_derived(merger->row->target, true, false))
		return false;
	SPI_connect();
	execute(merger, WEIR_MERGE_FORGET, &value);
	SPI_finish();
	return true;
}
