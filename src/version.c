/*
 * version.c
 *	  Do the library and the extension's SQL belong together?
 *
 * They come to a server by two ways.  The library is loaded when the server
 * starts, and stays until it stops; the SQL is what CREATE EXTENSION or ALTER
 * EXTENSION … UPDATE has last run, in each database.  In between, one is
 * older than the other, and the library would read the catalogue, or its
 * arguments, for what they are not.  So streams stand still meanwhile.
 *
 * WEIR_VERSION comes from the control file, through the Makefile.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "version.h"

/* Returns the version of the extension in this database; NULL where there is none. */
static char *
sql_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	char	   *version = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("pg_weir"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

/* Is there no difference? */
bool
weir_version_fits(void)
{
	char	   *version = sql_version();
	bool		fits = version == NULL || strcmp(version, WEIR_VERSION) == 0;

	if (version != NULL)
		pfree(version);
	return fits;
}

/* Compares versions by their numbers; what is no number does not count. */
static int
compare(const char *a, const char *b)
{
	while (*a != '\0' || *b != '\0')
	{
		long		left = strtol(a, (char **) &a, 10);
		long		right = strtol(b, (char **) &b, 10);

		if (left != right)
			return left < right ? -1 : 1;
		a += strcspn(a, "0123456789");
		b += strcspn(b, "0123456789");
	}
	return 0;
}

/* Says what is wrong. */
char *
weir_version_error(void)
{
	return psprintf("the library of pg_weir that is loaded is of version %s, the extension in this database of version %s",
					WEIR_VERSION, sql_version());
}

/* Says what to do. */
const char *
weir_version_hint(void)
{
	if (compare(WEIR_VERSION, sql_version()) < 0)
		return "Restart the server, which then loads the library that is installed now.";
	return "Run ALTER EXTENSION pg_weir UPDATE in this database.";
}

/* Raises an error where there is a difference. */
void
weir_version_check(void)
{
	if (weir_version_fits())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s", weir_version_error()),
			 errhint("%s", weir_version_hint())));
}
