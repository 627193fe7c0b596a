/*
 * partial.c
 *	  The transition states of aggregates, taken out of the executor: combined,
 *	  packed, and finished.
 *
 * This is what nodeAgg.c does above the workers of a parallel query.  The
 * functions of aggregates ask who calls them and in which memory their states
 * live, so they are shown an AggState that has just that.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "parser/parse_agg.h"
#include "partial.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Returns a copy of an aggregate's catalogue row. */
static HeapTuple
aggregate_row(Oid aggfnoid)
{
	HeapTuple	tuple = SearchSysCacheCopy1(AGGFNOID, ObjectIdGetDatum(aggfnoid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggfnoid);
	return tuple;
}

/* Returns a way out for an aggregate that cannot be combined, or NULL. */
static const char *
way_out(const Aggref *aggref, char kind)
{
	const char *name = get_func_name(aggref->aggfnoid);

	if (strncmp(name, "percentile_", 11) == 0)
		return "tdigest_percentile of extension tdigest estimates percentiles, and can be maintained.";
	if (kind != AGGKIND_NORMAL)
		return NULL;
	if (strcmp(name, "array_agg") == 0 || strcmp(name, "string_agg") == 0)
		return "PostgreSQL 16 and later can combine it.";
	return NULL;
}

/* Raises an error unless the states of an aggregate can be combined. */
void
weir_partial_check(const Aggref *aggref)
{
	HeapTuple	tuple;
	Form_pg_aggregate form;
	const char *hint;

	if (aggref->aggdistinct != NIL)
	{
		weir_distinct_check(aggref);
		return;
	}
	tuple = aggregate_row(aggref->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	if (form->aggkind == AGGKIND_NORMAL && OidIsValid(form->aggcombinefn) &&
		(form->aggtranstype != INTERNALOID ||
		 (OidIsValid(form->aggserialfn) && OidIsValid(form->aggdeserialfn))))
	{
		heap_freetuple(tuple);
		return;
	}
	hint = way_out(aggref, form->aggkind);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("aggregate function %s cannot be maintained incrementally",
					format_procedure(aggref->aggfnoid)),
			 errdetail("PostgreSQL %s has no way to combine or to store its partial results.", PG_MAJORVERSION),
			 hint ? errhint("%s", hint) : 0));
}

/* Returns the call that is planned to give the states of another. */
Aggref *
weir_partial_planned(const Aggref *aggref)
{
	return aggref->aggdistinct != NIL ? weir_distinct_collector(aggref) : copyObject((Aggref *) aggref);
}

/* Returns the type of an aggregate's states. */
Oid
weir_partial_transtype(const Aggref *aggref)
{
	HeapTuple	tuple = aggregate_row(aggref->aggfnoid);
	Oid			declared = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggtranstype;
	Oid			inputs[FUNC_MAX_ARGS];
	int			n = get_aggregate_argtypes((Aggref *) aggref, inputs);

	heap_freetuple(tuple);
	return resolve_aggregate_transtype(aggref->aggfnoid, declared, inputs, n);
}

/* What the functions see as their caller. */
static AggState *
make_context(MemoryContext states)
{
	AggState   *agg = makeNode(AggState);
	EState	   *estate = CreateExecutorState();

	agg->ss.ps.state = estate;
	agg->tmpcontext = CreateExprContext(estate);
	agg->curaggcontext = CreateExprContext(estate);
	MemoryContextDelete(agg->curaggcontext->ecxt_per_tuple_memory);
	agg->curaggcontext->ecxt_per_tuple_memory = states;
	return agg;
}

/* Prepares the functions that combine, and that carry internal states. */
static void
init_combine(WeirPartial *partial, Form_pg_aggregate form)
{
	Oid			inputs[] = {partial->transtype, partial->transtype};
	Expr	   *expr;

	build_aggregate_transfn_expr(inputs, 2, 0, false, partial->transtype, partial->collation,
								 form->aggcombinefn, InvalidOid, &expr, NULL);
	fmgr_info(form->aggcombinefn, &partial->combine);
	fmgr_info_set_expr((Node *) expr, &partial->combine);
	if (!partial->serialized)
		return;
	build_aggregate_serialfn_expr(form->aggserialfn, &expr);
	fmgr_info(form->aggserialfn, &partial->serialize);
	fmgr_info_set_expr((Node *) expr, &partial->serialize);
	build_aggregate_deserialfn_expr(form->aggdeserialfn, &expr);
	fmgr_info(form->aggdeserialfn, &partial->deserialize);
	fmgr_info_set_expr((Node *) expr, &partial->deserialize);
}

/* Prepares the function that finishes. */
static void
init_final(WeirPartial *partial, Form_pg_aggregate form, const Aggref *aggref)
{
	Oid			inputs[FUNC_MAX_ARGS];
	Expr	   *expr;

	partial->final.fn_oid = InvalidOid;
	if (!OidIsValid(form->aggfinalfn))
		return;
	partial->final_args = 1 + (form->aggfinalextra ? list_length(aggref->aggargtypes) : 0);
	get_aggregate_argtypes((Aggref *) aggref, inputs);
	build_aggregate_finalfn_expr(inputs, partial->final_args, partial->transtype, partial->result_type,
								 partial->collation, form->aggfinalfn, &expr);
	fmgr_info(form->aggfinalfn, &partial->final);
	fmgr_info_set_expr((Node *) expr, &partial->final);
}

static void
init_partial(WeirPartial *partial, const Aggref *aggref, AggState *context)
{
	HeapTuple	tuple = aggregate_row(aggref->aggfnoid);
	Form_pg_aggregate form = (Form_pg_aggregate) GETSTRUCT(tuple);

	partial->context = context;
	if (aggref->aggdistinct != NIL)
	{
		partial->distinct = weir_distinct_init(aggref);
		weir_packer_init(&partial->packer, BYTEAOID);
		heap_freetuple(tuple);
		return;
	}
	partial->transtype = aggref->aggtranstype;
	partial->serialized = aggref->aggtranstype == INTERNALOID;
	partial->collation = aggref->inputcollid;
	partial->result_type = get_func_rettype(aggref->aggfnoid);
	if (IsPolymorphicType(partial->result_type))
		partial->result_type = aggref->aggtype;
	get_typlenbyval(partial->transtype, &partial->translen, &partial->transbyval);
	get_typlenbyval(partial->result_type, &partial->result_len, &partial->result_byval);
	init_combine(partial, form);
	init_final(partial, form, aggref);
	weir_packer_init(&partial->packer, partial->serialized ? BYTEAOID : partial->transtype);
	heap_freetuple(tuple);
}

/* Makes ready the aggregates of a list. */
WeirPartialSet *
weir_partial_init(List *aggrefs)
{
	WeirPartialSet *set = palloc0(sizeof(WeirPartialSet));
	AggState   *context;

	set->n = list_length(aggrefs);
	set->partials = palloc0(sizeof(WeirPartial) * Max(set->n, 1));
	set->states = AllocSetContextCreate(CurrentMemoryContext, "pg_weir aggregate states", ALLOCSET_DEFAULT_SIZES);
	context = make_context(set->states);
	for (int i = 0; i < set->n; i++)
		init_partial(&set->partials[i], list_nth(aggrefs, i), context);
	return set;
}

/* Frees all states. */
void
weir_partial_reset(WeirPartialSet *set)
{
	MemoryContextReset(set->states);
}

/* Keeps what a function returned beyond its short-lived memory. */
static Datum
keep(WeirPartialSet *set, const WeirPartial *partial, Datum value)
{
	MemoryContext old;

	if (partial->transbyval || DatumGetPointer(value) == NULL)
		return value;
	if (DatumIsReadWriteExpandedObject(value, false, partial->translen) &&
		MemoryContextGetParent(DatumGetEOHP(value)->eoh_context) == set->states)
		return value;
	old = MemoryContextSwitchTo(set->states);
	value = datumCopy(value, false, partial->translen);
	MemoryContextSwitchTo(old);
	return value;
}

/* Unites two sets of values; NULL is the set of no rows. */
static void
combine_distinct(WeirState *state, WeirState further)
{
	if (state->isnull)
		*state = further;
	else if (!further.isnull)
		weir_distinct_union((WeirDistinctSet *) DatumGetPointer(state->value),
							(WeirDistinctSet *) DatumGetPointer(further.value));
}

/* Combines a further state into one. */
void
weir_partial_combine(WeirPartialSet *set, int i, WeirState *state, WeirState further)
{
	WeirPartial *partial = &set->partials[i];
	MemoryContext short_lived = partial->context->tmpcontext->ecxt_per_tuple_memory;
	MemoryContext old;
	Datum		value;

	LOCAL_FCINFO(fcinfo, 2);

	if (partial->distinct != NULL)
	{
		combine_distinct(state, further);
		return;
	}
	if (partial->combine.fn_strict && further.isnull)
		return;
	if (partial->combine.fn_strict && state->isnull)
	{
		*state = further;
		return;
	}
	InitFunctionCallInfoData(*fcinfo, &partial->combine, 2, partial->collation,
							 (Node *) partial->context, NULL);
	fcinfo->args[0].value = state->value;
	fcinfo->args[0].isnull = state->isnull;
	fcinfo->args[1].value = further.value;
	fcinfo->args[1].isnull = further.isnull;

	old = MemoryContextSwitchTo(short_lived);
	value = FunctionCallInvoke(fcinfo);
	MemoryContextSwitchTo(old);
	if (!fcinfo->isnull && (state->isnull || value != state->value))
		value = keep(set, partial, value);
	state->value = value;
	state->isnull = fcinfo->isnull;
	MemoryContextReset(short_lived);
}

/* Appends a state as the executor's partial aggregation yields it. */
void
weir_partial_pack_travelling(WeirPartialSet *set, int i, Datum value, StringInfo bytes)
{
	weir_pack_value(&set->partials[i].packer, value, bytes);
}

/* Calls a function of one argument that carries states. */
static Datum
carry(const WeirPartial *partial, const FmgrInfo *function, Datum value, int nargs)
{
	Datum		result;

	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, (FmgrInfo *) function, nargs, InvalidOid,
							 (Node *) partial->context, NULL);
	fcinfo->args[0].value = value;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(NULL);
	fcinfo->args[1].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		elog(ERROR, "function %u returned NULL", function->fn_oid);
	return result;
}

/* Appends a state that is not null. */
void
weir_partial_pack(WeirPartialSet *set, int i, Datum value, StringInfo bytes)
{
	WeirPartial *partial = &set->partials[i];
	MemoryContext short_lived = partial->context->tmpcontext->ecxt_per_tuple_memory;
	MemoryContext old;

	if (!partial->serialized && partial->distinct == NULL)
	{
		weir_partial_pack_travelling(set, i, value, bytes);
		return;
	}
	old = MemoryContextSwitchTo(short_lived);
	if (partial->distinct != NULL)
	{
		StringInfoData packed;

		initStringInfo(&packed);
		weir_distinct_pack((WeirDistinctSet *) DatumGetPointer(value), &packed);
		weir_pack_bytes(packed.data, packed.len, bytes);
	}
	else
		weir_partial_pack_travelling(set, i, carry(partial, &partial->serialize, value, 1), bytes);
	MemoryContextSwitchTo(old);
	MemoryContextReset(short_lived);
}

/* Reads a state back into the set. */
Datum
weir_partial_unpack(WeirPartialSet *set, int i, WeirUnpack *bytes)
{
	WeirPartial *partial = &set->partials[i];
	MemoryContext old = MemoryContextSwitchTo(set->states);
	Datum		value;

	if (partial->distinct != NULL)
		value = PointerGetDatum(weir_distinct_unpack(partial->distinct, weir_unpack_bytes(bytes)));
	else
		value = weir_unpack_value(&partial->packer, bytes);
	if (partial->serialized)
		value = carry(partial, &partial->deserialize, value, 2);
	MemoryContextSwitchTo(old);
	return value;
}

/* Returns the result of a state. */
Datum
weir_partial_finish(WeirPartialSet *set, int i, WeirState state, bool *isnull)
{
	WeirPartial *partial = &set->partials[i];
	MemoryContext short_lived = partial->context->tmpcontext->ecxt_per_tuple_memory;
	MemoryContext caller;
	Datum		value;

	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);

	if (partial->distinct != NULL)
		return weir_distinct_finish(partial->distinct,
									state.isnull ? NULL : (WeirDistinctSet *) DatumGetPointer(state.value),
									partial->context, isnull);
	*isnull = state.isnull;
	if (!OidIsValid(partial->final.fn_oid))
		return state.isnull ? (Datum) 0 : datumCopy(state.value, partial->result_byval, partial->result_len);
	if (partial->final.fn_strict && (state.isnull || partial->final_args > 1))
	{
		*isnull = true;
		return (Datum) 0;
	}
	InitFunctionCallInfoData(*fcinfo, &partial->final, partial->final_args, partial->collation,
							 (Node *) partial->context, NULL);
	for (int arg = 0; arg < partial->final_args; arg++)
		fcinfo->args[arg] = (NullableDatum) {(Datum) 0, true};
	fcinfo->args[0].value = MakeExpandedObjectReadOnly(state.value, state.isnull, partial->translen);
	fcinfo->args[0].isnull = state.isnull;

	caller = MemoryContextSwitchTo(short_lived);
	value = FunctionCallInvoke(fcinfo);
	MemoryContextSwitchTo(caller);
	*isnull = fcinfo->isnull;
	if (!*isnull)
		value = datumCopy(value, partial->result_byval, partial->result_len);
	MemoryContextReset(short_lived);
	return value;
}
