/*
 * task_command.c
 *	  The SQL of tasks, and its parameters.
 *
 * A name behind a colon is a parameter where SQL would have a value: not
 * within quotes, dollar quotes, comments, and not behind a second colon, which
 * makes a cast.  Values never become part of the text.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "task_command.h"
#include "tcop/tcopprot.h"

static const char *const names[WEIR_TASK_PARAMETERS] = {
	"interval_start", "interval_end", "task", "run_id", "attempt", "sqlstate", "error"
};

const Oid	weir_task_parameter_types[WEIR_TASK_PARAMETERS] = {
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID
};

static bool
is_name_start(char c)
{
	return isalpha((unsigned char) c) || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
is_name_part(char c)
{
	return is_name_start(c) || isdigit((unsigned char) c) || c == '$';
}

/* Returns where a name ends that begins at p. */
static const char *
skip_name(const char *p)
{
	while (is_name_part(*p))
		p++;
	return p;
}

/* Returns where a text in quotes ends; a doubled quote begins another, which is as good. */
static const char *
skip_quoted(const char *p, bool backslashes)
{
	char		quote = *p++;

	while (*p != '\0' && *p != quote)
		p += backslashes && *p == '\\' && p[1] != '\0' ? 2 : 1;
	return *p == '\0' ? p : p + 1;
}

/* Returns where a dollar quote ends, or p itself if there is none. */
static const char *
skip_dollar_quoted(const char *p)
{
	const char *tag_end = p + 1;
	const char *end;
	char	   *tag;

	if (is_name_start(*tag_end))
	{
		while (is_name_part(*tag_end) && *tag_end != '$')
			tag_end++;
	}
	if (*tag_end != '$')
		return p;
	tag = pnstrdup(p, tag_end + 1 - p);
	end = strstr(tag_end + 1, tag);
	return end == NULL ? p + strlen(p) : end + strlen(tag);
}

/* Returns where a comment ends; those of C's kind nest. */
static const char *
skip_comment(const char *p)
{
	int			depth = 0;

	if (*p == '-')
		return p + strcspn(p, "\r\n");
	do
	{
		if (p[0] == '/' && p[1] == '*')
		{
			depth++;
			p += 2;
		}
		else if (p[0] == '*' && p[1] == '/')
		{
			depth--;
			p += 2;
		}
		else if (*p != '\0')
			p++;
	} while (depth > 0 && *p != '\0');
	return p;
}

/* Returns where something ends that has no parameters in it, or p itself. */
static const char *
skip_opaque(const char *p)
{
	if ((*p == 'e' || *p == 'E') && p[1] == '\'')
		return skip_quoted(p + 1, true);
	if (*p == '\'' || *p == '"')
		return skip_quoted(p, false);
	if ((p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*'))
		return skip_comment(p);
	if (*p == '$')
		return skip_dollar_quoted(p);
	if (is_name_start(*p))
		return skip_name(p);
	if (*p == ':' && (p[1] == ':' || p[1] == '='))
		return p + 2;
	return p;
}

/* Returns the number of the parameter that is named at p, behind its colon; 0 if none is. */
static int
parameter_at(const char *p)
{
	size_t		length = skip_name(p) - p;

	for (int i = 0; i < WEIR_TASK_PARAMETERS; i++)
	{
		if (strlen(names[i]) == length && pg_strncasecmp(names[i], p, length) == 0)
			return i + 1;
	}
	return 0;
}

/* Puts numbers in the place of names. */
char *
weir_task_command_prepare(const char *command)
{
	StringInfoData prepared;
	const char *p = command;

	initStringInfo(&prepared);
	while (*p != '\0')
	{
		const char *end = skip_opaque(p);
		int			number = *p == ':' && end == p ? parameter_at(p + 1) : 0;

		if (number > 0)
		{
			/* the space: what is before could be the beginning of a name */
			appendStringInfo(&prepared, " $%d", number);
			p = skip_name(p + 1);
			continue;
		}
		if (end == p)
			end++;
		appendBinaryStringInfo(&prepared, p, end - p);
		p = end;
	}
	return prepared.data;
}

/* Parses what weir_task_command_prepare has prepared. */
List *
weir_task_command_parse(const char *prepared)
{
	return pg_parse_query(prepared);
}
