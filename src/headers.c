/*
 * headers.c
 *	  The headers of a message as jsonb, and back.
 */
#include "postgres.h"

#include "common/base64.h"
#include "headers.h"
#include "mb/pg_wchar.h"

/* Can these bytes be the value of a text? */
static bool
is_text(const char *bytes, Size len)
{
	return pg_encoding_verifymbstr(PG_UTF8, bytes, (int) len) == (int) len;
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *bytes, Size len)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = (char *) bytes;
	value.val.string.len = (int) len;
	(void) pushJsonbValue(state, token, &value);
}

/* Pushes one header's value, as an element of an array or as a member's value. */
static void
push_value(JsonbParseState **state, JsonbIteratorToken token, const WeirHeader *header)
{
	if (header->value == NULL)
	{
		JsonbValue	null = {.type = jbvNull};

		(void) pushJsonbValue(state, token, &null);
	}
	else if (is_text(header->value, header->value_len))
		push_string(state, token, header->value, header->value_len);
	else
	{
		int			room = pg_b64_enc_len((int) header->value_len);
		char	   *encoded = palloc(room);
		int			len = pg_b64_encode(header->value, (int) header->value_len, encoded, room);

		(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_string(state, WJB_KEY, "base64", 6);
		push_string(state, WJB_VALUE, encoded, len);
		(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
}

/* Orders headers by name, those of one name as they came. */
static int
compare_headers(const void *a, const void *b)
{
	const WeirHeader *left = *(const WeirHeader *const *) a;
	const WeirHeader *right = *(const WeirHeader *const *) b;
	int			order = strcmp(left->name, right->name);

	return order != 0 ? order : left < right ? -1 : left > right;
}

/* Pushes a member with all n values of one name. */
static void
push_member(JsonbParseState **state, const WeirHeader *const *headers, int n)
{
	push_string(state, WJB_KEY, headers[0]->name, strlen(headers[0]->name));
	if (n == 1)
	{
		push_value(state, WJB_VALUE, headers[0]);
		return;
	}
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		push_value(state, WJB_ELEM, headers[i]);
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * Returns the headers as a jsonb object, or NULL if there are none.  A message
 * may have very many: they are sorted to find those that repeat.
 */
Jsonb *
weir_headers_to_jsonb(const WeirHeader *headers, int nheaders)
{
	JsonbParseState *state = NULL;
	const WeirHeader **sorted;
	int			next;

	if (nheaders == 0)
		return NULL;
	sorted = palloc(nheaders * sizeof(WeirHeader *));
	for (int i = 0; i < nheaders; i++)
		sorted[i] = &headers[i];
	qsort(sorted, nheaders, sizeof(WeirHeader *), compare_headers);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < nheaders; i = next)
	{
		for (next = i + 1; next < nheaders && strcmp(sorted[next]->name, sorted[i]->name) == 0;)
			next++;
		if (is_text(sorted[i]->name, strlen(sorted[i]->name)))
			push_member(&state, sorted + i, next - i);
	}
	pfree(sorted);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
reject_form(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("headers are not in the expected form"),
			 errhint("Use an object of strings, such as {\"trace\": \"abc\"}; repeated headers are arrays, binary ones {\"base64\": \"...\"}.")));
}

/* Decodes {"base64": "…"}, whose object has just begun. */
static void
read_base64(JsonbIterator **it, WeirHeader *header)
{
	JsonbValue	value;
	char	   *decoded;
	int			room;

	if (JsonbIteratorNext(it, &value, false) != WJB_KEY ||
		value.val.string.len != 6 || memcmp(value.val.string.val, "base64", 6) != 0 ||
		JsonbIteratorNext(it, &value, false) != WJB_VALUE || value.type != jbvString)
		reject_form();
	room = pg_b64_dec_len(value.val.string.len);
	decoded = palloc(room + 1);
	room = pg_b64_decode(value.val.string.val, value.val.string.len, decoded, room);
	if (room < 0 || JsonbIteratorNext(it, &value, false) != WJB_END_OBJECT)
		reject_form();
	header->value = decoded;
	header->value_len = room;
}

/* Reads one value, whose first token has just been read. */
static void
read_value(JsonbIterator **it, JsonbIteratorToken token, const JsonbValue *value, WeirHeader *header)
{
	if (token == WJB_BEGIN_OBJECT)
		read_base64(it, header);
	else if (value->type == jbvNull)
		header->value = NULL;
	else if (value->type == jbvString)
	{
		header->value = pnstrdup(value->val.string.val, value->val.string.len);
		header->value_len = value->val.string.len;
	}
	else
		reject_form();
}

/* Returns the headers that weir_headers_to_jsonb would have made this of. */
WeirHeader *
weir_headers_from_jsonb(Jsonb *jsonb, int *nheaders)
{
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	WeirHeader *headers = NULL;
	int			room = 0;
	int			n = 0;
	const char *name = NULL;
	bool		in_array = false;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		reject_form();
	(void) JsonbIteratorNext(&it, &value, false);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_BEGIN_ARRAY || token == WJB_END_ARRAY)
		{
			if (token == WJB_BEGIN_ARRAY && in_array)
				reject_form();
			in_array = token == WJB_BEGIN_ARRAY;
		}
		else if (token != WJB_END_OBJECT)
		{
			if (n == room)
			{
				room = room == 0 ? 8 : room * 2;
				headers = headers == NULL ? palloc(room * sizeof(WeirHeader)) :
					repalloc(headers, room * sizeof(WeirHeader));
			}
			memset(&headers[n], 0, sizeof(WeirHeader));
			headers[n].name = name;
			read_value(&it, token, &value, &headers[n]);
			n++;
		}
	}
	*nheaders = n;
	return headers;
}
