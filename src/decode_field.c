/*
 * decode_field.c
 *	  The tree of fields that columns are filled from.
 *
 * The tree is built once from column names and paths.  Matching it with a
 * message is decode_json.c's job.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "decode_field.h"
#include "port/pg_bitutils.h"

static bool is_plain(const char *name);
static uint32 hash_name(const char *name, Size len);

/* Makes a field without children. */
WeirField *
weir_field_create(const char *name)
{
	WeirField  *field = palloc0(sizeof(WeirField));

	field->name = pstrdup(name);
	field->len = strlen(name);
	field->plain = is_plain(name);
	return field;
}

/* Can a JSON string hold this name only in this one way, but for needless escapes? */
static bool
is_plain(const char *name)
{
	for (const char *p = name; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\' || (unsigned char) *p < 0x20)
			return false;
	}
	return true;
}

/* Returns the child of that name, which it makes if it must. */
WeirField *
weir_field_child(WeirField *parent, const char *name)
{
	WeirField  *child;

	for (int i = 0; i < parent->nchildren; i++)
	{
		if (strcmp(parent->children[i]->name, name) == 0)
			return parent->children[i];
	}

	child = weir_field_create(name);
	if (parent->children == NULL)
		parent->children = palloc(sizeof(WeirField *));
	else
		parent->children = repalloc(parent->children,
									(parent->nchildren + 1) * sizeof(WeirField *));
	parent->children[parent->nchildren++] = child;
	return child;
}

/* Makes a tree that is complete ready for weir_field_find(). */
void
weir_field_finish(WeirField *root)
{
	uint32		size = pg_nextpower2_32(Max(root->nchildren, 1) * 2);

	root->table = palloc0(size * sizeof(WeirField *));
	root->mask = size - 1;
	for (int i = 0; i < root->nchildren; i++)
	{
		WeirField  *child = root->children[i];
		uint32		slot = hash_name(child->name, child->len) & root->mask;

		while (root->table[slot] != NULL)
			slot = (slot + 1) & root->mask;
		root->table[slot] = child;
		weir_field_finish(child);
	}
}

/* Returns the child of that name, or NULL. */
WeirField *
weir_field_find(const WeirField *parent, const char *name, Size len)
{
	uint32		slot = hash_name(name, len) & parent->mask;
	WeirField  *child;

	while ((child = parent->table[slot]) != NULL)
	{
		if (child->len == len && memcmp(child->name, name, len) == 0)
			return child;
		slot = (slot + 1) & parent->mask;
	}
	return NULL;
}

/* Returns the hash of a name. */
static uint32
hash_name(const char *name, Size len)
{
	return hash_bytes((const unsigned char *) name, (int) len);
}

/* Takes back that the message had what is below this field. */
void
weir_field_forget(WeirField *field)
{
	for (int i = 0; i < field->nchildren; i++)
	{
		field->children[i]->message = 0;
		field->children[i]->visit = 0;
		weir_field_forget(field->children[i]);
	}
}
