/*
 * cron.c
 *	  Cron expressions: when they come due.
 *
 * They speak of a wall clock.  Where that is put forward or back, a schedule
 * for every hour goes on by the hours that pass; for any other each time of
 * day comes due once: one that is left out when the clock is put forward, one
 * that comes twice the first time.
 *
 * pg_cron has a parser of its own; it knows no time zones, and only says what
 * to do each minute, not which interval is over.
 */
#include "postgres.h"

#include <ctype.h>

#include "cron.h"
#include "datatype/timestamp.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define MINUTES_PER_DAY 1440

/* Leap days may be eight years apart, and weekdays may be asked of them. */
#define MAX_DAYS (366 * 41)

/* No clock is put forward or back more than this, counted from a day's midnight as if it were UTC's. */
#define WIDEST_OFFSET (16 * SECS_PER_HOUR)

/* The times of a day in order, as seconds since 1970; some clocks go twice. */
typedef struct DueTimes
{
	int			n;
	pg_time_t	at[2 * MINUTES_PER_DAY];
} DueTimes;

typedef struct CronField
{
	const char *name;
	int			least;
	int			most;
	const char *const *words;	/* from least on; NULL: none */
} CronField;

static const char *const month_words[] = {
	"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL
};
static const char *const weekday_words[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const CronField fields[] = {
	{"minute", 0, 59, NULL},
	{"hour", 0, 23, NULL},
	{"day", 1, 31, NULL},
	{"month", 1, 12, month_words},
	{"weekday", 0, 7, weekday_words},
};

static const char *const nicknames[][2] = {
	{"@hourly", "0 * * * *"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"},
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
};

/* ---------- reading ---------- */

static void pg_attribute_noreturn()
refuse(const char *text, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a cron expression", text),
			 errdetail("%s", detail),
			 errhint("Give minute, hour, day, month and weekday, each as *, a number, a range or a list, with /step; or @hourly, @daily, @weekly, @monthly, @yearly.")));
}

/* Reads a number or a word; -1 if there is none. */
static int
read_value(const char **p, const CronField *field)
{
	int			value = 0;
	int			digits = 0;

	for (int i = 0; field->words != NULL && field->words[i] != NULL; i++)
	{
		if (pg_strncasecmp(*p, field->words[i], 3) == 0 && !isalnum((unsigned char) (*p)[3]))
		{
			*p += 3;
			return field->least + i;
		}
	}
	for (; isdigit((unsigned char) **p) && digits < 4; digits++)
		value = value * 10 + *(*p)++ - '0';
	return digits > 0 ? value : -1;
}

/* Reads what is between commas; false if it is wrong. */
static bool
read_item(const char **p, const CronField *field, uint64 *set)
{
	int			from = field->least;
	int			to = field->most;
	int			step = 1;
	bool		single = false;

	if (**p == '*')
		(*p)++;
	else
	{
		from = to = read_value(p, field);
		single = **p != '-';
		if (!single)
		{
			(*p)++;
			to = read_value(p, field);
		}
	}
	if (**p == '/')
	{
		static const CronField numbers = {NULL, 1, 0, NULL};

		(*p)++;
		step = read_value(p, &numbers);
		if (single)
			to = field->most;
	}
	if (from < field->least || to > field->most || from > to || step < 1)
		return false;
	for (int i = from; i <= to; i += step)
		*set |= UINT64CONST(1) << i;
	return true;
}

/* Reads a field; notes whether it begins with a star. */
static uint64
read_field(const char **p, const CronField *field, bool *star, const char *text)
{
	uint64		set = 0;

	while (isspace((unsigned char) **p))
		(*p)++;
	if (**p == '\0')
		refuse(text, psprintf("The field \"%s\" is missing.", field->name));
	*star = **p == '*';
	while (read_item(p, field, &set) && **p == ',')
		(*p)++;
	if (**p != '\0' && !isspace((unsigned char) **p))
		refuse(text, psprintf("The field \"%s\" is wrong at \"%.20s\"; its values are %d to %d.",
							  field->name, *p, field->least, field->most));
	if (set == 0 || (*p)[-1] == ',')
		refuse(text, psprintf("The field \"%s\" has a value that is not within %d and %d, or a step of 0.",
							  field->name, field->least, field->most));
	return set;
}

/* Returns the five fields that a nickname stands for, or the text itself. */
static const char *
expand_nickname(const char *text)
{
	for (int i = 0; i < lengthof(nicknames); i++)
	{
		if (pg_strcasecmp(text, nicknames[i][0]) == 0)
			return nicknames[i][1];
	}
	return text;
}

/* Reads an expression. */
void
weir_cron_parse(const char *text, WeirCron *cron)
{
	const char *p = expand_nickname(text);
	bool		star;

	cron->minutes = read_field(&p, &fields[0], &star, text);
	cron->hours = read_field(&p, &fields[1], &star, text);
	cron->days = read_field(&p, &fields[2], &cron->any_day, text);
	cron->months = read_field(&p, &fields[3], &star, text);
	cron->weekdays = read_field(&p, &fields[4], &cron->any_weekday, text);
	while (isspace((unsigned char) *p))
		p++;
	if (*p != '\0')
		refuse(text, "There are more than five fields.");
	if (cron->weekdays & (1 << 7))
		cron->weekdays |= 1;	/* Sunday is 0 and 7 */
	cron->every_hour = cron->hours == (1 << 24) - 1;
}

/* ---------- arithmetic ---------- */

/* Is anything due on this day, which is a count from 1970? */
static bool
is_day(const WeirCron *cron, int64 day)
{
	int			year;
	int			month;
	int			mday;
	int			weekday = (int) (((day + 4) % 7 + 7) % 7);	/* 1970 began on a Thursday */
	bool		by_day;
	bool		by_weekday;

	j2date((int) (day + UNIX_EPOCH_JDATE), &year, &month, &mday);
	if (!(cron->months & (1 << month)))
		return false;
	by_day = cron->days >> mday & 1;
	by_weekday = cron->weekdays >> weekday & 1;
	if (cron->any_day || cron->any_weekday)
		return by_day && by_weekday;
	return by_day || by_weekday;
}

/* Returns how far a zone is ahead of UTC at a moment. */
static long
offset_at(pg_time_t t, const pg_tz *zone)
{
	return pg_localtime(&t, zone)->tm_gmtoff;
}

static int
compare_times(const void *a, const void *b)
{
	pg_time_t	left = *(const pg_time_t *) a;
	pg_time_t	right = *(const pg_time_t *) b;

	return left < right ? -1 : left > right;
}

/* Adds what a time on the wall clock is, where that is put from one offset to another at a moment. */
static void
add_around(DueTimes *times, bool every_hour, pg_time_t local, pg_time_t boundary, long before, long after)
{
	bool		is_before = local - before < boundary;
	bool		is_after = local - after >= boundary;

	if (is_before)
		times->at[times->n++] = local - before;
	if (is_after && (every_hour || !is_before))
		times->at[times->n++] = local - after;
	if (!is_before && !is_after && !every_hour)
		times->at[times->n++] = boundary;
}

/* Lists when something is due on a day. */
static void
list_times(const WeirCron *cron, const pg_tz *zone, int64 day, DueTimes *times)
{
	pg_time_t	midnight = day * SECS_PER_DAY;
	pg_time_t	from = midnight - WIDEST_OFFSET;
	pg_time_t	boundary = 0;
	long		before = offset_at(midnight, zone);
	long		after = before;
	int			isdst;
	bool		changes = pg_next_dst_boundary(&from, &before, &isdst, &boundary, &after, &isdst, zone) == 1 &&
		boundary < midnight + SECS_PER_DAY + WIDEST_OFFSET;

	times->n = 0;
	for (int hour = 0; hour < HOURS_PER_DAY; hour++)
	{
		if (!(cron->hours >> hour & 1))
			continue;
		for (int minute = 0; minute < MINS_PER_HOUR; minute++)
		{
			pg_time_t	local = midnight + hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE;

			if (!(cron->minutes >> minute & 1))
				continue;
			if (changes)
				add_around(times, cron->every_hour, local, boundary, before, after);
			else
				times->at[times->n++] = local - before;
		}
	}
	if (changes)
		qsort(times->at, times->n, sizeof(pg_time_t), compare_times);
}

/* Returns the day that a zone's calendar shows. */
static int64
day_of(pg_time_t t, const pg_tz *zone)
{
	pg_time_t	local = t + offset_at(t, zone);

	return local >= 0 ? local / SECS_PER_DAY : -((-local + SECS_PER_DAY - 1) / SECS_PER_DAY);
}

static TimestampTz
timestamp_of(pg_time_t t)
{
	return (t - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (pg_time_t) SECS_PER_DAY) * USECS_PER_SEC;
}

/* Finds the first time after a moment. */
bool
weir_cron_next(const WeirCron *cron, const pg_tz *zone, TimestampTz after, TimestampTz *due)
{
	int64		day = day_of(timestamptz_to_time_t(after), zone) - 1;
	DueTimes	times;

	for (int64 last = day + MAX_DAYS; day <= last; day++)
	{
		if (!is_day(cron, day))
			continue;
		list_times(cron, zone, day, &times);
		for (int i = 0; i < times.n; i++)
		{
			*due = timestamp_of(times.at[i]);
			if (*due > after)
				return true;
		}
	}
	return false;
}

/* Finds the last time before a moment. */
bool
weir_cron_previous(const WeirCron *cron, const pg_tz *zone, TimestampTz before, TimestampTz *due)
{
	int64		day = day_of(timestamptz_to_time_t(before), zone) + 1;
	DueTimes	times;

	for (int64 first = day - MAX_DAYS; day >= first; day--)
	{
		if (!is_day(cron, day))
			continue;
		list_times(cron, zone, day, &times);
		for (int i = times.n - 1; i >= 0; i--)
		{
			*due = timestamp_of(times.at[i]);
			if (*due < before)
				return true;
		}
	}
	return false;
}
