/*
 * aggregate_key.h
 *	  What a continuous aggregate groups by, as bytes and a hash.
 *
 * Floor 2, a part of the step aggregate.
 */
#ifndef WEIR_AGGREGATE_KEY_H
#define WEIR_AGGREGATE_KEY_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "pack.h"

/* One expression of GROUP BY. */
typedef struct WeirKey
{
	Oid			type;
	Oid			collation;
	WeirPacker	packer;
	FmgrInfo	equal;
	FmgrInfo	hash;			/* fn_oid 0: has none that lasts */
	bool		hash_bytes;		/* the packed bytes are hashed instead */
	bool		exact;			/* equal values have equal bytes */
} WeirKey;

typedef struct WeirKeySet
{
	int			n;
	bool		exact;			/* all are */
	WeirKey    *keys;
} WeirKeySet;

/* Makes ready the keys of a list of TargetEntry, in the current context; 0A000 if they cannot be stored. */
extern WeirKeySet *weir_keys_init(List *entries);

/* Appends a row of keys; returns its hash. */
extern uint32 weir_keys_pack(const WeirKeySet *set, const Datum *values, const bool *nulls, StringInfo bytes);

/* Reads a row of keys, allocated in the current context. */
extern void weir_keys_unpack(const WeirKeySet *set, WeirUnpack bytes, Datum *values, bool *nulls);

/* Are two rows of keys the same group? */
extern bool weir_keys_equal(const WeirKeySet *set, WeirUnpack a, WeirUnpack b);

#endif							/* WEIR_AGGREGATE_KEY_H */
