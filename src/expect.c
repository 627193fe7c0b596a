/*
 * expect.c
 *	  What a stream expects of its events, judged event by event.
 *
 * The strictest expectations are asked first, and the first that refuses an
 * event decides.  NULL counts as satisfied, as in CHECK.
 *
 * Comparisons of a column with a constant, which are most of what people
 * expect, are made here (expect_compare.c); the rest goes through the executor.
 *
 * Most events meet everything.  So all that the executor evaluates is one AND
 * first, whose arms are asked in the same order; only where it is false, or
 * raises an error, is it asked which of them it was.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/executor.h"
#include "expect.h"
#include "expect_compare.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"

typedef struct Condition
{
	const char *name;
	WeirOnViolation on_violation;
	const WeirExpectation *expectation;
	WeirComparison *comparison; /* NULL: state is evaluated */
	ExprState  *state;
} Condition;

#define ALL (-1)

struct WeirExpecter
{
	EState	   *estate;
	ExprState  *all;			/* every condition that is evaluated; NULL: there is no gain in it */
	AttrNumber	violations;
	int			nconditions;
	int			nviolated;		/* of the last event: the names of what marks it, or of what refuses it */
	int			current;		/* being evaluated; ALL: all of them are */
	const char **violated;
	Condition	conditions[FLEXIBLE_ARRAY_MEMBER];
};

/* Compiles what is planned already. */
static ExprState *
prepare_planned(Expr *planned, EState *estate)
{
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	ExprState  *state = ExecInitExpr(planned, NULL);

	MemoryContextSwitchTo(old);
	return state;
}

/* Compiles expectations. */
WeirExpecter *
weir_expect_create(List *expectations, AttrNumber violations)
{
	int			n = list_length(expectations);
	List	   *evaluated = NIL;
	WeirExpecter *expecter = palloc0(offsetof(WeirExpecter, conditions) + sizeof(Condition) * n);
	ListCell   *cell;

	expecter->estate = CreateExecutorState();
	expecter->violations = violations;
	expecter->violated = palloc(sizeof(char *) * Max(n, 1));
	foreach(cell, expectations)
	{
		const WeirExpectation *expectation = lfirst(cell);
		Condition  *condition = &expecter->conditions[expecter->nconditions++];
		Expr	   *planned = expression_planner((Expr *) copyObject(expectation->condition));

		condition->name = expectation->name;
		condition->on_violation = expectation->on_violation;
		condition->expectation = expectation;
		condition->comparison = weir_compare_create(planned);
		if (condition->comparison != NULL)
			continue;
		condition->state = prepare_planned(planned, expecter->estate);
		evaluated = lappend(evaluated, planned);
	}
	/* what may answer otherwise when it is asked again is asked once */
	if (list_length(evaluated) > 1 && !contain_volatile_functions((Node *) evaluated))
		expecter->all = prepare_planned(makeBoolExpr(AND_EXPR, evaluated, -1), expecter->estate);
	return expecter;
}

/* Is an expression evaluated, which may ereport? */
bool
weir_expect_may_throw(const WeirExpecter *expecter)
{
	for (int i = 0; i < expecter->nconditions; i++)
	{
		if (expecter->conditions[i].comparison == NULL)
			return true;
	}
	return false;
}

/* Does the row in slot meet a condition? */
static inline bool
is_met(WeirExpecter *expecter, int i, ExprContext *econtext, TupleTableSlot *slot)
{
	const Condition *condition = &expecter->conditions[i];
	bool		isnull;
	Datum		value;

	if (condition->comparison != NULL)
		return weir_compare_is_met(condition->comparison, slot->tts_values, slot->tts_isnull);
	expecter->current = i;
	value = ExecEvalExprSwitchContext(condition->state, econtext, &isnull);
	return isnull || DatumGetBool(value);
}

/* Does the row in slot meet all there is?  False also where nobody has asked. */
static inline bool
meets_all(WeirExpecter *expecter, ExprContext *econtext, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value;

	if (expecter->all == NULL)
		return false;
	for (int i = 0; i < expecter->nconditions; i++)
	{
		const WeirComparison *comparison = expecter->conditions[i].comparison;

		if (comparison != NULL && !weir_compare_is_met(comparison, slot->tts_values, slot->tts_isnull))
			return false;
	}
	expecter->current = ALL;
	/* NULL: some are, and none is false */
	value = ExecEvalExprSwitchContext(expecter->all, econtext, &isnull);
	return isnull || DatumGetBool(value);
}

/* Gets ready to evaluate conditions on the row in slot. */
static ExprContext *
begin(WeirExpecter *expecter, TupleTableSlot *slot)
{
	ExprContext *econtext = GetPerTupleExprContext(expecter->estate);

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	expecter->nviolated = 0;
	return econtext;
}

/* Writes the names of what a row has violated into it. */
static void
mark(const WeirExpecter *expecter, TupleTableSlot *slot)
{
	int			column = expecter->violations - 1;
	Datum	   *names;

	if (expecter->nviolated == 0 || column < 0)
		return;
	names = palloc(sizeof(Datum) * expecter->nviolated);
	for (int i = 0; i < expecter->nviolated; i++)
		names[i] = CStringGetTextDatum(expecter->violated[i]);
	slot->tts_values[column] = PointerGetDatum(construct_array(names, expecter->nviolated, TEXTOID, -1, false, TYPALIGN_INT));
	slot->tts_isnull[column] = false;
}

/* Raises the error of an expectation that stops its stream. */
void
weir_expect_stop(const WeirMessage *message, const WeirFault *fault)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event at offset " INT64_FORMAT " of partition %d violates expectation \"%s\"",
					message->offset, message->partition, fault->constraint_name),
			 errhint("Alter or drop the expectation, or pass over the event with weir.seek, then start the stream again with weir.start().")));
}

/* Says that an event is refused, and why. */
static WeirJudgement
refuse(WeirExpecter *expecter, const Condition *condition, WeirFault *fault)
{
	static const WeirJudgement judgements[] = {
		[WEIR_ON_VIOLATION_STOP] = WEIR_JUDGED_STOPPING,
		[WEIR_ON_VIOLATION_DEAD_LETTER] = WEIR_JUDGED_DEAD,
		[WEIR_ON_VIOLATION_DROP] = WEIR_JUDGED_DROPPED
	};

	expecter->violated[0] = condition->name;
	expecter->nviolated = 1;
	(void) weir_fault(fault, WEIR_STAGE_EXPECTATION, ERRCODE_CHECK_VIOLATION, NULL,
					  "event violates expectation \"%s\"", condition->name);
	fault->constraint_name = condition->name;
	return judgements[condition->on_violation];
}

/* Judges a row. */
WeirJudgement
weir_expect_judge(WeirExpecter *expecter, TupleTableSlot *slot, WeirFault *fault)
{
	ExprContext *econtext = begin(expecter, slot);

	if (likely(meets_all(expecter, econtext, slot)))
		return WEIR_JUDGED_GOOD;
	for (int i = 0; i < expecter->nconditions; i++)
	{
		const Condition *condition = &expecter->conditions[i];

		if (likely(is_met(expecter, i, econtext, slot)))
			continue;
		if (condition->on_violation != WEIR_ON_VIOLATION_KEEP)
			return refuse(expecter, condition, fault);
		expecter->violated[expecter->nviolated++] = condition->name;
	}
	mark(expecter, slot);
	return WEIR_JUDGED_GOOD;
}

/* Did an expectation hold already when a message came? */
static bool
held_then(const WeirExpectation *expectation, const WeirMessage *message)
{
	for (int i = 0; i < expectation->nsince; i++)
	{
		if (expectation->since[i].partition == message->partition)
			return message->offset >= expectation->since[i].offset;
	}
	return true;
}

/* Marks a row that was judged before. */
void
weir_expect_mark(WeirExpecter *expecter, TupleTableSlot *slot, const WeirMessage *message, bool always)
{
	ExprContext *econtext = begin(expecter, slot);

	for (int i = 0; i < expecter->nconditions; i++)
	{
		const Condition *condition = &expecter->conditions[i];

		if (condition->on_violation == WEIR_ON_VIOLATION_KEEP &&
			(always || held_then(condition->expectation, message)) &&
			!is_met(expecter, i, econtext, slot))
			expecter->violated[expecter->nviolated++] = condition->name;
	}
	mark(expecter, slot);
}

/* Asks the conditions one by one; leaves the one that raises an error as the current one. */
static void
ask_each(void *arg)
{
	WeirExpecter *expecter = arg;
	ExprContext *econtext = GetPerTupleExprContext(expecter->estate);

	/* the row is still where it was */
	for (int i = 0; i < expecter->nconditions; i++)
		(void) is_met(expecter, i, econtext, econtext->ecxt_scantuple);
}

/* Makes a fault the expectation's. */
void
weir_expect_blame(WeirExpecter *expecter, WeirFault *fault)
{
	const char *name;

	if (expecter->current == ALL)
		(void) weir_try(ask_each, expecter);
	name = expecter->conditions[expecter->current].name;

	expecter->violated[0] = name;
	expecter->nviolated = 1;
	fault->message = psprintf("expectation \"%s\" raised an error: %s", name, fault->message);
	fault->constraint_name = name;
}

/* ---- counting ---- */

/* Starts an empty list. */
void
weir_expect_count_init(WeirViolations *violations, MemoryContext context)
{
	memset(violations, 0, sizeof(*violations));
	violations->context = context;
}

static void
add(WeirViolations *violations, const WeirViolation *violation)
{
	if (violations->count == violations->room)
	{
		Size		room = violations->room == 0 ? 64 : (Size) violations->room * 2;

		violations->items = violations->items == NULL ?
			MemoryContextAllocHuge(violations->context, room * sizeof(WeirViolation)) :
			repalloc_huge(violations->items, room * sizeof(WeirViolation));
		violations->room = (int) room;
	}
	violations->items[violations->count++] = *violation;
}

/* Counts what the last event has violated. */
void
weir_expect_count(WeirViolations *violations, const WeirExpecter *expecter,
				  const WeirMessage *message, bool kept)
{
	for (int i = 0; i < expecter->nviolated; i++)
		add(violations, &(WeirViolation) {expecter->violated[i], kept, message->partition, message->offset});
}

/* Orders by name and partition. */
static int
compare_violations(const void *a, const void *b)
{
	const WeirViolation *left = a;
	const WeirViolation *right = b;
	int			order = left->name == right->name ? 0 : strcmp(left->name, right->name);

	if (order != 0)
		return order;
	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Saves the counts. */
void
weir_expect_save(WeirViolations *violations, Oid stream)
{
	WeirViolation *items = violations->items;

	if (violations->count == 0)
		return;
	qsort(items, violations->count, sizeof(WeirViolation), compare_violations);
	for (int from = 0; from < violations->count;)
	{
		int			to = from;
		int			kept = 0;

		while (to < violations->count && items[to].partition == items[from].partition &&
			   strcmp(items[to].name, items[from].name) == 0)
			kept += items[to++].kept;
		weir_catalog_add_failures(stream, items[from].name, items[from].partition, to - from, kept, items[to - 1].offset);
		from = to;
	}
}
