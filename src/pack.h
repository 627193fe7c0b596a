/*
 * pack.h
 *	  Values as compact bytes, for stores that keep many of them in a row.
 *
 * Nothing in the bytes depends on this cluster's OIDs: they may be dumped and
 * restored into another one.
 *
 * Floor 1.
 */
#ifndef WEIR_PACK_H
#define WEIR_PACK_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

/* How the values of a type are written. */
typedef enum WeirPackForm
{
	WEIR_PACK_INT,				/* an integer by value: as few bytes as it needs */
	WEIR_PACK_FIXED,			/* of fixed length: as it is */
	WEIR_PACK_VARLENA,			/* length and contents */
	WEIR_PACK_TEXT				/* what its output function says: types whose bytes hold OIDs */
} WeirPackForm;

typedef struct WeirPacker
{
	WeirPackForm form;
	int16		typlen;
	bool		typbyval;
	FmgrInfo	output;			/* WEIR_PACK_TEXT */
	FmgrInfo	input;
	Oid			ioparam;
} WeirPacker;

/* What is left to read of packed bytes. */
typedef struct WeirUnpack
{
	const char *next;
	const char *end;
} WeirUnpack;

/* Do equal values of this type have equal bytes?  A domain's base type is asked for. */
extern bool weir_pack_is_exact(Oid type, Oid collation);

/* Makes a packer for a type, in the current context. */
extern void weir_packer_init(WeirPacker *packer, Oid type);

/* Appends a value, which is not null. */
extern void weir_pack_value(const WeirPacker *packer, Datum value, StringInfo bytes);

/* Reads it back, allocated in the current context. */
extern Datum weir_unpack_value(const WeirPacker *packer, WeirUnpack *bytes);

/* Appends and reads numbers; small ones take one byte. */
extern void weir_pack_uint(uint64 value, StringInfo bytes);
extern void weir_pack_int(int64 value, StringInfo bytes);
extern uint64 weir_unpack_uint(WeirUnpack *bytes);
extern int64 weir_unpack_int(WeirUnpack *bytes);

/* Appends length and contents; reads them without copying. */
extern void weir_pack_bytes(const char *data, Size len, StringInfo bytes);
extern WeirUnpack weir_unpack_bytes(WeirUnpack *bytes);

#endif							/* WEIR_PACK_H */
