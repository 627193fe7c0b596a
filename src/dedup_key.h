/*
 * dedup_key.h
 *	  What an event is known by, as bytes and a hash.
 *
 * Floor 1.
 */
#ifndef WEIR_DEDUP_KEY_H
#define WEIR_DEDUP_KEY_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "pack.h"

/* One column of an id. */
typedef struct WeirDedupColumn
{
	AttrNumber	attno;
	const char *name;
	Oid			type;
	Oid			collation;
	WeirPacker	packer;
	FmgrInfo	hash;			/* used unless the key is exact */
	FmgrInfo	equal;
} WeirDedupColumn;

typedef struct WeirDedupKey
{
	int			n;
	WeirDedupColumn *columns;
	bool		exact;			/* equal ids have equal bytes, and so the bytes' hash tells them apart */
	int			width;			/* bytes of an id; 0: they differ */
} WeirDedupKey;

/*
 * Makes ready the columns of these names, in the current context.  Raises
 * 42703 if there is no such column, 42883 if its type cannot be hashed.
 */
extern WeirDedupKey *weir_dedup_key_init(TupleDesc tupdesc, List *columns, const char *stream);

/* Appends an id, whose columns are not null; returns its hash. */
extern uint64 weir_dedup_key_pack(WeirDedupKey *key, const Datum *values, StringInfo bytes);

/* Returns the hash of an id's bytes. */
extern uint64 weir_dedup_key_hash(WeirDedupKey *key, const char *id, Size len);

/* Do two keys read the same bytes the same way? */
extern bool weir_dedup_key_alike(const WeirDedupKey *a, const WeirDedupKey *b);

/* Are these the same id? */
extern bool weir_dedup_key_equal(WeirDedupKey *key, const char *a, Size a_len, const char *b, Size b_len);

#endif							/* WEIR_DEDUP_KEY_H */
