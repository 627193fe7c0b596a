/*
 * json_scan.c
 *	  Reads JSON text where it lies: checks it and says where values are.
 *
 * Accepts what PostgreSQL's jsonb input accepts, and no more; only nesting is
 * limited more tightly, since it must not depend on how much stack is left.
 * Whether a number is too large is not looked at here.
 *
 * Nothing is copied, allocated or recursed into, and nothing throws.  Making
 * jsonb out of a value is json_build.c's job, picking fields decode_json.c's.
 */
#include "postgres.h"

#include "json_scan.h"
#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"

/* What a walk expects next. */
enum
{
	EXPECTS_VALUE,
	EXPECTS_FIRST,				/* just after an opening: or its closing */
	EXPECTS_MORE				/* just after a value: comma or closing */
};

static bool scan_scalar(WeirJsonScan *scan, WeirJsonValue *value);
static bool scan_number(WeirJsonScan *scan, WeirJsonValue *value);
static bool scan_word(WeirJsonScan *scan, WeirJsonValue *value,
					  const char *word, WeirJsonKind kind);
static bool scan_escape(WeirJsonScan *scan);
static bool scan_hex4(WeirJsonScan *scan, uint32 *code);
static bool walk_open(WeirJsonScan *scan, WeirJsonWalk *walk, WeirJsonToken *token);
static bool walk_close(WeirJsonScan *scan, WeirJsonWalk *walk, WeirJsonToken *token);
static bool in_object(const WeirJsonScan *scan, const WeirJsonWalk *walk);
static uint32 unescape_hex(const char **from, const char *end);

/*
 * Starts on a text; fails if it is not UTF-8 throughout.
 */
bool
weir_json_scan_begin(WeirJsonScan *scan, const char *text, Size len)
{
	int			valid;

	scan->start = scan->pos = text;
	scan->end = text + len;
	scan->depth = 0;
	scan->sqlstate = 0;
	scan->problem = NULL;

	valid = pg_encoding_verifymbstr(PG_UTF8, text, (int) len);
	if (valid == (int) len)
		return true;

	scan->pos = text + valid;
	weir_json_scan_fail(scan, *scan->pos == '\0' ? "zero byte" : "invalid UTF-8");
	scan->sqlstate = ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
	return false;
}

/* Notes what is wrong at the current position; returns false. */
bool
weir_json_scan_fail(WeirJsonScan *scan, const char *problem)
{
	scan->sqlstate = ERRCODE_INVALID_TEXT_REPRESENTATION;
	scan->problem = scan->pos < scan->end ? problem : "unexpected end";
	return false;
}

/* Notes that containers are nested too deeply; returns false. */
bool
weir_json_scan_too_deep(WeirJsonScan *scan)
{
	weir_json_scan_fail(scan, "nesting is too deep");
	scan->sqlstate = ERRCODE_STATEMENT_TOO_COMPLEX;
	return false;
}

/*
 * Reads the value at the current position, which may be white space before
 * it, and all that is inside it.
 */
bool
weir_json_scan_value(WeirJsonScan *scan, WeirJsonValue *value)
{
	WeirJsonWalk walk;
	WeirJsonToken token;
	WeirJsonValue inner;
	const char *begin;

	weir_json_skip_space(scan);
	begin = scan->pos;
	if (begin >= scan->end || (*begin != '{' && *begin != '['))
		return scan_scalar(scan, value);

	weir_json_walk_begin(scan, &walk);
	do
	{
		if (!weir_json_walk_next(scan, &walk, &token, &inner))
			return false;
	} while (scan->depth > walk.base);

	value->text = begin;
	value->len = scan->pos - begin;
	value->kind = *begin == '{' ? WEIR_JSON_OBJECT : WEIR_JSON_ARRAY;
	value->escaped = false;
	return true;
}

/* Checks that only white space is left. */
bool
weir_json_scan_end(WeirJsonScan *scan)
{
	weir_json_skip_space(scan);
	if (scan->pos == scan->end)
		return true;
	return weir_json_scan_fail(scan, "expected the end");
}

/* Reads a colon and the white space around it. */
bool
weir_json_scan_colon(WeirJsonScan *scan)
{
	weir_json_skip_space(scan);
	if (scan->pos >= scan->end || *scan->pos != ':')
		return weir_json_scan_fail(scan, "expected a colon");
	scan->pos++;
	weir_json_skip_space(scan);
	return true;
}

/* Reads a value that is no container. */
static bool
scan_scalar(WeirJsonScan *scan, WeirJsonValue *value)
{
	if (scan->pos >= scan->end)
		return weir_json_scan_fail(scan, NULL);

	switch (*scan->pos)
	{
		case '"':
			return weir_json_scan_string(scan, value);
		case '-':
		case '0':
		case '1':
		case '2':
		case '3':
		case '4':
		case '5':
		case '6':
		case '7':
		case '8':
		case '9':
			return scan_number(scan, value);
		case 't':
			return scan_word(scan, value, "true", WEIR_JSON_TRUE);
		case 'f':
			return scan_word(scan, value, "false", WEIR_JSON_FALSE);
		case 'n':
			return scan_word(scan, value, "null", WEIR_JSON_NULL);
		default:
			return weir_json_scan_fail(scan, "expected a value");
	}
}

/* Reads one of the three words of JSON. */
static bool
scan_word(WeirJsonScan *scan, WeirJsonValue *value, const char *word, WeirJsonKind kind)
{
	Size		len = strlen(word);

	if (scan->end - scan->pos < len || memcmp(scan->pos, word, len) != 0)
		return weir_json_scan_fail(scan, "expected a value");

	value->text = scan->pos;
	value->len = len;
	value->kind = kind;
	value->escaped = false;
	scan->pos += len;
	return true;
}

/* Moves over digits; returns how many. */
static inline int
skip_digits(WeirJsonScan *scan)
{
	const char *begin = scan->pos;

	while (scan->pos < scan->end && *scan->pos >= '0' && *scan->pos <= '9')
		scan->pos++;
	return scan->pos - begin;
}

/* Reads a number, which JSON writes more strictly than C does. */
static bool
scan_number(WeirJsonScan *scan, WeirJsonValue *value)
{
	const char *begin = scan->pos;

	if (*scan->pos == '-')
		scan->pos++;

	/* A leading zero stands alone; a digit after it is noticed by the caller. */
	if (scan->pos < scan->end && *scan->pos == '0')
		scan->pos++;
	else if (skip_digits(scan) == 0)
		return weir_json_scan_fail(scan, "expected a digit");

	if (scan->pos < scan->end && *scan->pos == '.')
	{
		scan->pos++;
		if (skip_digits(scan) == 0)
			return weir_json_scan_fail(scan, "expected a digit");
	}
	if (scan->pos < scan->end && (*scan->pos == 'e' || *scan->pos == 'E'))
	{
		scan->pos++;
		if (scan->pos < scan->end && (*scan->pos == '+' || *scan->pos == '-'))
			scan->pos++;
		if (skip_digits(scan) == 0)
			return weir_json_scan_fail(scan, "expected a digit");
	}

	value->text = begin;
	value->len = scan->pos - begin;
	value->kind = WEIR_JSON_NUMBER;
	value->escaped = false;
	return true;
}

#define EVERY_BYTE(b)	(UINT64CONST(0x0101010101010101) * (b))

/*
 * Returns the first byte from p on that is a quote, a backslash or a control
 * character, or end.
 *
 * Eight bytes at a time: each of the three tests sets the top bit of bytes
 * that match.  It may also set it in bytes above a match, never below one, so
 * the lowest is right.
 */
static inline const char *
skip_plain(const char *p, const char *end)
{
#ifndef WORDS_BIGENDIAN
	while (end - p >= 8)
	{
		uint64		word;
		uint64		quote;
		uint64		backslash;
		uint64		found;

		memcpy(&word, p, 8);
		quote = word ^ EVERY_BYTE('"');
		backslash = word ^ EVERY_BYTE('\\');
		found = ((word - EVERY_BYTE(0x20)) & ~word) |
			((quote - EVERY_BYTE(1)) & ~quote) |
			((backslash - EVERY_BYTE(1)) & ~backslash);
		found &= EVERY_BYTE(0x80);
		if (found != 0)
			return p + pg_rightmost_one_pos64(found) / 8;
		p += 8;
	}
#endif
	while (p < end && *p != '"' && *p != '\\' && (unsigned char) *p >= 0x20)
		p++;
	return p;
}

/*
 * Reads a string; the current position must be its opening quote, or is a
 * fault.
 */
bool
weir_json_scan_string(WeirJsonScan *scan, WeirJsonValue *value)
{
	if (scan->pos >= scan->end || *scan->pos != '"')
		return weir_json_scan_fail(scan, "expected a string");

	value->text = ++scan->pos;
	value->kind = WEIR_JSON_STRING;
	value->escaped = false;
	for (;;)
	{
		scan->pos = skip_plain(scan->pos, scan->end);
		if (scan->pos >= scan->end)
			return weir_json_scan_fail(scan, NULL);
		if (*scan->pos == '"')
			break;
		if (*scan->pos != '\\')
			return weir_json_scan_fail(scan, "control character in a string");
		value->escaped = true;
		if (!scan_escape(scan))
			return false;
	}
	value->len = scan->pos - value->text;
	scan->pos++;
	return true;
}

/*
 * Reads an escape sequence, or two that make up one character.  What passes
 * here can be unescaped without a further check.
 */
static bool
scan_escape(WeirJsonScan *scan)
{
	const char *begin = scan->pos++;
	uint32		code;

	if (scan->pos >= scan->end)
		return weir_json_scan_fail(scan, NULL);
	if (*scan->pos != 'u')
	{
		if (strchr("\"\\/bfnrt", *scan->pos) == NULL)
			return weir_json_scan_fail(scan, "invalid escape sequence");
		scan->pos++;
		return true;
	}

	scan->pos++;
	if (!scan_hex4(scan, &code))
		return false;
	if (is_utf16_surrogate_first(code) &&
		scan->end - scan->pos >= 2 && scan->pos[0] == '\\' && scan->pos[1] == 'u')
	{
		scan->pos += 2;
		if (!scan_hex4(scan, &code))
			return false;
		if (is_utf16_surrogate_second(code))
			return true;
		code = 0xD800;			/* the first one is alone */
	}
	if (is_utf16_surrogate_first(code) || is_utf16_surrogate_second(code))
	{
		scan->pos = begin;
		return weir_json_scan_fail(scan, "half a surrogate pair");
	}
	if (code == 0)
	{
		scan->pos = begin;
		weir_json_scan_fail(scan, "\\u0000 cannot be converted to text");
		scan->sqlstate = ERRCODE_UNTRANSLATABLE_CHARACTER;
		return false;
	}
	return true;
}

/* Returns the value of a hexadecimal digit, or -1. */
static inline int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Reads four hexadecimal digits. */
static bool
scan_hex4(WeirJsonScan *scan, uint32 *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++)
	{
		int			digit;

		if (scan->pos >= scan->end)
			return weir_json_scan_fail(scan, NULL);
		digit = hex_value(*scan->pos);
		if (digit < 0)
			return weir_json_scan_fail(scan, "expected a hexadecimal digit");
		*code = *code << 4 | digit;
		scan->pos++;
	}
	return true;
}

/* Starts a walk through the value at the current position. */
void
weir_json_walk_begin(WeirJsonScan *scan, WeirJsonWalk *walk)
{
	walk->base = scan->depth;
	walk->expects = EXPECTS_VALUE;
}

/*
 * Hands out the next token.  The walk is over when the scan is back at the
 * depth where it began.  A key comes as a string and has its colon read; only
 * keys and scalars fill in *value.
 */
bool
weir_json_walk_next(WeirJsonScan *scan, WeirJsonWalk *walk,
					WeirJsonToken *token, WeirJsonValue *value)
{
	weir_json_skip_space(scan);
	if (scan->pos >= scan->end)
		return weir_json_scan_fail(scan, NULL);

	if (walk->expects != EXPECTS_VALUE)
	{
		bool		object = in_object(scan, walk);

		if (*scan->pos == (object ? '}' : ']'))
			return walk_close(scan, walk, token);
		if (walk->expects == EXPECTS_MORE)
		{
			if (*scan->pos != ',')
				return weir_json_scan_fail(scan, object ?
										   "expected a comma or a closing brace" :
										   "expected a comma or a closing bracket");
			scan->pos++;
			weir_json_skip_space(scan);
		}
		walk->expects = EXPECTS_VALUE;
		if (object)
		{
			*token = WEIR_JSON_KEY;
			return weir_json_scan_string(scan, value) && weir_json_scan_colon(scan);
		}
	}

	if (scan->pos < scan->end && (*scan->pos == '{' || *scan->pos == '['))
		return walk_open(scan, walk, token);

	*token = WEIR_JSON_SCALAR;
	walk->expects = EXPECTS_MORE;
	return scan_scalar(scan, value);
}

/* Enters a container. */
static bool
walk_open(WeirJsonScan *scan, WeirJsonWalk *walk, WeirJsonToken *token)
{
	bool		object = *scan->pos == '{';
	uint64		bit = UINT64CONST(1) << (scan->depth % 64);

	if (scan->depth >= WEIR_JSON_MAX_DEPTH)
		return weir_json_scan_too_deep(scan);

	if (object)
		walk->objects[scan->depth / 64] |= bit;
	else
		walk->objects[scan->depth / 64] &= ~bit;
	scan->depth++;
	scan->pos++;
	walk->expects = EXPECTS_FIRST;
	*token = object ? WEIR_JSON_BEGIN_OBJECT : WEIR_JSON_BEGIN_ARRAY;
	return true;
}

/* Leaves a container. */
static bool
walk_close(WeirJsonScan *scan, WeirJsonWalk *walk, WeirJsonToken *token)
{
	*token = in_object(scan, walk) ? WEIR_JSON_END_OBJECT : WEIR_JSON_END_ARRAY;
	scan->depth--;
	scan->pos++;
	walk->expects = EXPECTS_MORE;
	return true;
}

/* Is the innermost open container an object? */
static bool
in_object(const WeirJsonScan *scan, const WeirJsonWalk *walk)
{
	int			level = scan->depth - 1;

	return (walk->objects[level / 64] & (UINT64CONST(1) << (level % 64))) != 0;
}

/*
 * Returns the text of a value: the characters that a string stands for, and
 * any other value as written.  Not terminated; a copy only where it must be.
 */
const char *
weir_json_unescape(const WeirJsonValue *value, Size *len)
{
	const char *from = value->text;
	const char *end = value->text + value->len;
	char	   *result;
	char	   *to;

	*len = value->len;
	if (!value->escaped)
		return value->text;

	/* Escaped, a character never takes fewer bytes than as UTF-8. */
	result = to = palloc(value->len);
	while (from < end)
	{
		if (*from != '\\')
		{
			*to++ = *from++;
			continue;
		}
		from += 2;
		switch (from[-1])
		{
			case 'b':
				*to++ = '\b';
				break;
			case 'f':
				*to++ = '\f';
				break;
			case 'n':
				*to++ = '\n';
				break;
			case 'r':
				*to++ = '\r';
				break;
			case 't':
				*to++ = '\t';
				break;
			case 'u':
				{
					uint32		code = unescape_hex(&from, end);

					unicode_to_utf8(code, (unsigned char *) to);
					to += pg_utf_mblen((unsigned char *) to);
					break;
				}
			default:
				*to++ = from[-1];
		}
	}
	*len = to - result;
	return result;
}

/* Reads the digits after \u, and the second half of a surrogate pair. */
static uint32
unescape_hex(const char **from, const char *end)
{
	uint32		code = 0;

	for (int i = 0; i < 4; i++)
		code = code << 4 | hex_value(*(*from)++);
	if (is_utf16_surrogate_first(code))
	{
		uint32		second = 0;

		(*from) += 2;
		for (int i = 0; i < 4; i++)
			second = second << 4 | hex_value(*(*from)++);
		code = surrogate_pair_to_codepoint(code, second);
	}
	return code;
}
