/*
 * expect_compare.c
 *	  Conditions that compare columns with constants, without the executor.
 *
 *		temp IS NOT NULL AND temp >= -80 AND temp <= 150
 *
 * is a list of terms none of which may be false: an AND is false only if one
 * of its arms is.  Columns and constants of the same type: integers,
 * float8, times.  What cannot be taken apart like that is left to the executor.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "expect_compare.h"
#include "nodes/nodeFuncs.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* A condition while it is taken apart. */
typedef struct Terms
{
	int			n;
	int			room;
	WeirComparisonTerm *items;
} Terms;

/* Which answers the btree strategies accept. */
static const uint8 accepted_by[] = {
	[BTLessStrategyNumber] = WEIR_COMPARE_LESS,
	[BTLessEqualStrategyNumber] = WEIR_COMPARE_LESS | WEIR_COMPARE_EQUAL,
	[BTEqualStrategyNumber] = WEIR_COMPARE_EQUAL,
	[BTGreaterEqualStrategyNumber] = WEIR_COMPARE_GREATER | WEIR_COMPARE_EQUAL,
	[BTGreaterStrategyNumber] = WEIR_COMPARE_GREATER
};

static WeirComparisonTerm *
add_term(Terms *terms, WeirComparisonKind kind, const Var *var)
{
	if (terms->n == terms->room)
	{
		terms->room = Max(8, terms->room * 2);
		terms->items = terms->items == NULL ? palloc(sizeof(WeirComparisonTerm) * terms->room) :
			repalloc(terms->items, sizeof(WeirComparisonTerm) * terms->room);
	}
	terms->items[terms->n] = (WeirComparisonTerm) {.kind = kind,.column = var->varattno - 1};
	return &terms->items[terms->n++];
}

/* Is this a column of the row? */
static bool
is_column(const Node *node)
{
	return IsA(node, Var) && ((const Var *) node)->varno == 1 && ((const Var *) node)->varattno > 0;
}

static int64
number_of(Datum value, int16 typlen)
{
	return typlen == 2 ? DatumGetInt16(value) : typlen == 4 ? DatumGetInt32(value) : DatumGetInt64(value);
}

/* Returns how values of a type are compared here; false if they are not. */
static bool
kind_of(Oid type, WeirComparisonKind *kind)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*kind = WEIR_COMPARE_INT;
			return true;
		case FLOAT8OID:
			*kind = WEIR_COMPARE_FLOAT;
			return true;
		default:
			return false;
	}
}

/* Takes "column operator constant" or the reverse; false if it is something else. */
static bool
take_operator(Terms *terms, const OpExpr *expr)
{
	Node	   *left = linitial(expr->args);
	Node	   *right = list_length(expr->args) == 2 ? lsecond(expr->args) : NULL;
	Oid			operator = expr->opno;
	WeirComparisonKind kind;
	WeirComparisonTerm *term;
	int			strategy;
	const Var  *var;
	const Const *constant;

	if (right != NULL && IsA(left, Const))
	{
		Node	   *swapped = left;

		operator = get_commutator(operator);
		left = right;
		right = swapped;
	}
	if (right == NULL || !OidIsValid(operator) || !is_column(left) || !IsA(right, Const))
		return false;
	var = (const Var *) left;
	constant = (const Const *) right;
	if (constant->constisnull || var->vartype != constant->consttype || !kind_of(var->vartype, &kind))
		return false;
	strategy = get_op_opfamily_strategy(operator, lookup_type_cache(var->vartype, TYPECACHE_BTREE_OPFAMILY)->btree_opf);
	if (strategy < BTLessStrategyNumber || strategy > BTGreaterStrategyNumber)
		return false;
	term = add_term(terms, kind, var);
	term->accepted = accepted_by[strategy];
	term->typlen = get_typlen(var->vartype);
	if (kind == WEIR_COMPARE_FLOAT)
		term->real = DatumGetFloat8(constant->constvalue);
	else
		term->number = number_of(constant->constvalue, term->typlen);
	return true;
}

/* Takes a condition apart; false if it is of another kind. */
static bool
take(Terms *terms, Node *node)
{
	ListCell   *cell;

	if (IsA(node, OpExpr))
		return take_operator(terms, (OpExpr *) node);
	if (IsA(node, NullTest))
	{
		NullTest   *test = (NullTest *) node;

		if (!is_column((Node *) test->arg) || test->argisrow)
			return false;
		add_term(terms, test->nulltesttype == IS_NULL ? WEIR_COMPARE_IS_NULL : WEIR_COMPARE_IS_NOT_NULL, (Var *) test->arg);
		return true;
	}
	if (!IsA(node, BoolExpr) || ((BoolExpr *) node)->boolop != AND_EXPR)
		return false;
	foreach(cell, ((BoolExpr *) node)->args)
	{
		if (!take(terms, lfirst(cell)))
			return false;
	}
	return true;
}

/* Compiles a condition. */
WeirComparison *
weir_compare_create(Expr *condition)
{
	Terms		terms = {0};
	WeirComparison *comparison;

	if (!take(&terms, (Node *) condition))
		return NULL;
	comparison = palloc(offsetof(WeirComparison, terms) + sizeof(WeirComparisonTerm) * terms.n);
	comparison->nterms = terms.n;
	memcpy(comparison->terms, terms.items, sizeof(WeirComparisonTerm) * terms.n);
	return comparison;
}

/* Compares a value; NaN is equal to itself and greater than all else. */
static inline uint8
compare(const WeirComparisonTerm *term, Datum value)
{
	if (term->kind == WEIR_COMPARE_INT)
	{
		int64		number = number_of(value, term->typlen);

		return number < term->number ? WEIR_COMPARE_LESS :
			number > term->number ? WEIR_COMPARE_GREATER : WEIR_COMPARE_EQUAL;
	}
	else
	{
		float8		real = DatumGetFloat8(value);

		return float8_lt(real, term->real) ? WEIR_COMPARE_LESS :
			float8_gt(real, term->real) ? WEIR_COMPARE_GREATER : WEIR_COMPARE_EQUAL;
	}
}

/* Is the condition true or NULL for a row? */
bool
weir_compare_is_met(const WeirComparison *comparison, const Datum *values, const bool *isnull)
{
	for (int i = 0; i < comparison->nterms; i++)
	{
		const WeirComparisonTerm *term = &comparison->terms[i];
		bool		null = isnull[term->column];

		if (term->kind <= WEIR_COMPARE_IS_NOT_NULL)
		{
			if (null != (term->kind == WEIR_COMPARE_IS_NULL))
				return false;
		}
		else if (!null && (compare(term, values[term->column]) & term->accepted) == 0)
			return false;
	}
	return true;
}
