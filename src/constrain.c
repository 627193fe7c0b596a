/*
 * constrain.c
 *	  What the staging table itself asks of a row: DEFAULTs, generated
 *	  columns, NOT NULL, domains, CHECK.
 *
 * The executor would raise an error for a row that violates a constraint and
 * take the batch along.  Here each row is judged by itself before anything is
 * written.  Unique indexes are not judged here: the insert itself finds those.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "constrain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* An expression that gives a column its value. */
typedef struct ColumnExpr
{
	AttrNumber	attno;
	int16		typlen;
	bool		typbyval;
	ExprState  *state;
} ColumnExpr;

typedef struct CheckExpr
{
	const char *name;
	ExprState  *state;
} CheckExpr;

struct WeirConstrainer
{
	const char *relation_name;
	TupleDesc	tupdesc;
	EState	   *estate;
	int			ndefaults;
	ColumnExpr *defaults;
	int			ngenerated;
	ColumnExpr *generated;
	int			nchecks;
	CheckExpr  *checks;
	int			nnotnull;
	AttrNumber *notnull;
	int			ndomains;		/* domain columns without a DEFAULT */
	AttrNumber *domains;
	void	  **domain_caches;
	MemoryContext context;
};

static void
add_expression(ColumnExpr *list, int *n, Form_pg_attribute att, Node *expr, EState *estate)
{
	ColumnExpr *entry = &list[(*n)++];

	entry->attno = att->attnum;
	entry->typlen = att->attlen;
	entry->typbyval = att->attbyval;
	entry->state = ExecPrepareExpr((Expr *) expr, estate);
}

/* Sorts one column into the lists. */
static void
compile_column(WeirConstrainer *c, Relation relation, Form_pg_attribute att)
{
	Node	   *expr;

	if (att->attnotnull)
		c->notnull[c->nnotnull++] = att->attnum;

	expr = build_column_default(relation, att->attnum);
	if (att->attgenerated != '\0')
	{
		if (expr != NULL && att->attgenerated == ATTRIBUTE_GENERATED_STORED)
			add_expression(c->generated, &c->ngenerated, att, expr, c->estate);
	}
	else if (expr != NULL)
		add_expression(c->defaults, &c->ndefaults, att, expr, c->estate);
	else if (get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
		c->domains[c->ndomains++] = att->attnum;
}

static void
compile_checks(WeirConstrainer *c, TupleConstr *constr)
{
	c->checks = palloc(sizeof(CheckExpr) * Max(constr->num_check, 1));
	for (int i = 0; i < constr->num_check; i++)
	{
		CheckExpr  *check = &c->checks[c->nchecks++];
		Expr	   *expr = stringToNode(constr->check[i].ccbin);

		check->name = pstrdup(constr->check[i].ccname);
		check->state = ExecPrepareExpr(expr, c->estate);
	}
}

/* Compiles the constraints of a child table. */
WeirConstrainer *
weir_constrain_create(Relation relation)
{
	WeirConstrainer *c = palloc0(sizeof(WeirConstrainer));
	TupleDesc	tupdesc = RelationGetDescr(relation);
	int			natts = tupdesc->natts;

	c->context = CurrentMemoryContext;
	c->relation_name = pstrdup(RelationGetRelationName(relation));
	c->tupdesc = CreateTupleDescCopy(tupdesc);
	c->estate = CreateExecutorState();
	c->defaults = palloc0(sizeof(ColumnExpr) * natts);
	c->generated = palloc0(sizeof(ColumnExpr) * natts);
	c->notnull = palloc(sizeof(AttrNumber) * natts);
	c->domains = palloc(sizeof(AttrNumber) * natts);
	c->domain_caches = palloc0(sizeof(void *) * natts);

	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped)
			compile_column(c, relation, att);
	}
	if (tupdesc->constr != NULL)
		compile_checks(c, tupdesc->constr);
	return c;
}

/* Tells whether weir_constrain_row may raise an error. */
bool
weir_constrain_may_throw(const WeirConstrainer *c)
{
	return c->ndefaults > 0 || c->ngenerated > 0 || c->nchecks > 0 || c->ndomains > 0;
}

/* Evaluates an expression into its column; the value lives in the current context. */
static void
evaluate(const ColumnExpr *expr, ExprContext *econtext, TupleTableSlot *slot)
{
	int			i = expr->attno - 1;
	MemoryContext caller = CurrentMemoryContext;
	Datum		value;
	bool		isnull;

	value = ExecEvalExprSwitchContext(expr->state, econtext, &isnull);
	MemoryContextSwitchTo(caller);
	slot->tts_isnull[i] = isnull;
	slot->tts_values[i] = isnull ? (Datum) 0 : datumCopy(value, expr->typbyval, expr->typlen);
}

static bool
violation(const WeirConstrainer *c, WeirFault *fault, const char *column, const char *constraint)
{
	if (column != NULL)
		return weir_fault(fault, WEIR_STAGE_CONSTRAINT, ERRCODE_NOT_NULL_VIOLATION, column,
						  "null value in column \"%s\" violates not-null constraint", column);
	weir_fault(fault, WEIR_STAGE_CONSTRAINT, ERRCODE_CHECK_VIOLATION, NULL,
			   "row violates check constraint \"%s\"", constraint);
	fault->constraint_name = constraint;
	return false;
}

/* Gives columns that the message did not mention their DEFAULTs; checks domains without one. */
static void
complete_row(WeirConstrainer *c, ExprContext *econtext, TupleTableSlot *slot, const bool *present)
{
	for (int i = 0; i < c->ndefaults; i++)
	{
		if (!present[c->defaults[i].attno - 1])
			evaluate(&c->defaults[i], econtext, slot);
	}
	for (int i = 0; i < c->ndomains; i++)
	{
		int			col = c->domains[i] - 1;

		if (slot->tts_isnull[col])
			domain_check((Datum) 0, true, TupleDescAttr(c->tupdesc, col)->atttypid,
						 &c->domain_caches[i], c->context);
	}
}

/* Completes and judges a row. */
bool
weir_constrain_row(WeirConstrainer *c, TupleTableSlot *slot,
				   const bool *present, bool tombstone, WeirFault *fault)
{
	ExprContext *econtext = GetPerTupleExprContext(c->estate);

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	ExecStoreVirtualTuple(slot);

	if (!tombstone)
		complete_row(c, econtext, slot, present);
	for (int i = 0; i < c->ngenerated; i++)
		evaluate(&c->generated[i], econtext, slot);

	for (int i = 0; i < c->nnotnull; i++)
	{
		int			col = c->notnull[i] - 1;

		if (slot->tts_isnull[col])
			return violation(c, fault, pstrdup(NameStr(TupleDescAttr(c->tupdesc, col)->attname)), NULL);
	}
	for (int i = 0; i < c->nchecks; i++)
	{
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(c->checks[i].state, econtext, &isnull);

		if (!isnull && !DatumGetBool(value))
			return violation(c, fault, NULL, c->checks[i].name);
	}
	return true;
}
