/*
 * api_window.c
 *	  SQL functions about windows: weir.tumble, weir.hop and weir.session,
 *	  which describe them, and weir_internal.windows_of, which tells the
 *	  windows of an event.
 *
 * What is a window is window_spec.c's business, the arithmetic window.c's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "window_spec.h"

PG_FUNCTION_INFO_V1(weir_tumble);
PG_FUNCTION_INFO_V1(weir_hop);
PG_FUNCTION_INFO_V1(weir_session);
PG_FUNCTION_INFO_V1(weir_windows_of);

/* Returns a weir.window_spec of this kind whose other fields are arguments, in this order. */
static Datum
make_spec(FunctionCallInfo fcinfo, const char *kind, const WeirWindowField *fields)
{
	Datum		values[WEIR_SPEC_FIELDS] = {0};
	bool		nulls[WEIR_SPEC_FIELDS];
	WeirWindow	window;
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "weir.window_spec is not a composite type");
	memset(nulls, true, sizeof(nulls));
	values[WEIR_SPEC_KIND] = CStringGetTextDatum(kind);
	nulls[WEIR_SPEC_KIND] = false;
	for (int i = 0; i < PG_NARGS(); i++)
	{
		values[fields[i]] = PG_GETARG_DATUM(i);
		nulls[fields[i]] = PG_ARGISNULL(i);
	}
	weir_window_spec_check(values, nulls, &window);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* weir.tumble(size, shift, timezone) */
Datum
weir_tumble(PG_FUNCTION_ARGS)
{
	static const WeirWindowField fields[] = {WEIR_SPEC_SIZE, WEIR_SPEC_SHIFT, WEIR_SPEC_TIMEZONE};

	return make_spec(fcinfo, "tumble", fields);
}

/* weir.hop(size, slide, shift) */
Datum
weir_hop(PG_FUNCTION_ARGS)
{
	static const WeirWindowField fields[] = {WEIR_SPEC_SIZE, WEIR_SPEC_SLIDE, WEIR_SPEC_SHIFT};

	return make_spec(fcinfo, "hop", fields);
}

/* weir.session(gap) */
Datum
weir_session(PG_FUNCTION_ARGS)
{
	static const WeirWindowField fields[] = {WEIR_SPEC_GAP};

	return make_spec(fcinfo, "session", fields);
}

/* Writes a window that an event is in. */
static void
put_window(ReturnSetInfo *result, TimestampTz start, TimestampTz end, bool late)
{
	Datum		values[] = {TimestampTzGetDatum(start), TimestampTzGetDatum(end), BoolGetDatum(late)};
	bool		nulls[lengthof(values)] = {false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Writes the windows that an event is in. */
static void
put_windows(ReturnSetInfo *result, const WeirWindow *window, TimestampTz t,
			TimestampTz watermark, int64 lateness)
{
	TimestampTz start,
				end,
				last;

	switch (window->kind)
	{
		case WEIR_WINDOW_NONE:
			break;
		case WEIR_WINDOW_TUMBLE:
			start = weir_window_tumble(window, t, &end);
			put_window(result, start, end, weir_window_late(end, lateness, watermark));
			break;
		case WEIR_WINDOW_HOP:
			if (!weir_window_hops(window, t, &start, &last))
				break;
			for (; start <= last; start = weir_window_add(start, window->slide))
			{
				end = weir_window_add(start, window->size);
				put_window(result, start, end, weir_window_late(end, lateness, watermark));
			}
			break;
		case WEIR_WINDOW_SESSION:
			put_window(result, t, weir_window_add(t, window->gap),
					   weir_window_session_late(t, lateness, watermark));
			break;
	}
}

/* weir_internal.windows_of(spec, event_time, watermark, allowed_lateness) */
Datum
weir_windows_of(PG_FUNCTION_ARGS)
{
	WeirWindow	window;

	weir_window_spec_read(PG_GETARG_DATUM(0), &window);
	InitMaterializedSRF(fcinfo, 0);
	put_windows((ReturnSetInfo *) fcinfo->resultinfo, &window, PG_GETARG_TIMESTAMPTZ(1),
				PG_GETARG_TIMESTAMPTZ(2),
				weir_window_duration("allowed_lateness", PG_GETARG_INTERVAL_P(3)));
	return (Datum) 0;
}
