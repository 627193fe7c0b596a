/*
 * aggregate_state.h
 *	  What is kept for a group: the states of its aggregates, or the error that
 *	  putting them together raised.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_STATE_H
#define WEIR_AGGREGATE_STATE_H

#include "datatype/timestamp.h"
#include "partial.h"

/* Appends a row of states as the executor yields it. */
extern void weir_states_pack_row(WeirPartialSet *set, const Datum *values, const bool *nulls, StringInfo bytes);

/* Appends an error instead. */
extern void weir_states_pack_error(int sqlstate, const char *message, StringInfo bytes);

/* Combines several packed rows of states, and appends what comes out. */
extern void weir_states_combine(WeirPartialSet *set, List *packed, StringInfo bytes);

/*
 * Sets the results of a packed row.  False if there are none: all are NULL,
 * and *error is set to the error's description, a jsonb.
 */
extern bool weir_states_finish(WeirPartialSet *set, WeirUnpack packed, Datum *results, bool *nulls, Datum *error);

/* Describes an error as jsonb: sqlstate, seen_at, message. */
extern Datum weir_states_describe_error(int sqlstate, TimestampTz seen_at, const char *message);

#endif							/* WEIR_AGGREGATE_STATE_H */
