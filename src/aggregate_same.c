/*
 * aggregate_same.c
 *	  Are two results of an aggregate the same?
 *
 * The order in which events come together is not the order in which they are
 * staged: sums of floats differ by rounding, arrays in their order.
 */
#include "postgres.h"

#include <math.h>

#include "aggregate_same.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* How far floats may be apart, as a part of the greater one. */
#define TOLERANCE_FLOAT8 1e-9
#define TOLERANCE_FLOAT4 1e-5

static bool
is_near(double a, double b, double tolerance)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	if (isinf(a) || isinf(b))
		return a == b;
	return fabs(a - b) <= tolerance * Max(fabs(a), fabs(b));
}

/* What comparing elements needs. */
typedef struct Order
{
	FmgrInfo   *compare;
	Oid			collation;
} Order;

static int
compare_elements(const void *a, const void *b, void *arg)
{
	Order	   *order = arg;

	return DatumGetInt32(FunctionCall2Coll(order->compare, order->collation, *(const Datum *) a, *(const Datum *) b));
}

/* Takes an array apart, its elements in order, without its NULLs; returns how many there are of either. */
static int
sorted_elements(Datum array, TypeCacheEntry *type, Order *order, Datum **elements, int *nulls)
{
	bool	   *isnull;
	int			n;
	int			kept = 0;

	deconstruct_array(DatumGetArrayTypeP(array), type->type_id, type->typlen, type->typbyval, type->typalign,
					  elements, &isnull, &n);
	for (int i = 0; i < n; i++)
	{
		if (!isnull[i])
			(*elements)[kept++] = (*elements)[i];
	}
	qsort_arg(*elements, kept, sizeof(Datum), compare_elements, order);
	*nulls = n - kept;
	return kept;
}

/* Have two arrays the same elements? */
static bool
is_same_multiset(Oid element_type, Oid collation, Datum a, Datum b)
{
	TypeCacheEntry *type = lookup_type_cache(element_type, TYPECACHE_CMP_PROC_FINFO);
	Order		order = {&type->cmp_proc_finfo, collation};
	Datum	   *left;
	Datum	   *right;
	int			left_nulls,
				right_nulls;
	int			n;

	if (!OidIsValid(type->cmp_proc_finfo.fn_oid))
		return false;
	n = sorted_elements(a, type, &order, &left, &left_nulls);
	if (sorted_elements(b, type, &order, &right, &right_nulls) != n || left_nulls != right_nulls)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (!weir_is_same(element_type, collation, left[i], right[i]))
			return false;
	}
	return true;
}

/* Are two values the same? */
bool
weir_is_same(Oid declared, Oid collation, Datum a, Datum b)
{
	Oid			oid = getBaseType(declared);
	TypeCacheEntry *type = lookup_type_cache(oid, TYPECACHE_EQ_OPR_FINFO);

	if (oid == FLOAT8OID)
		return is_near(DatumGetFloat8(a), DatumGetFloat8(b), TOLERANCE_FLOAT8);
	if (oid == FLOAT4OID)
		return is_near(DatumGetFloat4(a), DatumGetFloat4(b), TOLERANCE_FLOAT4);
	if (datum_image_eq(a, b, type->typbyval, type->typlen))
		return true;
	if (OidIsValid(type->eq_opr_finfo.fn_oid) &&
		DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, collation, a, b)))
		return true;
	return OidIsValid(get_element_type(oid)) && is_same_multiset(get_element_type(oid), collation, a, b);
}
