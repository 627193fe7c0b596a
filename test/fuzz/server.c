/*
 * server.c
 *	  PostgreSQL's code in a process that is no server.
 *
 * Its functions are the real ones, from a library that library.pl has made of
 * the server.  What is here takes their place for our own sources: memory, each
 * piece from malloc, so that the sanitizer sees where it begins and ends; and
 * the few look-ups for which there is no catalogue.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "fmgr.h"

#include "server.h"

/* What our sources hold. */
static void **chunks;
static size_t nchunks;
static size_t max_chunks;
static size_t nkept;

/* Sets up what a backend has before it looks at its first catalogue. */
void
server_start(void)
{
	strlcpy(my_exec_path, POSTGRES, MAXPGPATH);
	MemoryContextInit();
	(void) set_stack_base();
	InitializeGUCOptions();
	SetConfigOption("max_stack_depth", "2MB", PGC_POSTMASTER, PGC_S_ARGV);
	SetConfigOption("timezone_abbreviations", "Default", PGC_POSTMASTER, PGC_S_ARGV);
	SetConfigOption("TimeZone", "UTC", PGC_POSTMASTER, PGC_S_ARGV);
	SetDatabaseEncoding(PG_UTF8);
}

/* Lets all that has been allocated so far stay. */
void
server_keep(void)
{
	nkept = nchunks;
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "input", ALLOCSET_DEFAULT_SIZES));
}

/* Frees what has been allocated since. */
void
server_clear(void)
{
	while (nchunks > nkept)
		free(chunks[--nchunks]);
	MemoryContextReset(CurrentMemoryContext);
}

void *
palloc(Size size)
{
	void	   *chunk = malloc(size);

	if (nchunks == max_chunks)
	{
		max_chunks = Max(2 * max_chunks, 1024);
		chunks = realloc(chunks, max_chunks * sizeof(void *));
	}
	if (chunk == NULL || chunks == NULL)
		abort();
	chunks[nchunks++] = chunk;
	return chunk;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	return palloc(size);
}

void
pfree(void *pointer)
{
	size_t		i = nchunks;

	/* Mostly one of the last. */
	while (i > 0 && chunks[i - 1] != pointer)
		i--;
	if (i == 0)
		abort();				/* not ours, or freed before */
	free(pointer);
	memmove(&chunks[i - 1], &chunks[i], (nchunks - i) * sizeof(void *));
	nchunks--;
}

void *
repalloc(void *pointer, Size size)
{
	for (size_t i = nchunks; i > 0; i--)
	{
		if (chunks[i - 1] == pointer)
			return chunks[i - 1] = realloc(pointer, size);
	}
	abort();
}

char *
pnstrdup(const char *in, Size len)
{
	char	   *copy = palloc(strnlen(in, len) + 1);

	memcpy(copy, in, strnlen(in, len));
	copy[strnlen(in, len)] = '\0';
	return copy;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

/* The types that go through their own input functions. */
void
getTypeInputInfo(Oid type, Oid *function, Oid *parameter)
{
	*parameter = type;
	switch (type)
	{
		case BYTEAOID:
			*function = F_BYTEAIN;
			break;
		case BPCHAROID:
			*function = F_BPCHARIN;
			break;
		case INTERVALOID:
			*function = F_INTERVAL_IN;
			break;
		case INETOID:
			*function = F_INET_IN;
			break;
		default:
			abort();
	}
}

char *
format_type_be(Oid type)
{
	return pstrdup("of its own");
}

char
get_typtype(Oid type)
{
	return TYPTYPE_BASE;
}

Oid
getBaseType(Oid type)
{
	return type;
}

Oid
get_element_type(Oid type)
{
	return InvalidOid;
}

bool
type_is_rowtype(Oid type)
{
	return false;
}
