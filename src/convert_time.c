/*
 * convert_time.c
 *	  Points in time: ISO 8601 and epoch numbers to timestamptz, timestamp
 *	  and date.
 *
 * The usual forms are read by hand.  Whatever else PostgreSQL understands
 * goes to its own date parser, with three differences: a text without a zone
 * means UTC, whatever the session's TimeZone says; texts that mean the clock
 * (now, today ...) are refused, since the same message must always give the
 * same row; and so are rules for zones (ABC5) instead of their names.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "compat.h"
#include "convert_number.h"
#include "convert_time.h"
#include "convert_zone.h"
#include "miscadmin.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* Microseconds from 1970-01-01 to 2000-01-01. */
#define EPOCH_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* One more error code beside the date parser's own. */
#define UNKNOWN_ZONE (-100)

/* A point in time as written. */
typedef struct WrittenTime
{
	int64		microseconds;	/* from 2000-01-01, by the clock on its wall */
	int			zone;			/* seconds east of Greenwich */
} WrittenTime;

static bool read_iso(const char *text, Size len, WrittenTime *written);
static bool read_clock(const char **text, const char *end, int64 *microseconds);
static bool read_fraction(const char **text, const char *end, int *microseconds);
static bool read_zone(const char *text, const char *end, int *zone);
static int	decode_general(const char *text, Size len, struct pg_tm *tm, fsec_t *fsec,
						   int *zone, int *kind);
static int	check_fields(char **field, int *type, int nfields);
static bool general_timestamp(const WeirConverter *converter, const char *text, Size len,
							  bool with_zone, Timestamp *timestamp, WeirFault *fault);
static bool general_date(const WeirConverter *converter, const char *text, Size len,
						 Datum *result, WeirFault *fault);
static bool bad_time(const WeirConverter *converter, int error, WeirFault *fault);
static Timestamp round_timestamp(const WeirConverter *converter, Timestamp timestamp);
static bool epoch_microseconds(const WeirConverter *converter, const char *text, Size len,
							   Timestamp *timestamp, WeirFault *fault);

/* Reads a timestamptz. */
bool
weir_convert_timestamptz(const WeirConverter *converter, const char *text, Size len,
						 Datum *result, WeirFault *fault)
{
	WrittenTime written;
	Timestamp	timestamp;

	if (read_iso(text, len, &written))
		timestamp = written.microseconds - written.zone * USECS_PER_SEC;
	else if (!general_timestamp(converter, text, len, true, &timestamp, fault))
		return false;
	*result = TimestampTzGetDatum(round_timestamp(converter, timestamp));
	return true;
}

/* Reads a timestamp without time zone; a zone in the text is left aside, as PostgreSQL does. */
bool
weir_convert_timestamp(const WeirConverter *converter, const char *text, Size len,
					   Datum *result, WeirFault *fault)
{
	WrittenTime written;
	Timestamp	timestamp;

	if (read_iso(text, len, &written))
		timestamp = written.microseconds;
	else if (!general_timestamp(converter, text, len, false, &timestamp, fault))
		return false;
	*result = TimestampGetDatum(round_timestamp(converter, timestamp));
	return true;
}

/* Returns the day of a point in time, counted from 2000-01-01. */
static DateADT
day_of(Timestamp timestamp)
{
	int64		day = timestamp / USECS_PER_DAY;

	if (timestamp % USECS_PER_DAY < 0)
		day--;
	return (DateADT) day;
}

/* Reads a date; a time of day in the text is left aside, as PostgreSQL does. */
bool
weir_convert_date(const WeirConverter *converter, const char *text, Size len,
				  Datum *result, WeirFault *fault)
{
	WrittenTime written;

	if (!read_iso(text, len, &written))
		return general_date(converter, text, len, result, fault);
	*result = DateADTGetDatum(day_of(written.microseconds));
	return true;
}

/* Reads two digits; the caller has made sure that they are there. */
static inline bool
two_digits(const char *p, int *value)
{
	unsigned char tens = p[0] - '0';
	unsigned char ones = p[1] - '0';

	*value = tens * 10 + ones;
	return tens <= 9 && ones <= 9;
}

/*
 * Reads YYYY-MM-DD, perhaps with a time of day, perhaps with a zone.  False
 * means that the general parser must look: at other forms, at what is no date
 * at all, and at the odd hour 24 or second 60.
 */
static bool
read_iso(const char *text, Size len, WrittenTime *written)
{
	const char *end = text + len;
	int			century;
	int			year;
	int			month;
	int			day;

	if (len < 10 || text[4] != '-' || text[7] != '-' ||
		!two_digits(text, &century) || !two_digits(text + 2, &year) ||
		!two_digits(text + 5, &month) || !two_digits(text + 8, &day))
		return false;

	year += century * 100;
	if (year == 0 || month < 1 || month > 12 || day < 1 ||
		day > day_tab[isleap(year)][month - 1])
		return false;

	written->microseconds = (int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
	written->zone = 0;
	if (len == 10)
		return true;

	text += 10;
	if (*text != 'T' && *text != ' ')
		return false;
	text++;
	if (!read_clock(&text, end, &written->microseconds))
		return false;
	return read_zone(text, end, &written->zone);
}

/* Reads HH:MM, HH:MM:SS or HH:MM:SS.fraction and adds it. */
static bool
read_clock(const char **text, const char *end, int64 *microseconds)
{
	const char *p = *text;
	int			hour;
	int			minute;
	int			second = 0;
	int			fraction = 0;

	if (end - p < 5 || p[2] != ':' || !two_digits(p, &hour) || !two_digits(p + 3, &minute))
		return false;
	p += 5;
	if (end - p >= 3 && *p == ':')
	{
		if (!two_digits(p + 1, &second))
			return false;
		p += 3;
		if (p < end && *p == '.' && !read_fraction(&p, end, &fraction))
			return false;
	}
	if (hour > 23 || minute > 59 || second > 59)
		return false;

	*microseconds += ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC + fraction;
	*text = p;
	return true;
}

/* Reads a point and up to nine digits, rounded to microseconds as PostgreSQL rounds. */
static bool
read_fraction(const char **text, const char *end, int *microseconds)
{
	static const int scales[] = {
		1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1
	};
	const char *p = *text + 1;
	int			total = 0;
	int			ndigits = 0;

	for (; p < end && *p >= '0' && *p <= '9'; p++)
	{
		if (++ndigits > 9)
			return false;
		total = total * 10 + (*p - '0');
	}
	if (ndigits == 0)
		return false;

	total *= scales[ndigits];	/* now in nanoseconds */
	if (total % 1000 == 0)
		*microseconds = total / 1000;
	else
		*microseconds = (int) rint(total / 1e9 * 1e6);
	*text = p;
	return true;
}

/* Reads nothing, Z, or an offset of hours and perhaps minutes, to the end. */
static bool
read_zone(const char *text, const char *end, int *zone)
{
	bool		negative;
	int			hours;
	int			minutes = 0;

	if (text == end || (*text == 'Z' && text + 1 == end))
		return true;

	if ((*text != '+' && *text != '-') || end - text < 3)
		return false;
	negative = *text++ == '-';
	if (!two_digits(text, &hours))
		return false;
	text += 2;
	if (end - text == 3 && *text == ':')
		text++;
	if (text != end && (end - text != 2 || !two_digits(text, &minutes)))
		return false;
	if (hours > MAX_TZDISP_HOUR || minutes > 59)
		return false;

	*zone = (hours * 60 + minutes) * 60;
	if (negative)
		*zone = -*zone;
	return true;
}

/* Rounds to the precision of the column, as PostgreSQL rounds: half away from zero. */
static Timestamp
round_timestamp(const WeirConverter *converter, Timestamp timestamp)
{
	static const int64 scales[] = {1000000, 100000, 10000, 1000, 100, 10};
	int64		scale;

	if (converter->typmod < 0 || converter->typmod >= lengthof(scales) ||
		TIMESTAMP_NOT_FINITE(timestamp))
		return timestamp;
	scale = scales[converter->typmod];
	if (timestamp >= 0)
		return (timestamp + scale / 2) / scale * scale;
	return -((-timestamp + scale / 2) / scale * scale);
}

/*
 * Runs PostgreSQL's date parser with UTC for texts without a zone.  Returns
 * its error code, 0 for success.
 */
static int
decode_general(const char *text, Size len, struct pg_tm *tm, fsec_t *fsec,
			   int *zone, int *kind)
{
	char	   *copy = palloc(len + 1);
	char		work[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			type[MAXDATEFIELDS];
	int			nfields;
	volatile int error;
	pg_tz	   *session = session_timezone;

	memcpy(copy, text, len);
	copy[len] = '\0';

	/* Of a text that is too long it says so itself: there may be much space in it. */
	error = ParseDateTime(copy, work, sizeof(work), field, type, MAXDATEFIELDS, &nfields);
	if (error != 0)
		return error;
	error = check_fields(field, type, nfields);
	if (error != 0)
		return error;

	/* The parser is not meant to throw; if it does, TimeZone must survive. */
	PG_TRY();
	{
		session_timezone = pg_tzset("UTC");
		error = weir_decode_datetime(field, type, nfields, kind, tm, fsec, zone);
	}
	PG_FINALLY();
	{
		session_timezone = session;
	}
	PG_END_TRY();
	return error;
}

/*
 * Looks for what must not reach the date parser: texts that mean the clock,
 * and names of time zones that are none, for which it would throw.
 * Returns 0 or an error code.
 */
static int
check_fields(char **field, int *type, int nfields)
{
	static const char *const clock[] = {"now", "today", "tomorrow", "yesterday"};

	for (int i = 0; i < nfields; i++)
	{
		if (i > 0 && type[i] == DTK_DATE && !isdigit((unsigned char) *field[i]) &&
			!weir_zone_is_known(field[i]))
			return UNKNOWN_ZONE;
		if (type[i] != DTK_STRING && type[i] != DTK_SPECIAL)
			continue;
		for (int j = 0; j < lengthof(clock); j++)
		{
			/* The parser compares no more than this many letters. */
			if (strncmp(field[i], clock[j], TOKMAXLEN) == 0)
				return DTERR_BAD_FORMAT;
		}
	}
	return 0;
}

/* Reads a timestamp the general way. */
static bool
general_timestamp(const WeirConverter *converter, const char *text, Size len,
				  bool with_zone, Timestamp *timestamp, WeirFault *fault)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;
	int			kind;
	int			error = decode_general(text, len, &tm, &fsec, &zone, &kind);

	if (error != 0)
		return bad_time(converter, error, fault);
	switch (kind)
	{
		case DTK_DATE:
			if (tm2timestamp(&tm, fsec, with_zone ? &zone : NULL, timestamp) != 0)
				return bad_time(converter, DTERR_FIELD_OVERFLOW, fault);
			return true;
		case DTK_EPOCH:
			*timestamp = -EPOCH_SHIFT;
			return true;
		case DTK_LATE:
			TIMESTAMP_NOEND(*timestamp);
			return true;
		case DTK_EARLY:
			TIMESTAMP_NOBEGIN(*timestamp);
			return true;
		default:
			return bad_time(converter, DTERR_BAD_FORMAT, fault);
	}
}

/* Reads a date the general way. */
static bool
general_date(const WeirConverter *converter, const char *text, Size len,
			 Datum *result, WeirFault *fault)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;
	int			kind;
	DateADT		date;
	int			error = decode_general(text, len, &tm, &fsec, &zone, &kind);

	if (error != 0)
		return bad_time(converter, error, fault);
	switch (kind)
	{
		case DTK_DATE:
			if (!IS_VALID_JULIAN(tm.tm_year, tm.tm_mon, tm.tm_mday))
				return bad_time(converter, DTERR_FIELD_OVERFLOW, fault);
			date = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
			if (!IS_VALID_DATE(date))
				return bad_time(converter, DTERR_FIELD_OVERFLOW, fault);
			break;
		case DTK_EPOCH:
			date = UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE;
			break;
		case DTK_LATE:
			DATE_NOEND(date);
			break;
		case DTK_EARLY:
			DATE_NOBEGIN(date);
			break;
		default:
			return bad_time(converter, DTERR_BAD_FORMAT, fault);
	}
	*result = DateADTGetDatum(date);
	return true;
}

/* Turns an error of PostgreSQL's date parser into a fault. */
static bool
bad_time(const WeirConverter *converter, int error, WeirFault *fault)
{
	switch (error)
	{
		case UNKNOWN_ZONE:
			return weir_fault(fault, WEIR_STAGE_CONVERT, ERRCODE_INVALID_PARAMETER_VALUE,
							  converter->column, "time zone not recognized in %s",
							  converter->type);
		case DTERR_FIELD_OVERFLOW:
		case DTERR_MD_FIELD_OVERFLOW:
			return weir_convert_out_of_range(converter, ERRCODE_DATETIME_FIELD_OVERFLOW, fault);
		case DTERR_TZDISP_OVERFLOW:
			return weir_convert_out_of_range(converter,
											 ERRCODE_INVALID_TIME_ZONE_DISPLACEMENT_VALUE, fault);
		default:
			weir_convert_bad_syntax(converter, fault);
			fault->sqlstate = ERRCODE_INVALID_DATETIME_FORMAT;
			return false;
	}
}

/* Reads a JSON number as time since 1970 in the unit of the column. */
bool
weir_convert_epoch(const WeirConverter *converter, const char *text, Size len,
				   Datum *result, WeirFault *fault)
{
	Timestamp	timestamp;

	if (!epoch_microseconds(converter, text, len, &timestamp, fault))
		return false;
	*result = TimestampGetDatum(round_timestamp(converter, timestamp));
	return true;
}

/* The same, and keeps its day. */
bool
weir_convert_epoch_date(const WeirConverter *converter, const char *text, Size len,
						Datum *result, WeirFault *fault)
{
	Timestamp	timestamp;

	if (!epoch_microseconds(converter, text, len, &timestamp, fault))
		return false;
	*result = DateADTGetDatum(day_of(timestamp));
	return true;
}

/*
 * Reads a number as time since 1970.  Decimal throughout, so that integers
 * are exact; what is finer than a microsecond is rounded, half away from zero.
 */
static bool
epoch_microseconds(const WeirConverter *converter, const char *text, Size len,
				   Timestamp *timestamp, WeirFault *fault)
{
	WeirDecimal decimal;
	uint64		amount;
	int64		exponent;

	if (converter->unit < 0)
	{
		weir_fault(fault, WEIR_STAGE_CONVERT, ERRCODE_INVALID_DATETIME_FORMAT, converter->column,
				   "column \"%s\" takes a number only with a time_unit", converter->column);
		fault->detail = "Without time_unit (s, ms or us) a number does not say which point in time it is.";
		return false;
	}
	if (!weir_decimal_read(&decimal, text, len))
		return weir_convert_bad_syntax(converter, fault);

	amount = decimal.digits;
	exponent = decimal.exponent + converter->unit;
	for (; exponent > 0 && amount != 0; exponent--)
	{
		if (amount > PG_UINT64_MAX / 10)
			return weir_convert_out_of_range(converter, ERRCODE_DATETIME_FIELD_OVERFLOW, fault);
		amount *= 10;
	}
	for (; exponent < -1 && amount != 0; exponent++)
		amount /= 10;
	if (exponent == -1)
		amount = amount / 10 + (amount % 10 >= 5);
	else if (exponent == 0)
		amount += decimal.half;

	if (amount > (uint64) END_TIMESTAMP + EPOCH_SHIFT ||
		(decimal.negative && amount > (uint64) -MIN_TIMESTAMP))
		return weir_convert_out_of_range(converter, ERRCODE_DATETIME_FIELD_OVERFLOW, fault);
	if (decimal.negative)
		*timestamp = -(int64) amount - EPOCH_SHIFT;
	else
		*timestamp = (int64) (amount - EPOCH_SHIFT);
	if (!IS_VALID_TIMESTAMP(*timestamp))
		return weir_convert_out_of_range(converter, ERRCODE_DATETIME_FIELD_OVERFLOW, fault);
	return true;
}
