/*
 * derived_cache.c
 *	  Derived objects made ready to run, kept from batch to batch.
 */
#include "postgres.h"

#include "access/xact.h"
#include "derived_cache.h"
#include "nodes/pg_list.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Those in use or for use, of this session. */
static List *kept = NIL;

static int64 aborts = 0;

static void
invalidate_relation(Datum arg, Oid relid)
{
	ListCell   *cell;

	/* any table that a query reads may be the one: plans are cheap beside missing one */
	foreach(cell, kept)
		((WeirCompiled *) lfirst(cell))->valid = false;
}

static void
invalidate_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate_relation(arg, InvalidOid);
}

/* Nobody uses any of them when a transaction is over, however it ended. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	foreach(cell, kept)
		((WeirCompiled *) lfirst(cell))->busy = 0;
	if (event == XACT_EVENT_ABORT)
		aborts++;
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		aborts++;
}

int64
weir_compiled_aborts(void)
{
	return aborts;
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, invalidate_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, invalidate_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, invalidate_syscache, (Datum) 0);
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
	registered = true;
}

/* Forgets those that are out of date and that nobody uses. */
static void
forget_stale(void)
{
	ListCell   *cell;

	foreach(cell, kept)
	{
		WeirCompiled *compiled = lfirst(cell);

		if (compiled->valid || compiled->busy > 0)
			continue;
		kept = foreach_delete_current(kept, cell);
		MemoryContextDelete(compiled->context);
	}
}

/* Makes an object ready in a context of its own, and keeps it; NULL if there is none. */
static WeirCompiled *
build(const WeirCompiledKind *kind, const void *key)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_weir derived object",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	WeirCompiled *compiled = kind->build(key);

	if (compiled == NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return NULL;
	}
	compiled->kind = kind;
	compiled->context = context;
	compiled->valid = true;
	MemoryContextSwitchTo(CacheMemoryContext);
	kept = lappend(kept, compiled);
	MemoryContextSetParent(context, CacheMemoryContext);
	MemoryContextSwitchTo(old);
	return compiled;
}

/* Returns the object with this key. */
WeirCompiled *
weir_compiled_get(const WeirCompiledKind *kind, const void *key)
{
	WeirCompiled *compiled = NULL;
	ListCell   *cell;

	register_callbacks();
	forget_stale();
	foreach(cell, kept)
	{
		compiled = lfirst(cell);
		if (compiled->valid && compiled->kind == kind && kind->matches(compiled, key))
			break;
		compiled = NULL;
	}
	if (compiled == NULL)
		compiled = build(kind, key);
	if (compiled != NULL)
		compiled->busy++;
	return compiled;
}

/* Lets an object go. */
void
weir_compiled_release(WeirCompiled *compiled)
{
	compiled->busy--;
}

/* Adds the object to the context of errors; weir_error_object() reads it. */
void
weir_compiled_describe(void *arg)
{
	const WeirCompiled *compiled = arg;

	errcontext("%s \"%s\"", compiled->kind->label, compiled->name);
}
