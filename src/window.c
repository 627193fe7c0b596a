/*
 * window.c
 *	  Windows of event time: which of them an instant is in, and for which of
 *	  them an event comes too late.
 *
 * Windows of fixed length are counted from Monday, 2000-01-03 00:00 UTC, those
 * of months from 2000-01-01, either of them before as well as after.
 *
 * A hop is cut into panes at every start and end of a window, so that each
 * event belongs to exactly one pane however many windows overlap:
 *
 *		windows (size 10, slide 4)   |-------------------|
 *		                                     |-------------------|
 *		                                             |-------------------|
 *		panes                        |---|---|---|---|---|---|---|---|---|
 *		                             start  end      one cut for each, every slide
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
#include "window.h"

/* 2000-01-03 00:00 UTC, in PostgreSQL's own count from 2000-01-01. */
#define ORIGIN_DAYS 2
#define ORIGIN (ORIGIN_DAYS * USECS_PER_DAY)

static void
raise_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range"),
			 errdetail("A boundary of the event's window is earlier or later than any timestamp.")));
}

/* Returns t + delta. */
TimestampTz
weir_window_add(TimestampTz t, int64 delta)
{
	TimestampTz sum;

	if (pg_add_s64_overflow(t, delta, &sum) || !IS_VALID_TIMESTAMP(sum))
		raise_out_of_range();
	return sum;
}

/* Returns a modulo b, at least 0. */
static inline int64
floor_mod(int64 a, int64 b)
{
	int64		rest = a % b;

	return rest < 0 ? rest + b : rest;
}

/* Returns a / b, rounded down. */
static inline int64
floor_div(int64 a, int64 b)
{
	return (a - floor_mod(a, b)) / b;
}

/* Returns the end of the slice of this length that t is in; the slices begin at the origin. */
TimestampTz
weir_window_slice_end(int64 length, TimestampTz t)
{
	int64		end;

	if (pg_add_s64_overflow(t, length - floor_mod(floor_mod(t, length) - floor_mod(ORIGIN, length), length), &end))
		return DT_NOEND;
	return end;
}

/*
 * Returns how far t is behind the last multiple of step.  The shift is below
 * step (the specification sees to that), so that nothing overflows: the
 * remainders are taken before they are subtracted.
 */
static int64
since_multiple(TimestampTz t, int64 step, int64 shift)
{
	return floor_mod(floor_mod(t, step) - floor_mod(ORIGIN + shift, step), step);
}

/* Reads the zone's clock. */
static Timestamp
to_local(TimestampTz t, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	Timestamp	local;

	if (timestamp2tm(t, &offset, &tm, &fsec, NULL, zone) != 0 ||
		tm2timestamp(&tm, fsec, NULL, &local) != 0)
		raise_out_of_range();
	return local;
}

/* Tells when the zone's clock shows this; the second time, where it is set back and shows it twice. */
static TimestampTz
from_local(Timestamp local, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	TimestampTz t;

	if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
		raise_out_of_range();
	offset = DetermineTimeZoneOffset(&tm, zone);
	if (tm2timestamp(&tm, fsec, &offset, &t) != 0)
		raise_out_of_range();
	return t;
}

/* Returns the first day of the n-th month after January 2000, in days after its first. */
static int64
day_of_month(int64 n)
{
	int64		year = 2000 + floor_div(n, MONTHS_PER_YEAR);

	if (year < -4713 || year > 294276)
		raise_out_of_range();
	return date2j((int) year, (int) floor_mod(n, MONTHS_PER_YEAR) + 1, 1) - POSTGRES_EPOCH_JDATE;
}

/* Returns when the k-th window of the calendar begins. */
static TimestampTz
boundary(const WeirWindow *window, int64 k)
{
	const Interval *shift = &window->calendar_shift;
	int64		day;

	if (window->size_months > 0)
		day = day_of_month(k * window->size_months + shift->month);
	else
		day = ORIGIN_DAYS + k * window->size_days;
	day += shift->day;
	return from_local(weir_window_add(weir_window_add(0, day * USECS_PER_DAY), shift->time),
					  window->zone);
}

/* Returns roughly which window of the calendar t is in: one off at most, or two around a change of the clock. */
static int64
guess(const WeirWindow *window, TimestampTz t)
{
	const Interval *shift = &window->calendar_shift;
	int64		day = floor_div(to_local(t, window->zone) - shift->time, USECS_PER_DAY) - shift->day;
	int			year,
				month,
				mday;

	if (window->size_months == 0)
		return floor_div(day - ORIGIN_DAYS, window->size_days);
	j2date((int) (day + POSTGRES_EPOCH_JDATE), &year, &month, &mday);
	return floor_div(((int64) year - 2000) * MONTHS_PER_YEAR + month - 1 - shift->month,
					 window->size_months);
}

/* Finds the window of the calendar that t is in. */
static TimestampTz
tumble_calendar(const WeirWindow *window, TimestampTz t, TimestampTz *end)
{
	int64		k = guess(window, t);
	TimestampTz start = boundary(window, k);
	TimestampTz next;

	while (start > t)
		start = boundary(window, --k);
	while ((next = boundary(window, k + 1)) <= t)
	{
		start = next;
		k++;
	}
	if (end != NULL)
		*end = next;
	return start;
}

/* Returns the start of the tumbling window that t is in. */
TimestampTz
weir_window_tumble(const WeirWindow *window, TimestampTz t, TimestampTz *end)
{
	TimestampTz start;

	if (window->zone != NULL)
		return tumble_calendar(window, t, end);
	start = weir_window_add(t, -since_multiple(t, window->size, window->shift));
	if (end != NULL)
		*end = weir_window_add(start, window->size);
	return start;
}

/* Returns the pane of a hop that t is in. */
WeirPane
weir_window_pane(const WeirWindow *window, TimestampTz t)
{
	int64		since = since_multiple(t, window->slide, window->shift);
	int64		cut = window->size % window->slide;
	TimestampTz start = weir_window_add(t, -since);
	WeirPane	pane;

	pane.start = since < cut || cut == 0 ? start : weir_window_add(start, cut);
	pane.end = weir_window_add(start, since < cut ? cut : window->slide);
	return pane;
}

/* Finds the windows of a hop that hold t. */
bool
weir_window_hops(const WeirWindow *window, TimestampTz t, TimestampTz *first, TimestampTz *last)
{
	int64		since = since_multiple(t, window->slide, window->shift);

	if (since >= window->size)
		return false;
	*last = weir_window_add(t, -since);
	/* as many slides back as keep t before the window's end */
	*first = weir_window_add(*last, -((window->size - 1 - since) / window->slide) * window->slide);
	return true;
}

/* Is an event with this watermark before it too late for a window that ends there? */
bool
weir_window_late(TimestampTz end, int64 lateness, TimestampTz watermark)
{
	TimestampTz closes;

	return !pg_add_s64_overflow(end, lateness, &closes) && watermark >= closes;
}

/* Is an event at t too late for any session? */
bool
weir_window_session_late(TimestampTz t, int64 lateness, TimestampTz watermark)
{
	return weir_window_late(t, lateness, watermark);
}
