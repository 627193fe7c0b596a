/*
 * catalog_gap.c
 *	  weir_internal.gap: offsets that a stream passed over without reading
 *	  them.
 *
 * As in catalog.c, everything runs with the superuser's rights.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_gap.h"
#include "catalog_query.h"
#include "miscadmin.h"
#include "utils/builtins.h"

static const struct
{
	const char *name;
	bool		same_partition; /* do offsets mean the same before and after? */
}			causes[] =
{
	[WEIR_GAP_SEEK] = {"seek", true},
	[WEIR_GAP_RETENTION] = {"retention", true},
	[WEIR_GAP_TRUNCATION] = {"truncation", false},
	[WEIR_GAP_PARTITIONS] = {"partitions", false},
	[WEIR_GAP_CLUSTER] = {"cluster", false},
};

/*
 * Records what is passed over.  A partition that goes back, as only another
 * one may, leaves a gap that has no end.
 */
void
weir_catalog_record_gap(Oid relid, int32 partition, int64 to_offset, WeirGapCause cause)
{
	static WeirCatalogStatement statement = {
		"INSERT INTO weir_internal.gap (stream, partition, from_offset, to_offset, cause, recorded_by)"
		" SELECT p.stream, p.partition, p.applied_offset, t.to_offset, $5, $6"
		" FROM weir_internal.stream_partition p,"
		" LATERAL (SELECT CASE WHEN $4 AND $3 >= p.applied_offset THEN $3 END AS to_offset) t"
		" WHERE p.stream = $1 AND p.partition = $2 AND t.to_offset IS DISTINCT FROM p.applied_offset"
		" AND NOT EXISTS (SELECT FROM weir_internal.gap g WHERE g.stream = p.stream AND g.partition = p.partition"
		" AND g.from_offset = p.applied_offset AND g.to_offset IS NOT DISTINCT FROM t.to_offset AND g.cause = $5"
		" AND g.void_since IS NULL)",
		6, {REGCLASSOID, INT4OID, INT8OID, BOOLOID, TEXTOID, NAMEOID}
	};
	WeirCatalogSession session;
	NameData	user = {0};

	if (cause == WEIR_GAP_SEEK)
		namestrcpy(&user, GetUserNameFromId(GetSessionUserId(), false));
	weir_catalog_enter(&session);
	weir_catalog_execute(&statement,
						 (Datum[]) {ObjectIdGetDatum(relid), Int32GetDatum(partition), Int64GetDatum(to_offset),
							 BoolGetDatum(causes[cause].same_partition), CStringGetTextDatum(causes[cause].name),
							 NameGetDatum(&user)},
						 cause == WEIR_GAP_SEEK ? "      " : "     n", SPI_OK_INSERT);
	weir_catalog_leave(&session);
}

/* Says that gaps do not count any more. */
void
weir_catalog_void_gaps(Oid relid)
{
	static WeirCatalogStatement statement = {
		"UPDATE weir_internal.gap SET void_since = pg_catalog.clock_timestamp()"
		" WHERE stream = $1 AND void_since IS NULL",
		1, {REGCLASSOID}
	};
	WeirCatalogSession session;

	weir_catalog_enter(&session);
	weir_catalog_execute(&statement, (Datum[]) {ObjectIdGetDatum(relid)}, NULL, SPI_OK_UPDATE);
	weir_catalog_leave(&session);
}
