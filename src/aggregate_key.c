/*
 * aggregate_key.c
 *	  What a continuous aggregate groups by, as bytes and a hash.
 *
 * The hash orders groups in the store, so it must stay the same for years:
 * a column whose hash may change with a new version of a collation library, or
 * with the OIDs of another cluster, has none, which costs time where such
 * columns alone tell groups apart.
 */
#include "postgres.h"

#include "aggregate_key.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/typcache.h"

static void
init_key(WeirKey *key, const TargetEntry *entry)
{
	Oid			base;
	TypeCacheEntry *cache;
	bool		deterministic;

	key->type = exprType((Node *) entry->expr);
	key->collation = exprCollation((Node *) entry->expr);
	base = getBaseType(key->type);
	cache = lookup_type_cache(base, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
	if (get_typtype(base) == TYPTYPE_PSEUDO || !OidIsValid(cache->eq_opr_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot group by values of type %s", format_type_be(key->type))));
	deterministic = !OidIsValid(key->collation) || get_collation_isdeterministic(key->collation);
	fmgr_info(cache->eq_opr_finfo.fn_oid, &key->equal);
	key->hash.fn_oid = InvalidOid;
	weir_packer_init(&key->packer, key->type);
	key->hash_bytes = get_typtype(base) == TYPTYPE_ENUM;
	if (deterministic && key->packer.form != WEIR_PACK_TEXT && OidIsValid(cache->hash_proc_finfo.fn_oid))
		fmgr_info(cache->hash_proc_finfo.fn_oid, &key->hash);
	key->exact = key->hash_bytes || weir_pack_is_exact(base, key->collation);
}

/* Makes ready the keys of a list. */
WeirKeySet *
weir_keys_init(List *entries)
{
	WeirKeySet *set = palloc(sizeof(WeirKeySet));

	set->n = list_length(entries);
	set->keys = palloc0(sizeof(WeirKey) * Max(set->n, 1));
	set->exact = true;
	for (int i = 0; i < set->n; i++)
	{
		init_key(&set->keys[i], list_nth(entries, i));
		set->exact = set->exact && set->keys[i].exact;
	}
	return set;
}

/* Appends which of the keys are null: nothing where there is no key. */
static void
pack_nulls(const WeirKeySet *set, const bool *nulls, StringInfo bytes)
{
	for (int i = 0; i < set->n; i += 8)
	{
		unsigned char bits = 0;

		for (int j = i; j < Min(i + 8, set->n); j++)
			bits |= nulls[j] ? 1 << (j - i) : 0;
		appendStringInfoCharMacro(bytes, (char) bits);
	}
}

/* Returns the hash of a value whose packed bytes begin at this position. */
static uint32
hash_of(WeirKey *key, Datum value, StringInfo bytes, int position)
{
	if (key->hash_bytes)
		return hash_bytes((unsigned char *) bytes->data + position, bytes->len - position);
	if (!OidIsValid(key->hash.fn_oid))
		return 0;
	return DatumGetUInt32(FunctionCall1Coll(&key->hash, key->collation, value));
}

/* Appends a row of keys. */
uint32
weir_keys_pack(const WeirKeySet *set, const Datum *values, const bool *nulls, StringInfo bytes)
{
	uint32		hash = 0;

	pack_nulls(set, nulls, bytes);
	for (int i = 0; i < set->n; i++)
	{
		WeirKey    *key = &set->keys[i];
		int			position = bytes->len;

		if (!nulls[i])
			weir_pack_value(&key->packer, values[i], bytes);
		hash = hash_combine(hash, nulls[i] ? 0 : hash_of(key, values[i], bytes, position));
	}
	return hash;
}

/* Reads a row of keys. */
void
weir_keys_unpack(const WeirKeySet *set, WeirUnpack bytes, Datum *values, bool *nulls)
{
	const char *bits = bytes.next;

	bytes.next += (set->n + 7) / 8;
	for (int i = 0; i < set->n; i++)
	{
		nulls[i] = (bits[i / 8] >> (i % 8)) & 1;
		values[i] = nulls[i] ? (Datum) 0 : weir_unpack_value(&set->keys[i].packer, &bytes);
	}
}

/* Compares value by value. */
static bool
equal_values(const WeirKeySet *set, WeirUnpack a, WeirUnpack b)
{
	Datum	   *left = palloc(sizeof(Datum) * set->n);
	Datum	   *right = palloc(sizeof(Datum) * set->n);
	bool	   *left_nulls = palloc(sizeof(bool) * set->n);
	bool	   *right_nulls = palloc(sizeof(bool) * set->n);

	weir_keys_unpack(set, a, left, left_nulls);
	weir_keys_unpack(set, b, right, right_nulls);
	for (int i = 0; i < set->n; i++)
	{
		WeirKey    *key = &set->keys[i];

		if (left_nulls[i] != right_nulls[i])
			return false;
		if (!left_nulls[i] && !DatumGetBool(FunctionCall2Coll(&key->equal, key->collation, left[i], right[i])))
			return false;
	}
	return true;
}

/* Are two rows of keys the same group? */
bool
weir_keys_equal(const WeirKeySet *set, WeirUnpack a, WeirUnpack b)
{
	Size		len = a.end - a.next;

	if (len == (Size) (b.end - b.next) && memcmp(a.next, b.next, len) == 0)
		return true;
	return !set->exact && equal_values(set, a, b);
}
