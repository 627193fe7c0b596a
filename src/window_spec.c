/*
 * window_spec.c
 *	  weir.window_spec, the SQL value that describes windows, read and checked.
 *
 * It is a plain composite type, so that it can be printed, compared and
 * dumped; people may build one by hand, hence it is checked whenever it is
 * read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/int.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/typcache.h"
#include "window_spec.h"

/* How many windows of a hop may overlap. */
#define MOST_HOPS 10000

static void
refuse(const char *parameter, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for parameter \"%s\"", parameter),
			 errdetail("%s", why)));
}

/* Returns an interval of fixed length in microseconds. */
int64
weir_window_duration(const char *parameter, const Interval *value)
{
	int64		usecs;

	if (value->month != 0)
		refuse(parameter, "Months and years have no fixed length.");
	if (pg_mul_s64_overflow(value->day, USECS_PER_DAY, &usecs) ||
		pg_add_s64_overflow(usecs, value->time, &usecs))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("parameter \"%s\" is out of range", parameter)));
	return usecs;
}

/* Returns a field that must be there. */
static Datum
needed(const Datum *values, const bool *nulls, WeirWindowField field, const char *parameter)
{
	if (nulls[field])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" must not be null", parameter)));
	return values[field];
}

/* Returns a duration that must be there and longer than nothing. */
static int64
positive(const Datum *values, const bool *nulls, WeirWindowField field, const char *parameter)
{
	Interval   *value = DatumGetIntervalP(needed(values, nulls, field, parameter));
	int64		usecs = weir_window_duration(parameter, value);

	if (usecs <= 0)
		refuse(parameter, "It must be greater than zero.");
	return usecs;
}

/* Returns the shift of windows that recur after step. */
static int64
fixed_shift(const Datum *values, const bool *nulls, int64 step)
{
	int64		shift;

	if (nulls[WEIR_SPEC_SHIFT])
		return 0;
	shift = weir_window_duration("shift", DatumGetIntervalP(values[WEIR_SPEC_SHIFT]));
	if (shift <= -step || shift >= step)
		refuse("shift", "It must be shorter than the distance of the windows.");
	return shift;
}

/* Returns a time zone by its name. */
pg_tz *
weir_window_zone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", name),
				 errhint("See the view pg_timezone_names.")));
	return zone;
}

/* Is one interval shorter than another, whichever way it points? */
static bool
is_shorter(const Interval *shift, const Interval *size)
{
	Datum		distance = IntervalPGetDatum(shift);
	Datum		zero = DirectFunctionCall2(interval_mi, distance, distance);

	if (DatumGetBool(DirectFunctionCall2(interval_lt, distance, zero)))
		distance = DirectFunctionCall1(interval_um, distance);
	return DatumGetBool(DirectFunctionCall2(interval_lt, distance, IntervalPGetDatum(size)));
}

/* Reads windows that follow the calendar of a time zone. */
static void
read_calendar(const Datum *values, const bool *nulls, WeirWindow *window)
{
	const Interval *size = DatumGetIntervalP(values[WEIR_SPEC_SIZE]);

	if (size->month != 0 && (size->day != 0 || size->time != 0))
		refuse("size", "Months cannot be mixed with days and hours.");
	if (size->time != 0)
		refuse("size", "With a time zone it must be whole days, or months.");
	if (size->month < 0 || size->day < 0 || (size->month == 0 && size->day == 0))
		refuse("size", "It must be greater than zero.");
	window->size_months = size->month;
	window->size_days = size->day;
	window->zone = weir_window_zone(nulls[WEIR_SPEC_TIMEZONE] ? "UTC" :
						   TextDatumGetCString(values[WEIR_SPEC_TIMEZONE]));
	if (nulls[WEIR_SPEC_SHIFT])
		return;
	window->calendar_shift = *DatumGetIntervalP(values[WEIR_SPEC_SHIFT]);
	if (!is_shorter(&window->calendar_shift, size))
		refuse("shift", "It must be shorter than the window.");
	if (window->size_months == 0 && window->calendar_shift.month != 0)
		refuse("shift", "It counts months, and the window does not.");
}

static void
read_tumble(const Datum *values, const bool *nulls, WeirWindow *window)
{
	const Interval *size = DatumGetIntervalP(needed(values, nulls, WEIR_SPEC_SIZE, "size"));

	window->kind = WEIR_WINDOW_TUMBLE;
	if (size->month != 0 || !nulls[WEIR_SPEC_TIMEZONE])
	{
		read_calendar(values, nulls, window);
		return;
	}
	window->size = positive(values, nulls, WEIR_SPEC_SIZE, "size");
	window->shift = fixed_shift(values, nulls, window->size);
}

static void
read_hop(const Datum *values, const bool *nulls, WeirWindow *window)
{
	window->kind = WEIR_WINDOW_HOP;
	window->size = positive(values, nulls, WEIR_SPEC_SIZE, "size");
	window->slide = positive(values, nulls, WEIR_SPEC_SLIDE, "slide");
	window->shift = fixed_shift(values, nulls, window->slide);
	if (window->size / window->slide > MOST_HOPS)
		refuse("slide", psprintf("Every event would be in more than %d windows.", MOST_HOPS));
	if (!nulls[WEIR_SPEC_TIMEZONE])
		refuse("timezone", "Only tumbling windows follow the calendar of a time zone.");
}

static void
read_session(const Datum *values, const bool *nulls, WeirWindow *window)
{
	window->kind = WEIR_WINDOW_SESSION;
	window->gap = positive(values, nulls, WEIR_SPEC_GAP, "gap");
}

/* Reads a weir.window_spec from its fields. */
void
weir_window_spec_check(const Datum *values, const bool *nulls, WeirWindow *window)
{
	char	   *kind = TextDatumGetCString(needed(values, nulls, WEIR_SPEC_KIND, "kind"));

	memset(window, 0, sizeof(*window));
	if (strcmp(kind, "tumble") == 0)
		read_tumble(values, nulls, window);
	else if (strcmp(kind, "hop") == 0)
		read_hop(values, nulls, window);
	else if (strcmp(kind, "session") == 0)
		read_session(values, nulls, window);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no kind of window \"%s\"", kind),
				 errhint("Use weir.tumble, weir.hop or weir.session.")));
}

/* Reads a weir.window_spec. */
void
weir_window_spec_read(Datum spec, WeirWindow *window)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(spec);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	Datum		values[WEIR_SPEC_FIELDS];
	bool		nulls[WEIR_SPEC_FIELDS];

	if (desc->natts != WEIR_SPEC_FIELDS)
		elog(ERROR, "a weir.window_spec has %d fields", desc->natts);
	heap_deform_tuple(&tuple, desc, values, nulls);
	weir_window_spec_check(values, nulls, window);
	ReleaseTupleDesc(desc);
}
