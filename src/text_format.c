/*
 * text_format.c
 *	  Is a text an e-mail address, a URL, a UUID, an IP address, an ISO 8601
 *	  date or time?
 *
 * What people mean by these words: an e-mail address as HTML's forms take it,
 * not all of RFC 5322.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "text_format.h"
#include "utils/datetime.h"

const char *const weir_text_formats[] = {"email", "url", "uuid", "ip", "iso8601", NULL};

/* What is left of a string. */
typedef struct Rest
{
	const char *at;
	const char *end;
} Rest;

static bool
is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool
take_char(Rest *rest, char c)
{
	if (rest->at == rest->end || *rest->at != c)
		return false;
	rest->at++;
	return true;
}

/* Takes labels of letters, digits and inner hyphens, 63 at most each; false if there are fewer than wanted. */
static bool
take_host(Rest *rest, int wanted)
{
	int			labels = 0;

	do
	{
		const char *start = rest->at;

		while (rest->at < rest->end && (is_letter_or_digit(*rest->at) || *rest->at == '-'))
			rest->at++;
		if (rest->at == start || rest->at - start > 63 || *start == '-' || rest->at[-1] == '-')
			return false;
		labels++;
	} while (take_char(rest, '.'));
	return labels >= wanted;
}

static bool
is_email(Rest rest)
{
	const char *start = rest.at;

	while (rest.at < rest.end && (is_letter_or_digit(*rest.at) || (*rest.at != '\0' && strchr(".!#$%&'*+/=?^_`{|}~-", *rest.at) != NULL)))
		rest.at++;
	return rest.at > start && rest.at - start <= 64 && take_char(&rest, '@') &&
		take_host(&rest, 2) && rest.at == rest.end;
}

/* scheme://[user@]host[:port][/…][?…][#…], without spaces */
static bool
is_url(Rest rest)
{
	const char *start = rest.at;
	const char *authority;

	while (rest.at < rest.end && (is_letter_or_digit(*rest.at) || *rest.at == '+' || *rest.at == '-' || *rest.at == '.'))
		rest.at++;
	if (rest.at == start || !isalpha((unsigned char) *start) ||
		!take_char(&rest, ':') || !take_char(&rest, '/') || !take_char(&rest, '/'))
		return false;
	authority = rest.at;
	for (; rest.at < rest.end; rest.at++)
	{
		if ((unsigned char) *rest.at <= ' ' || *rest.at == 0x7f || strchr("<>\"\\^`{|}", *rest.at) != NULL)
			return false;
	}
	return authority < rest.end && strchr("/?#:@", *authority) == NULL;
}

static bool
is_uuid(Rest rest)
{
	if (rest.end - rest.at != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool		hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (hyphen ? rest.at[i] != '-' : !isxdigit((unsigned char) rest.at[i]))
			return false;
	}
	return true;
}

/* An address of version 4 or 6, without a mask. */
static bool
is_ip(Rest rest)
{
	char		string[INET6_ADDRSTRLEN];
	unsigned char address[sizeof(struct in6_addr)];
	Size		length = rest.end - rest.at;

	if (length >= sizeof(string) || memchr(rest.at, '\0', length) != NULL)
		return false;
	memcpy(string, rest.at, length);
	string[length] = '\0';
	return inet_pton(AF_INET, string, address) == 1 || inet_pton(AF_INET6, string, address) == 1;
}

/* Takes a number of so many digits, from least to greatest. */
static bool
take_number(Rest *rest, int digits, int least, int greatest, int *number)
{
	*number = 0;
	if (rest->end - rest->at < digits)
		return false;
	for (int i = 0; i < digits; i++)
	{
		if (!isdigit((unsigned char) rest->at[i]))
			return false;
		*number = *number * 10 + rest->at[i] - '0';
	}
	rest->at += digits;
	return *number >= least && *number <= greatest;
}

/* Takes hh:mm[:ss[.fraction]]. */
static bool
take_time(Rest *rest)
{
	int			number;

	if (!take_number(rest, 2, 0, 23, &number) || !take_char(rest, ':') || !take_number(rest, 2, 0, 59, &number))
		return false;
	if (!take_char(rest, ':'))
		return true;
	if (!take_number(rest, 2, 0, 60, &number))
		return false;
	if (!take_char(rest, '.') && !take_char(rest, ','))
		return true;
	if (!take_number(rest, 1, 0, 9, &number))
		return false;
	while (rest->at < rest->end && isdigit((unsigned char) *rest->at))
		rest->at++;
	return true;
}

/* YYYY-MM-DD, alone or with T or a space and a time, which may have Z or an offset */
static bool
is_iso8601(Rest rest)
{
	int			year;
	int			month;
	int			day;
	int			number;

	if (!take_number(&rest, 4, 0, 9999, &year) || !take_char(&rest, '-') ||
		!take_number(&rest, 2, 1, 12, &month) || !take_char(&rest, '-') ||
		!take_number(&rest, 2, 1, day_tab[isleap(year)][month - 1], &day))
		return false;
	if (rest.at == rest.end)
		return true;
	if ((!take_char(&rest, 'T') && !take_char(&rest, ' ')) || !take_time(&rest))
		return false;
	if (rest.at == rest.end || take_char(&rest, 'Z'))
		return rest.at == rest.end;
	if ((!take_char(&rest, '+') && !take_char(&rest, '-')) || !take_number(&rest, 2, 0, 23, &number))
		return false;
	if (rest.at == rest.end)
		return true;
	(void) take_char(&rest, ':');
	return take_number(&rest, 2, 0, 59, &number) && rest.at == rest.end;
}

/* Is a string as a format says? */
bool
weir_text_has_format(const char *string, int length, int format)
{
	static bool (*const tests[]) (Rest) = {is_email, is_url, is_uuid, is_ip, is_iso8601};

	return tests[format] ((Rest) {string, string + length});
}
