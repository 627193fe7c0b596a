/*
 * aggregate_move.c
 *	  Rows of windows that are over: finished, and put into the results.
 *
 * One statement does it.  Should it raise an error of data, a column is at
 * fault, such as sum(a) / sum(b) where a group's b are all 0.  Then groups are
 * finished by halves, and the one at fault becomes a row without results that
 * has the error instead: the window must close, for the stream goes on.
 */
#include "postgres.h"

#include "aggregate_move.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* How many groups are fetched at a time where one is at fault. */
#define ROWS 1000

/* What is being moved. */
typedef struct Move
{
	WeirAggregate *aggregate;
	TimestampTz watermark;
	uint64		moved;
	PlannedStmt *plan;			/* finishes rows of states */
	PlannedStmt *only_having;	/* leaves the user's columns NULL */
	SPIPlanPtr	insert;			/* takes what they give */
	TupleDesc	states;
	HeapTuple  *rows;			/* of states */
} Move;

/* Some rows, on their way. */
typedef struct Portion
{
	Move	   *move;
	PlannedStmt *plan;
	int			from;
	int			to;
	bool		hidden_only;	/* rows that HAVING leaves out, no others */
	int			inserted;
} Portion;

/* Receives finished rows. */
typedef struct FinishReceiver
{
	DestReceiver pub;
	Portion    *portion;
} FinishReceiver;

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Returns the columns that go to the results, each after a comma; users may have added others there. */
static char *
moved_columns(Oid finish)
{
	StringInfoData columns;

	initStringInfo(&columns);
	for (AttrNumber i = 1; get_attname(finish, i, true) != NULL; i++)
	{
		if (i != WEIR_STATES_IS_FINAL)
			appendStringInfo(&columns, "%s%s", i > 1 ? ", " : "", quote_identifier(get_attname(finish, i, true)));
	}
	return columns.data;
}

/* Moves everything in one statement. */
static void
move_together(void *arg)
{
	Move	   *move = arg;
	const WeirAggregateRow *row = move->aggregate->row;
	char	   *columns = moved_columns(row->finish);
	char	   *sql = psprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE is_final AND window_start < $1",
							   qualified_name(row->results), columns, columns, qualified_name(row->finish));
	int			rc;

	SPI_connect();
	rc = SPI_execute_with_args(sql, 1, (Oid[]) {TIMESTAMPTZOID}, (Datum[]) {TimestampTzGetDatum(move->watermark)},
							   NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	move->moved = SPI_processed;
	SPI_finish();
}

/* Returns the query that finishes rows of states; with only_having the user's columns are NULL. */
static Query *
finishing_query(const WeirAggregate *aggregate, bool only_having)
{
	Query	   *query = weir_aggregate_query_finish(aggregate->query, aggregate->row->states, WEIR_STATES_FIRST);
	ListCell   *cell;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);
		Node	   *expr = (Node *) entry->expr;

		if (only_having && entry->resno >= WEIR_STATES_FIRST && entry->resno < list_length(query->targetList))
			entry->expr = (Expr *) makeNullConst(exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
	return query;
}

/* Prepares the INSERT of finished rows. */
static SPIPlanPtr
prepare_insert(const WeirAggregate *aggregate, const Query *query)
{
	Oid		   *types = palloc(sizeof(Oid) * list_length(query->targetList));
	StringInfoData columns;
	StringInfoData values;
	ListCell   *cell;
	SPIPlanPtr	plan;

	initStringInfo(&columns);
	initStringInfo(&values);
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst(cell);

		types[entry->resno - 1] = exprType((Node *) entry->expr);
		if (entry->resno == WEIR_STATES_IS_FINAL)
			continue;
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(entry->resname));
		appendStringInfo(&values, "%s$%d", values.len > 0 ? ", " : "", entry->resno);
	}
	plan = SPI_prepare(psprintf("INSERT INTO %s (%s) VALUES (%s)", qualified_name(aggregate->row->results),
								columns.data, values.data), list_length(query->targetList), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare an INSERT into results: %s", SPI_result_code_string(SPI_result));
	return plan;
}

/* Inserts a finished row. */
static bool
receive_finished(TupleTableSlot *slot, DestReceiver *self)
{
	Portion    *portion = ((FinishReceiver *) self)->portion;
	int			having = slot->tts_tupleDescriptor->natts - 1;
	char	   *nulls;

	slot_getallattrs(slot);
	if (portion->hidden_only && (slot->tts_isnull[having] || DatumGetBool(slot->tts_values[having])))
		return true;
	nulls = palloc(slot->tts_tupleDescriptor->natts);
	for (int i = 0; i <= having; i++)
		nulls[i] = slot->tts_isnull[i] ? 'n' : ' ';
	if (SPI_execute_plan(portion->move->insert, slot->tts_values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert a result");
	pfree(nulls);
	portion->inserted++;
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

/* Finishes and inserts some rows. */
static void
move_portion(void *arg)
{
	Portion    *portion = arg;
	FinishReceiver receiver = {{receive_finished, start_receiving, stop_receiving, stop_receiving, DestNone}, portion};
	Tuplestorestate *batch = tuplestore_begin_heap(false, false, work_mem);

	portion->inserted = 0;
	for (int i = portion->from; i < portion->to; i++)
		tuplestore_puttuple(batch, portion->move->rows[i]);
	weir_batch_plan_run(portion->plan, portion->move->aggregate->row->states, batch, &receiver.pub);
	tuplestore_end(batch);
}

/* Puts an error into a row of states, in the place of what the aggregates give. */
static void
put_error(Move *move, int position, const ErrorData *error)
{
	int			natts = move->states->natts;
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);

	heap_deform_tuple(move->rows[position], move->states, values, nulls);
	values[WEIR_STATES_ERROR - 1] = weir_states_describe_error(error->sqlerrcode, GetCurrentTimestamp(), error->message);
	nulls[WEIR_STATES_ERROR - 1] = false;
	for (int i = WEIR_STATES_FIRST - 1 + move->aggregate->keys->n; i < natts; i++)
		nulls[i] = true;
	move->rows[position] = heap_form_tuple(move->states, values, nulls);
}

/* Moves a group that raises an error. */
static void
move_at_fault(Move *move, int position, const ErrorData *error)
{
	Portion		portion = {move, move->only_having, position, position + 1, true, 0};

	/* what HAVING leaves out is not computed by the plain query either */
	if (weir_try(move_portion, &portion) == NULL && portion.inserted > 0)
		return;
	put_error(move, position, error);
	portion.hidden_only = false;
	portion.plan = move->plan;
	if (weir_try(move_portion, &portion) == NULL)
		return;
	/* a column at fault that is computed from the keys alone */
	portion.plan = move->only_having;
	move_portion(&portion);
}

/* Moves some rows, by halves if an error is raised. */
static void
move_rows(Move *move, int from, int to)
{
	Portion		portion = {move, move->plan, from, to, false, 0};
	int			middle = from + (to - from) / 2;
	ErrorData  *error;

	if (from == to)
		return;
	error = weir_try(move_portion, &portion);
	if (error == NULL)
		return;
	if (to - from == 1)
	{
		move_at_fault(move, from, error);
		return;
	}
	move_rows(move, from, middle);
	move_rows(move, middle, to);
}

/* Moves everything with an eye on each group. */
static void
move_apart(Move *move)
{
	const WeirAggregateRow *row = move->aggregate->row;
	Query	   *query = finishing_query(move->aggregate, false);
	char	   *sql = psprintf("SELECT * FROM %s WHERE is_final AND window_start < $1", qualified_name(row->states));
	Portal		portal;

	SPI_connect();
	move->insert = prepare_insert(move->aggregate, query);
	move->plan = weir_batch_plan_make(query, 1, ROWS);
	move->only_having = weir_batch_plan_make(finishing_query(move->aggregate, true), 1, ROWS);
	portal = SPI_cursor_open_with_args(NULL, sql, 1, (Oid[]) {TIMESTAMPTZOID},
									   (Datum[]) {TimestampTzGetDatum(move->watermark)}, NULL, false, 0);
	for (;;)
	{
		SPITupleTable *table;

		SPI_cursor_fetch(portal, true, ROWS);
		table = SPI_tuptable;
		if (SPI_processed == 0)
			break;
		move->states = table->tupdesc;
		move->rows = table->vals;
		move->moved += SPI_processed;
		move_rows(move, 0, SPI_processed);
		SPI_freetuptable(table);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

/* Puts what is over into the results. */
uint64
weir_aggregate_move(WeirAggregate *aggregate, TimestampTz watermark)
{
	Move		move = {.aggregate = aggregate, .watermark = watermark};

	if (weir_try(move_together, &move) != NULL)
	{
		move.moved = 0;
		move_apart(&move);
	}
	return move.moved;
}
