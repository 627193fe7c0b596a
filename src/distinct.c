/*
 * distinct.c
 *	  Aggregates over distinct values, such as count(DISTINCT x): the values
 *	  are kept, and aggregated when somebody reads.
 *
 * While a batch is grouped, weir_internal.distinct_values() collects the
 * values of each group in place of the aggregate.  What travels to the store
 * is its serialised state, which is read, united and finished here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "distinct.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(weir_distinct_add);
PG_FUNCTION_INFO_V1(weir_distinct_serialize);
PG_FUNCTION_INFO_V1(weir_distinct_deserialize);
PG_FUNCTION_INFO_V1(weir_distinct_final);

/* A value: where its bytes are. */
typedef struct Member
{
	uint32		hash;
	int			position;
	int			len;
} Member;

struct WeirDistinctSet
{
	const WeirKeySet *type;		/* one key */
	MemoryContext context;
	int			n;
	int			room;
	Member	   *members;
	int			nbuckets;		/* a power of two */
	int		   *buckets;		/* positions in members plus one; 0: empty */
	StringInfoData bytes;
};

struct WeirDistinct
{
	WeirKeySet *type;
	FmgrInfo	transition;
	FmgrInfo	final;
	int			final_args;
	Oid			collation;
	int16		translen;
	bool		transbyval;
	Datum		initial;
	bool		no_initial;
	int16		result_len;
	bool		result_byval;
};

/* Makes an empty set in the current context. */
static WeirDistinctSet *
make_set(const WeirKeySet *type)
{
	WeirDistinctSet *set = palloc0(sizeof(WeirDistinctSet));

	set->type = type;
	set->context = CurrentMemoryContext;
	set->room = 4;
	set->members = palloc(sizeof(Member) * set->room);
	set->nbuckets = 8;
	set->buckets = palloc0(sizeof(int) * set->nbuckets);
	initStringInfo(&set->bytes);
	return set;
}

static WeirUnpack
bytes_of(const WeirDistinctSet *set, const Member *member)
{
	const char *from = set->bytes.data + member->position;

	return (WeirUnpack) {from, from + member->len};
}

/* Enters a member into the buckets. */
static void
enter(WeirDistinctSet *set, int i)
{
	uint32		bucket = set->members[i].hash & (set->nbuckets - 1);

	while (set->buckets[bucket] != 0)
		bucket = (bucket + 1) & (set->nbuckets - 1);
	set->buckets[bucket] = i + 1;
}

/* Makes room for one more member. */
static void
grow(WeirDistinctSet *set)
{
	if (set->n < set->room)
		return;
	set->room *= 2;
	set->members = repalloc_huge(set->members, sizeof(Member) * set->room);
	pfree(set->buckets);
	set->nbuckets = set->room * 2;
	set->buckets = MemoryContextAllocExtended(set->context, sizeof(int) * set->nbuckets, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < set->n; i++)
		enter(set, i);
}

/* Adds the value whose bytes are the last of the set's, unless it is there. */
static void
add_last(WeirDistinctSet *set, uint32 hash, int position)
{
	Member		member = {hash, position, set->bytes.len - position};
	WeirUnpack	bytes = bytes_of(set, &member);

	for (uint32 bucket = hash & (set->nbuckets - 1); set->buckets[bucket] != 0;
		 bucket = (bucket + 1) & (set->nbuckets - 1))
	{
		const Member *other = &set->members[set->buckets[bucket] - 1];

		if (other->hash == hash && weir_keys_equal(set->type, bytes_of(set, other), bytes))
		{
			set->bytes.len = position;
			return;
		}
	}
	grow(set);
	set->members[set->n] = member;
	enter(set, set->n++);
}

/* Adds a value that is packed already. */
static void
add_packed(WeirDistinctSet *set, uint32 hash, WeirUnpack packed)
{
	int			position = set->bytes.len;

	appendBinaryStringInfo(&set->bytes, packed.next, packed.end - packed.next);
	add_last(set, hash, position);
}

/* Reads a set. */
WeirDistinctSet *
weir_distinct_unpack(const WeirDistinct *distinct, WeirUnpack bytes)
{
	WeirDistinctSet *set = make_set(distinct->type);
	uint64		n = weir_unpack_uint(&bytes);

	while (n-- > 0)
	{
		uint32		hash = (uint32) weir_unpack_uint(&bytes);

		add_packed(set, hash, weir_unpack_bytes(&bytes));
	}
	return set;
}

/* Adds another set's values. */
void
weir_distinct_union(WeirDistinctSet *set, const WeirDistinctSet *further)
{
	for (int i = 0; i < further->n; i++)
		add_packed(set, further->members[i].hash, bytes_of(further, &further->members[i]));
}

/* Appends a set. */
void
weir_distinct_pack(const WeirDistinctSet *set, StringInfo bytes)
{
	weir_pack_uint(set->n, bytes);
	for (int i = 0; i < set->n; i++)
	{
		WeirUnpack	value = bytes_of(set, &set->members[i]);

		weir_pack_uint(set->members[i].hash, bytes);
		weir_pack_bytes(value.next, value.end - value.next, bytes);
	}
}

/* Returns the argument of a call with DISTINCT, as a key. */
static WeirKeySet *
type_of(const Aggref *aggref)
{
	return weir_keys_init(list_make1(linitial(aggref->args)));
}

/* Raises an error unless the values of a call can be kept. */
void
weir_distinct_check(const Aggref *aggref)
{
	if (aggref->aggkind != AGGKIND_NORMAL || list_length(aggref->args) != 1 ||
		list_length(aggref->aggorder) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("aggregate function %s with DISTINCT cannot be maintained incrementally",
						get_func_name(aggref->aggfnoid)),
				 errdetail("Only those of one argument can.")));
	(void) type_of(aggref);
}

/* Returns the call that collects the values. */
Aggref *
weir_distinct_collector(const Aggref *aggref)
{
	Aggref	   *collector = makeNode(Aggref);
	TargetEntry *argument = copyObject(linitial(aggref->args));
	Oid			type = exprType((Node *) argument->expr);

	argument->ressortgroupref = 0;
	collector->aggfnoid = LookupFuncName(list_make2(makeString("weir_internal"), makeString("distinct_values")),
										 1, (Oid[]) {ANYELEMENTOID}, false);
	collector->aggtype = BYTEAOID;
	collector->inputcollid = exprCollation((Node *) argument->expr);
	collector->aggargtypes = list_make1_oid(type);
	collector->args = list_make1(argument);
	collector->aggfilter = copyObject(aggref->aggfilter);
	collector->aggkind = AGGKIND_NORMAL;
	collector->aggsplit = AGGSPLIT_SIMPLE;
	collector->aggno = collector->aggtransno = -1;
	collector->location = -1;
	return collector;
}

/* Reads the value that an aggregate begins with. */
static void
init_initial(WeirDistinct *distinct, HeapTuple tuple, Oid transtype)
{
	Datum		written = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &distinct->no_initial);
	Oid			input;
	Oid			ioparam;

	if (distinct->no_initial)
		return;
	getTypeInputInfo(transtype, &input, &ioparam);
	distinct->initial = OidInputFunctionCall(input, TextDatumGetCString(written), ioparam, -1);
}

/* Prepares the functions of the aggregate itself. */
static void
init_functions(WeirDistinct *distinct, const Aggref *aggref, HeapTuple tuple)
{
	Form_pg_aggregate form = (Form_pg_aggregate) GETSTRUCT(tuple);
	Oid			inputs[FUNC_MAX_ARGS];
	int			n = get_aggregate_argtypes((Aggref *) aggref, inputs);
	Oid			transtype = resolve_aggregate_transtype(aggref->aggfnoid, form->aggtranstype, inputs, n);
	Expr	   *expr;

	get_typlenbyval(transtype, &distinct->translen, &distinct->transbyval);
	get_typlenbyval(aggref->aggtype, &distinct->result_len, &distinct->result_byval);
	build_aggregate_transfn_expr(inputs, n, 0, false, transtype, aggref->inputcollid,
								 form->aggtransfn, InvalidOid, &expr, NULL);
	fmgr_info(form->aggtransfn, &distinct->transition);
	fmgr_info_set_expr((Node *) expr, &distinct->transition);
	distinct->final.fn_oid = InvalidOid;
	init_initial(distinct, tuple, transtype);
	if (!OidIsValid(form->aggfinalfn))
		return;
	distinct->final_args = 1 + (form->aggfinalextra ? n : 0);
	build_aggregate_finalfn_expr(inputs, distinct->final_args, transtype, aggref->aggtype,
								 aggref->inputcollid, form->aggfinalfn, &expr);
	fmgr_info(form->aggfinalfn, &distinct->final);
	fmgr_info_set_expr((Node *) expr, &distinct->final);
}

/* Makes ready a call with DISTINCT. */
WeirDistinct *
weir_distinct_init(const Aggref *aggref)
{
	WeirDistinct *distinct = palloc0(sizeof(WeirDistinct));
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	distinct->type = type_of(aggref);
	distinct->collation = aggref->inputcollid;
	init_functions(distinct, aggref, tuple);
	ReleaseSysCache(tuple);
	return distinct;
}

/* Takes one more value into a state. */
static void
step(WeirDistinct *distinct, AggState *context, NullableDatum *state, Datum value, bool isnull)
{
	MemoryContext states = context->curaggcontext->ecxt_per_tuple_memory;
	MemoryContext old;
	Datum		next;

	LOCAL_FCINFO(fcinfo, 2);

	if (distinct->transition.fn_strict && isnull)
		return;
	old = MemoryContextSwitchTo(states);
	if (distinct->transition.fn_strict && state->isnull)
	{
		state->value = datumCopy(value, distinct->transbyval, distinct->translen);
		state->isnull = false;
		MemoryContextSwitchTo(old);
		return;
	}
	InitFunctionCallInfoData(*fcinfo, &distinct->transition, 2, distinct->collation, (Node *) context, NULL);
	fcinfo->args[0] = *state;
	fcinfo->args[1].value = value;
	fcinfo->args[1].isnull = isnull;
	next = FunctionCallInvoke(fcinfo);
	state->value = next;
	state->isnull = fcinfo->isnull;
	MemoryContextSwitchTo(old);
}

/* Returns the result of a state, in the current context. */
static Datum
finish(WeirDistinct *distinct, AggState *context, NullableDatum state, bool *isnull)
{
	Datum		value = state.value;

	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);

	*isnull = state.isnull;
	if (OidIsValid(distinct->final.fn_oid))
	{
		*isnull = distinct->final.fn_strict && (state.isnull || distinct->final_args > 1);
		if (*isnull)
			return (Datum) 0;
		InitFunctionCallInfoData(*fcinfo, &distinct->final, distinct->final_args, distinct->collation,
								 (Node *) context, NULL);
		for (int i = 0; i < distinct->final_args; i++)
			fcinfo->args[i] = (NullableDatum) {(Datum) 0, true};
		fcinfo->args[0] = state;
		value = FunctionCallInvoke(fcinfo);
		*isnull = fcinfo->isnull;
	}
	return *isnull ? (Datum) 0 : datumCopy(value, distinct->result_byval, distinct->result_len);
}

/* Aggregates the values. */
Datum
weir_distinct_finish(WeirDistinct *distinct, const WeirDistinctSet *set, AggState *context, bool *isnull)
{
	MemoryContext states = context->curaggcontext->ecxt_per_tuple_memory;
	MemoryContext old = MemoryContextSwitchTo(states);
	NullableDatum state = {(Datum) 0, distinct->no_initial};

	if (!distinct->no_initial)
		state.value = datumCopy(distinct->initial, distinct->transbyval, distinct->translen);
	for (int i = 0; set != NULL && i < set->n; i++)
	{
		Datum		value;
		bool		null;

		weir_keys_unpack(distinct->type, bytes_of(set, &set->members[i]), &value, &null);
		step(distinct, context, &state, value, null);
	}
	MemoryContextSwitchTo(old);
	return finish(distinct, context, state, isnull);
}

/* Returns the type of values that distinct_values() is called for, made once. */
static WeirKeySet *
type_of_call(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	MemoryContext old;
	Param	   *value;

	if (flinfo->fn_extra != NULL)
		return flinfo->fn_extra;
	old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	value = makeNode(Param);
	value->paramtype = get_fn_expr_argtype(flinfo, 1);
	value->paramcollid = PG_GET_COLLATION();
	flinfo->fn_extra = weir_keys_init(list_make1(makeTargetEntry((Expr *) value, 1, NULL, false)));
	MemoryContextSwitchTo(old);
	return flinfo->fn_extra;
}

/* Transition function of weir_internal.distinct_values(anyelement): adds a value. */
Datum
weir_distinct_add(PG_FUNCTION_ARGS)
{
	WeirKeySet *type = type_of_call(fcinfo);
	WeirDistinctSet *set;
	MemoryContext context;
	MemoryContext old;
	Datum		value = PG_GETARG_DATUM(1);
	bool		isnull = PG_ARGISNULL(1);
	int			position;
	uint32		hash;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "distinct_add called in non-aggregate context");
	old = MemoryContextSwitchTo(context);
	set = PG_ARGISNULL(0) ? make_set(type) : (WeirDistinctSet *) PG_GETARG_POINTER(0);
	position = set->bytes.len;
	hash = weir_keys_pack(type, &value, &isnull, &set->bytes);
	add_last(set, hash, position);
	MemoryContextSwitchTo(old);
	PG_RETURN_POINTER(set);
}

/* Serialises a state of distinct_values(). */
Datum
weir_distinct_serialize(PG_FUNCTION_ARGS)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	appendStringInfoSpaces(&bytes, VARHDRSZ);
	weir_distinct_pack((WeirDistinctSet *) PG_GETARG_POINTER(0), &bytes);
	SET_VARSIZE(bytes.data, bytes.len);
	PG_RETURN_BYTEA_P(bytes.data);
}

/* There must be one where there is the other; states are read back by weir_distinct_unpack. */
Datum
weir_distinct_deserialize(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("distinct_values is for the queries of continuous aggregates alone")));
}

/* Nobody finishes it either. */
Datum
weir_distinct_final(PG_FUNCTION_ARGS)
{
	return weir_distinct_deserialize(fcinfo);
}
