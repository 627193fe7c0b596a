/*
 * derived_cache.h
 *	  Derived objects made ready to run, kept from batch to batch.
 *
 * Floor 2, below all kinds of derived objects.
 */
#ifndef WEIR_DERIVED_CACHE_H
#define WEIR_DERIVED_CACHE_H

#include "postgres.h"

/* The head of a compiled object. */
typedef struct WeirCompiled
{
	const struct WeirCompiledKind *kind;
	bool		valid;			/* cleared when a definition changes */
	int			busy;			/* users of it right now */
	MemoryContext context;		/* of all of it */
	const char *name;			/* of the object */
} WeirCompiled;

/* What the objects of a kind know to do; a key is what they are looked for by. */
typedef struct WeirCompiledKind
{
	const char *label;			/* in messages: continuous aggregate */
	bool		(*matches) (const WeirCompiled *compiled, const void *key);
	WeirCompiled *(*build) (const void *key);	/* in the current context; NULL: there is none */
} WeirCompiledKind;

/*
 * Returns the object with this key, made ready; NULL if there is none.  It
 * stays as it is until it is released, or the transaction ends.
 */
extern WeirCompiled *weir_compiled_get(const WeirCompiledKind *kind, const void *key);
extern void weir_compiled_release(WeirCompiled *compiled);

/* How many transactions and subtransactions of this session were rolled back; counted once an object was got. */
extern int64 weir_compiled_aborts(void);

/* Adds the object to the context of errors, as their callback. */
extern void weir_compiled_describe(void *compiled);

#endif							/* WEIR_DERIVED_CACHE_H */
