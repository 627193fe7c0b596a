/*
 * aggregate_state.c
 *	  What is kept for a group: the states of its aggregates, or the error that
 *	  putting them together raised.
 *
 * An error stays: what the group would be without the rows behind it, nobody
 * knows.
 */
#include "postgres.h"

#include "access/transam.h"
#include "aggregate_state.h"
#include "errors.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The first byte. */
#define STATES 0				/* none is null */
#define STATES_WITH_NULLS 1		/* a byte before each says whether it is there */
#define STATES_ERROR 2			/* SQLSTATE, time and message */

static bool
any_null(const bool *nulls, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			return true;
	}
	return false;
}

/* Appends what stands before the i-th state. */
static bool
pack_presence(bool with_nulls, bool isnull, StringInfo bytes)
{
	if (with_nulls)
		appendStringInfoCharMacro(bytes, isnull ? 0 : 1);
	return !isnull;
}

/* Appends a row of states as the executor yields it. */
void
weir_states_pack_row(WeirPartialSet *set, const Datum *values, const bool *nulls, StringInfo bytes)
{
	bool		with_nulls = any_null(nulls, set->n);

	appendStringInfoCharMacro(bytes, with_nulls ? STATES_WITH_NULLS : STATES);
	for (int i = 0; i < set->n; i++)
	{
		if (pack_presence(with_nulls, nulls[i], bytes))
			weir_partial_pack_travelling(set, i, values[i], bytes);
	}
}

/* Appends an error. */
void
weir_states_pack_error(int sqlstate, const char *message, StringInfo bytes)
{
	appendStringInfoCharMacro(bytes, STATES_ERROR);
	weir_pack_uint(sqlstate, bytes);
	weir_pack_int(GetCurrentTimestamp(), bytes);
	weir_pack_bytes(message, strlen(message), bytes);
}

static bool
is_error(WeirUnpack packed)
{
	return *packed.next == STATES_ERROR;
}

/* Reads a row of states into the set. */
static void
unpack(WeirPartialSet *set, WeirUnpack packed, WeirState *states)
{
	bool		with_nulls = weir_unpack_uint(&packed) == STATES_WITH_NULLS;

	for (int i = 0; i < set->n; i++)
	{
		states[i].isnull = with_nulls && weir_unpack_uint(&packed) == 0;
		states[i].value = states[i].isnull ? (Datum) 0 : weir_partial_unpack(set, i, &packed);
	}
}

/* Appends a row of states. */
static void
pack(WeirPartialSet *set, const WeirState *states, StringInfo bytes)
{
	bool		with_nulls = false;

	for (int i = 0; i < set->n; i++)
		with_nulls = with_nulls || states[i].isnull;
	appendStringInfoCharMacro(bytes, with_nulls ? STATES_WITH_NULLS : STATES);
	for (int i = 0; i < set->n; i++)
	{
		if (pack_presence(with_nulls, states[i].isnull, bytes))
			weir_partial_pack(set, i, states[i].value, bytes);
	}
}

/* Combines several packed rows. */
void
weir_states_combine(WeirPartialSet *set, List *packed, StringInfo bytes)
{
	WeirState  *states = palloc0(sizeof(WeirState) * Max(set->n, 1));
	WeirState  *further = palloc0(sizeof(WeirState) * Max(set->n, 1));
	ListCell   *cell;

	weir_partial_reset(set);
	foreach(cell, packed)
	{
		WeirUnpack	row = *(WeirUnpack *) lfirst(cell);

		if (is_error(row))
		{
			appendBinaryStringInfo(bytes, row.next, row.end - row.next);
			return;
		}
		if (cell == list_head(packed))
		{
			unpack(set, row, states);
			continue;
		}
		unpack(set, row, further);
		for (int i = 0; i < set->n; i++)
			weir_partial_combine(set, i, &states[i], further[i]);
	}
	pack(set, states, bytes);
	pfree(states);
	pfree(further);
}

/* Describes an error as jsonb. */
Datum
weir_states_describe_error(int sqlstate, TimestampTz seen_at, const char *message)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"sqlstate\": \"%s\", \"seen_at\": \"%s\", \"message\": ", unpack_sql_state(sqlstate),
					 timestamptz_to_str(seen_at));
	escape_json(&json, message);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* Describes a packed error. */
static Datum
describe(WeirUnpack packed)
{
	WeirUnpack	message;
	int			sqlstate;
	TimestampTz seen_at;

	(void) weir_unpack_uint(&packed);
	sqlstate = weir_unpack_uint(&packed);
	seen_at = weir_unpack_int(&packed);
	message = weir_unpack_bytes(&packed);
	return weir_states_describe_error(sqlstate, seen_at, pnstrdup(message.next, message.end - message.next));
}

/* States on their way to results. */
typedef struct Finishing
{
	WeirPartialSet *set;
	WeirState  *states;
	Datum	   *results;
	bool	   *nulls;
} Finishing;

static void
finish(void *arg)
{
	Finishing  *finishing = arg;

	for (int i = 0; i < finishing->set->n; i++)
		finishing->results[i] = weir_partial_finish(finishing->set, i, finishing->states[i], &finishing->nulls[i]);
}

/* May a final function raise an error?  PostgreSQL's own do not. */
static bool
may_fail(const WeirPartialSet *set)
{
	for (int i = 0; i < set->n; i++)
	{
		if (set->partials[i].final.fn_oid >= FirstNormalObjectId)
			return true;
	}
	return false;
}

/* Returns the results of a packed row. */
bool
weir_states_finish(WeirPartialSet *set, WeirUnpack packed, Datum *results, bool *nulls, Datum *error)
{
	Finishing	finishing = {set, palloc(sizeof(WeirState) * Max(set->n, 1)), results, nulls};
	ErrorData  *raised = NULL;

	memset(nulls, true, sizeof(bool) * set->n);
	if (is_error(packed))
	{
		*error = describe(packed);
		return false;
	}
	weir_partial_reset(set);
	unpack(set, packed, finishing.states);
	if (may_fail(set))
		raised = weir_try(finish, &finishing);
	else
		finish(&finishing);
	if (raised == NULL)
		return true;
	memset(nulls, true, sizeof(bool) * set->n);
	*error = weir_states_describe_error(raised->sqlerrcode, GetCurrentTimestamp(), raised->message);
	return false;
}
