/*
 * store_page.c
 *	  What the rows of a store hold: entries, and the list of a lane's runs.
 */
#include "postgres.h"

#include "compat.h"
#include "port/pg_bswap.h"
#include "store_page.h"

/* The first byte of a list of runs, in case another form is wanted one day. */
#define RUNS_VERSION 1

/* Returns what the index compares. */
bytea *
weir_store_first(int64 bucket, uint32 hash)
{
	bytea	   *first = palloc(VARHDRSZ + WEIR_STORE_FIRST_LEN);
	uint64		high = pg_hton64((uint64) bucket ^ (UINT64CONST(1) << 63));
	uint32		low = pg_hton32(hash);

	SET_VARSIZE(first, VARHDRSZ + WEIR_STORE_FIRST_LEN);
	memcpy(VARDATA(first), &high, sizeof(high));
	memcpy(VARDATA(first) + sizeof(high), &low, sizeof(low));
	return first;
}

/* Appends an entry. */
void
weir_store_pack_entry(const WeirStoreEntry *entry, int nsubs, WeirStorePrevious *previous, StringInfo bytes)
{
	bool		same_bucket = previous->any && previous->bucket == entry->bucket;

	weir_pack_int((int64) ((uint64) entry->bucket - (previous->any ? (uint64) previous->bucket : 0)), bytes);
	weir_pack_uint(entry->hash - (same_bucket ? previous->hash : 0), bytes);
	for (int i = 0; i < nsubs; i++)
		weir_pack_int((int64) ((uint64) entry->sub[i] - (uint64) entry->bucket), bytes);
	weir_pack_bytes(entry->key.next, entry->key.end - entry->key.next, bytes);
	weir_pack_bytes(entry->value.next, entry->value.end - entry->value.next, bytes);
	*previous = (WeirStorePrevious) {true, entry->bucket, entry->hash};
}

/* Reads an entry; its key and value stay where they are. */
void
weir_store_unpack_entry(WeirUnpack *bytes, int nsubs, WeirStorePrevious *previous, WeirStoreEntry *entry)
{
	uint64		step = (uint64) weir_unpack_int(bytes);
	bool		same_bucket = previous->any && step == 0;

	entry->bucket = (int64) (step + (previous->any ? (uint64) previous->bucket : 0));
	entry->hash = (uint32) weir_unpack_uint(bytes) + (same_bucket ? previous->hash : 0);
	for (int i = 0; i < nsubs; i++)
		entry->sub[i] = (int64) ((uint64) weir_unpack_int(bytes) + (uint64) entry->bucket);
	entry->key = weir_unpack_bytes(bytes);
	entry->value = weir_unpack_bytes(bytes);
	*previous = (WeirStorePrevious) {true, entry->bucket, entry->hash};
}

/* Returns a lane's list of runs as it is stored. */
bytea *
weir_store_pack_runs(const WeirStoreLane *lane)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	appendStringInfoSpaces(&bytes, VARHDRSZ);
	appendStringInfoCharMacro(&bytes, RUNS_VERSION);
	weir_pack_uint(lane->last_run, &bytes);
	weir_pack_uint(lane->nruns, &bytes);
	for (int i = 0; i < lane->nruns; i++)
	{
		const WeirStoreRun *run = &lane->runs[i];

		weir_pack_uint(lane->last_run - run->id, &bytes);
		weir_pack_uint(run->level, &bytes);
		weir_pack_uint(run->entries, &bytes);
		weir_pack_int(run->first_bucket, &bytes);
		weir_pack_uint((uint64) run->last_bucket - (uint64) run->first_bucket, &bytes);
	}
	SET_VARSIZE(bytes.data, bytes.len);
	return (bytea *) bytes.data;
}

/* Reads a lane's list of runs. */
void
weir_store_unpack_runs(bytea *packed, WeirStoreLane *lane)
{
	WeirUnpack	bytes = {VARDATA_ANY(packed), VARDATA_ANY(packed) + VARSIZE_ANY_EXHDR(packed)};
	uint64		version = weir_unpack_uint(&bytes);

	if (version != RUNS_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("list of runs has unknown version %d", (int) version)));
	lane->last_run = weir_unpack_uint(&bytes);
	lane->nruns = weir_unpack_uint(&bytes);
	lane->runs = palloc(sizeof(WeirStoreRun) * Max(lane->nruns, 1));
	for (int i = 0; i < lane->nruns; i++)
	{
		WeirStoreRun *run = &lane->runs[i];

		run->id = lane->last_run - (int64) weir_unpack_uint(&bytes);
		run->level = weir_unpack_uint(&bytes);
		run->entries = weir_unpack_uint(&bytes);
		run->first_bucket = weir_unpack_int(&bytes);
		run->last_bucket = (int64) ((uint64) run->first_bucket + weir_unpack_uint(&bytes));
	}
}
