/*
 * oracle.c
 *	  What PostgreSQL's own functions make of an input.
 *
 * Where the decoder is meant to differ, docs/streams.md says so, and what
 * allows for it is here.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/formatting.h"
#include "utils/timestamp.h"

#include "oracle.h"

/* Microseconds from 1970-01-01 to 2000-01-01. */
#define EPOCH_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static const Answer refused = {.ok = false};

/* Returns the row type of a staging table with these columns. */
TupleDesc
oracle_row_type(const Column *columns, int ncolumns, bool extra)
{
	TupleDesc	tupdesc = CreateTemplateTupleDesc(ncolumns + extra);

	for (int i = 0; i < ncolumns + extra; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);

		memset(attribute, 0, ATTRIBUTE_FIXED_PART_SIZE);
		namestrcpy(&attribute->attname, i < ncolumns ? columns[i].name : "_extra");
		attribute->attnum = i + 1;
		attribute->atttypid = i < ncolumns ? columns[i].type : JSONBOID;
		attribute->atttypmod = i < ncolumns ? columns[i].typmod : -1;
	}
	return tupdesc;
}

/* Calls a function that is built in. */
Answer
oracle_call(Oid function, int nargs, Datum a, Datum b, Datum c)
{
	volatile Answer answer = {0};
	MemoryContext context = CurrentMemoryContext;
	FmgrInfo	flinfo;

	LOCAL_FCINFO(fcinfo, 3);

	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = a;
	fcinfo->args[1].value = b;
	fcinfo->args[2].value = c;
	for (int i = 0; i < nargs; i++)
		fcinfo->args[i].isnull = false;

	PG_TRY();
	{
		answer.value = FunctionCallInvoke(fcinfo);
		answer.isnull = fcinfo->isnull;
		answer.ok = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		answer.sqlstate = geterrcode();
		FlushErrorState();
	}
	PG_END_TRY();
	return answer;
}

/* Calls the input function of a column's type. */
Answer
oracle_input(const Column *column, const char *text)
{
	return oracle_call(column->input, 3, CStringGetDatum(text),
					   ObjectIdGetDatum(column->type), Int32GetDatum(column->typmod));
}

/* Has a text a word that means the clock, whatever it means there? */
static bool
names_clock(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	char	   *lower = asc_tolower(text, strlen(text));

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strstr(lower, words[i]) != NULL)
			return true;
	}
	return false;
}

/* May a text have a rule for a time zone in it: anything with a letter, then a number? */
static bool
has_zone_rule(const char *text)
{
	while (*text != '\0' && !isalpha((unsigned char) *text))
		text++;
	return strpbrk(text, "0123456789") != NULL;
}

/* Calls an input function at two points in time; what depends on the clock is refused. */
static Answer
input_without_clock(const Column *column, const char *text)
{
	Answer		answer;
	Answer		again;

	SetParallelStartTimestamps(0, 0);
	answer = oracle_input(column, text);
	SetParallelStartTimestamps(INT64CONST(123456789012345), 0);
	again = oracle_input(column, text);

	/* The limit of a text's length is not quite the same for each type. */
	answer.unknown = names_clock(text) || strlen(text) > MAXDATELEN - MAXDATEFIELDS;
	answer.zone_rule = has_zone_rule(text);
	if (answer.ok != again.ok ||
		(answer.ok && !oracle_equal(column, answer.value, again.value)))
		return refused;
	return answer;
}

/* Does a column hold points in time? */
static bool
takes_time(const Column *column)
{
	return column->type == TIMESTAMPTZOID || column->type == TIMESTAMPOID || column->type == DATEOID;
}

/* Is there white space in an exponent?  PostgreSQL 15 lets it pass. */
static bool
has_odd_exponent(const char *text)
{
	const char *e = strpbrk(text, "eE");

	return e != NULL && isspace((unsigned char) e[1]);
}

/*
 * Says what a column should make of a text.  What numeric does not take
 * numeric(p, s) need not take, either: a number of very many decimals.
 */
Answer
oracle_scalar(const Column *column, const char *text)
{
	static const Column plain_numeric = {"", NUMERICOID, -1, F_NUMERIC_IN};

	if (takes_time(column))
		return input_without_clock(column, text);
	if (column->type == NUMERICOID && has_odd_exponent(text))
		return refused;
	if (column->type == NUMERICOID && !oracle_input(&plain_numeric, text).ok)
		return refused;
	return oracle_input(column, text);
}

/*
 * Returns the point in time that a number stands for in the unit of a column,
 * worked out by numeric.
 */
Answer
oracle_epoch(const Column *column, const char *number)
{
	static const char *const factors[] = {[0] = "1",[3] = "1000",[6] = "1000000"};
	Answer		answer = oracle_call(F_NUMERIC_IN, 3, CStringGetDatum(number), 0, Int32GetDatum(-1));
	Answer		factor = oracle_call(F_NUMERIC_IN, 3, CStringGetDatum(factors[column->unit]), 0, Int32GetDatum(-1));
	Answer		shift = oracle_call(F_NUMERIC_INT8, 1, Int64GetDatum(EPOCH_SHIFT), 0, 0);
	Timestamp	timestamp;

	/* Too many decimals or zeros for numeric, but not for us. */
	answer.unknown = !answer.ok && (strpbrk(number, ".-") != NULL || strtod(number, NULL) == 0);
	if (answer.ok)
		answer = oracle_call(F_NUMERIC_MUL, 2, answer.value, factor.value, 0);
	if (answer.ok)
		answer = oracle_call(F_ROUND_NUMERIC_INT4, 2, answer.value, Int32GetDatum(0), 0);
	if (answer.ok)
		answer = oracle_call(F_NUMERIC_SUB, 2, answer.value, shift.value, 0);
	if (answer.ok)
		answer = oracle_call(F_INT8_NUMERIC, 1, answer.value, 0, 0);
	timestamp = DatumGetInt64(answer.value);
	answer.ok = answer.ok && IS_VALID_TIMESTAMP(timestamp);
	answer.sqlstate = ERRCODE_DATETIME_FIELD_OVERFLOW;
	if (answer.ok && column->type == DATEOID)
		return oracle_call(F_DATE_TIMESTAMP, 1, answer.value, 0, 0);
	return answer;
}

/* Returns a text, terminated. */
char *
oracle_cstring(Datum value)
{
	return TextDatumGetCString(value);
}

/* Are these bytes what a server with encoding UTF8 takes as a text? */
bool
oracle_is_text(const char *bytes, size_t len)
{
	return memchr(bytes, '\0', len) == NULL && pg_verify_mbstr(PG_UTF8, bytes, len, true);
}

/* Is a text JSON, by the grammar of jsonb? */
bool
oracle_is_json(const char *text)
{
	JsonLexContext *lex = makeJsonLexContextCstringLen(
#if PG_VERSION_NUM >= 170000
													   NULL,
#endif
													   unconstify(char *, text), strlen(text),
													   PG_UTF8, true);

	return pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
}

/* Are two values of a column the same, to the last bit? */
bool
oracle_equal(const Column *column, Datum a, Datum b)
{
	return datumIsEqual(a, b, column->byval, column->len);
}

/*
 * Should a value be refused, with this SQLSTATE?  None is expected where it is
 * up to the decoder; and it looks at time zones before anything else, and takes
 * no rule for one.
 */
bool
oracle_same_error(const Column *column, const Answer *expected, int actual)
{
	if (actual == ERRCODE_INVALID_PARAMETER_VALUE && takes_time(column))
		return !expected->ok || expected->zone_rule;
	return !expected->ok && (expected->sqlstate == 0 || expected->sqlstate == actual);
}

/* Returns a value's fate in words. */
const char *
oracle_show(const Answer *answer)
{
	return answer->ok ? "a value" : pstrdup(unpack_sql_state(answer->sqlstate));
}

/* Stops with a message: the decoder and PostgreSQL differ. */
void
oracle_differ(const char *format,...)
{
	va_list		args;

	fputs("ERROR: difference: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}
