/*
 * partial.h
 *	  The transition states of aggregates, taken out of the executor: combined,
 *	  packed, and finished.
 *
 * Floor 1.
 */
#ifndef WEIR_PARTIAL_H
#define WEIR_PARTIAL_H

#include "postgres.h"

#include "distinct.h"
#include "nodes/execnodes.h"
#include "nodes/primnodes.h"
#include "pack.h"

/*
 * A state: what combine functions work on.  One of type internal is a pointer
 * into the context of its set.
 */
typedef struct WeirState
{
	Datum		value;
	bool		isnull;
} WeirState;

/* One aggregate of a query, ready to run. */
typedef struct WeirPartial
{
	Oid			transtype;
	bool		transbyval;
	int16		translen;
	bool		serialized;		/* states of type internal travel as bytea */
	FmgrInfo	combine;
	FmgrInfo	serialize;
	FmgrInfo	deserialize;
	FmgrInfo	final;			/* fn_oid 0: the state is the result */
	int			final_args;
	Oid			collation;
	Oid			result_type;
	bool		result_byval;
	int16		result_len;
	WeirPacker	packer;			/* of the state as it travels */
	WeirDistinct *distinct;		/* of a call with DISTINCT: states are sets of values; else NULL */
	AggState   *context;		/* what the functions see as their caller */
} WeirPartial;

/* The aggregates of a query, and where their states live. */
typedef struct WeirPartialSet
{
	int			n;
	WeirPartial *partials;
	MemoryContext states;		/* reset by weir_partial_reset */
} WeirPartialSet;

/* Raises 0A000, naming aggregate and way out, unless the states of a call can be combined. */
extern void weir_partial_check(const Aggref *aggref);

/* Returns the call that is planned to give the states of another: itself, or what collects its values. */
extern Aggref *weir_partial_planned(const Aggref *aggref);

/* Returns the type of an aggregate's states. */
extern Oid	weir_partial_transtype(const Aggref *aggref);

/* Makes ready the aggregates of a list of Aggref, whose aggtranstype is set; all in the current context. */
extern WeirPartialSet *weir_partial_init(List *aggrefs);

/* Frees all states. */
extern void weir_partial_reset(WeirPartialSet *set);

/* Combines a further state into one; both live in the set. */
extern void weir_partial_combine(WeirPartialSet *set, int i, WeirState *state, WeirState further);

/* Appends a state that is not null; reads it back into the set. */
extern void weir_partial_pack(WeirPartialSet *set, int i, Datum value, StringInfo bytes);
extern Datum weir_partial_unpack(WeirPartialSet *set, int i, WeirUnpack *bytes);

/* Appends a state as a partial aggregation in the executor yields it: one of type internal as bytea. */
extern void weir_partial_pack_travelling(WeirPartialSet *set, int i, Datum value, StringInfo bytes);

/* Returns the result of a state, in the current context. */
extern Datum weir_partial_finish(WeirPartialSet *set, int i, WeirState state, bool *isnull);

#endif							/* WEIR_PARTIAL_H */
