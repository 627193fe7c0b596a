/*
 * dedup_key.c
 *	  What an event is known by, as bytes and a hash.
 *
 * Where equal values have equal bytes, an id is its bytes: hashing and
 * comparing them is all there is to do.  Else (numeric, floats, citext,
 * collations that are not deterministic) the type's own functions decide.
 * Their hash may change with a version of a library, so it is never stored.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "dedup_key.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* Finds a column by its name. */
static Form_pg_attribute
find_column(TupleDesc tupdesc, const char *name, const char *stream)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("event id column \"%s\" of stream \"%s\" does not exist", name, stream)));
}

/* Makes ready a column. */
static void
init_column(WeirDedupKey *key, WeirDedupColumn *column, Form_pg_attribute att, const char *stream)
{
	Oid			base = getBaseType(att->atttypid);
	TypeCacheEntry *cache = lookup_type_cache(base, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);

	if (!OidIsValid(cache->hash_proc_finfo.fn_oid) || !OidIsValid(cache->eq_opr_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("event id column \"%s\" of stream \"%s\" cannot be of type %s",
						NameStr(att->attname), stream, format_type_be(att->atttypid)),
				 errdetail("Values of that type cannot be hashed.")));
	column->attno = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type = att->atttypid;
	column->collation = att->attcollation;
	fmgr_info(cache->hash_proc_finfo.fn_oid, &column->hash);
	fmgr_info(cache->eq_opr_finfo.fn_oid, &column->equal);
	weir_packer_init(&column->packer, att->atttypid);
	/* of one length: blocks of such ids need no offsets */
	if (column->packer.form == WEIR_PACK_INT)
		column->packer.form = WEIR_PACK_FIXED;
	key->exact = key->exact && weir_pack_is_exact(base, att->attcollation);
	key->width = column->packer.form == WEIR_PACK_FIXED && key->width >= 0 ?
		key->width + column->packer.typlen : -1;
}

/* Makes ready the columns of an id. */
WeirDedupKey *
weir_dedup_key_init(TupleDesc tupdesc, List *columns, const char *stream)
{
	WeirDedupKey *key = palloc0(sizeof(WeirDedupKey));
	ListCell   *cell;

	key->columns = palloc0(sizeof(WeirDedupColumn) * list_length(columns));
	key->exact = true;
	foreach(cell, columns)
		init_column(key, &key->columns[key->n++], find_column(tupdesc, lfirst(cell), stream), stream);
	key->width = Max(key->width, 0);
	return key;
}

/* Do two keys read the same bytes the same way? */
bool
weir_dedup_key_alike(const WeirDedupKey *a, const WeirDedupKey *b)
{
	if (a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
	{
		if (a->columns[i].type != b->columns[i].type || a->columns[i].collation != b->columns[i].collation)
			return false;
	}
	return a->exact == b->exact;
}

/* Mixes what the types' own functions make of the columns. */
static uint64
hash_values(WeirDedupKey *key, const Datum *values)
{
	uint64		hash = 0;

	for (int i = 0; i < key->n; i++)
	{
		WeirDedupColumn *column = &key->columns[i];
		uint32		of_column = DatumGetUInt32(FunctionCall1Coll(&column->hash, column->collation, values[i]));

		hash = hash_combine64(hash, DatumGetUInt64(hash_uint32_extended(of_column, (uint64) i)));
	}
	return hash;
}

static uint64
hash_exactly(const char *id, Size len)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) id, (int) len, 0));
}

/* Reads the columns of an id. */
static Datum *
unpack(WeirDedupKey *key, const char *id, Size len)
{
	WeirUnpack	bytes = {id, id + len};
	Datum	   *values = palloc(sizeof(Datum) * key->n);

	for (int i = 0; i < key->n; i++)
		values[i] = weir_unpack_value(&key->columns[i].packer, &bytes);
	return values;
}

/* Appends an id. */
uint64
weir_dedup_key_pack(WeirDedupKey *key, const Datum *values, StringInfo bytes)
{
	int			from = bytes->len;
	Datum		room[INDEX_MAX_KEYS];

	for (int i = 0; i < key->n; i++)
	{
		room[i] = values[key->columns[i].attno - 1];
		weir_pack_value(&key->columns[i].packer, room[i], bytes);
	}
	return key->exact ? hash_exactly(bytes->data + from, bytes->len - from) : hash_values(key, room);
}

/* Returns the hash of an id's bytes. */
uint64
weir_dedup_key_hash(WeirDedupKey *key, const char *id, Size len)
{
	return key->exact ? hash_exactly(id, len) : hash_values(key, unpack(key, id, len));
}

/* Are these the same id? */
bool
weir_dedup_key_equal(WeirDedupKey *key, const char *a, Size a_len, const char *b, Size b_len)
{
	Datum	   *left;
	Datum	   *right;

	if (a_len == b_len && memcmp(a, b, a_len) == 0)
		return true;
	if (key->exact)
		return false;
	left = unpack(key, a, a_len);
	right = unpack(key, b, b_len);
	for (int i = 0; i < key->n; i++)
	{
		WeirDedupColumn *column = &key->columns[i];

		if (!DatumGetBool(FunctionCall2Coll(&column->equal, column->collation, left[i], right[i])))
			return false;
	}
	return true;
}
