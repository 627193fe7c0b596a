/*
 * transform_verify.c
 *	  A transform's rows compared with what its query gives over its source, as
 *	  multisets.
 *
 * Left out are events that the source does not have any more, or that came
 * before the transform, and rows past retention.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "transform_query.h"
#include "transform_verify.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Returns the columns that the query gives, converted to the types of the target. */
static char *
columns_of(const Query *query, Oid target)
{
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, query->targetList)
	{
		const char *name = ((TargetEntry *) lfirst(cell))->resname;
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(target, get_attnum(target, name), &type, &typmod, &collation);
		appendStringInfo(&columns, "%sq.%s::%s AS %s", columns.len > 0 ? ", " : "", quote_identifier(name),
						 format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
						 quote_identifier(name));
	}
	return columns.data;
}

/* Returns the condition under which a row of either side is compared; $1: offsets, $2: time. */
static char *
condition(const WeirTransform *transform)
{
	const WeirTransformRow *row = transform->row;
	StringInfoData sql;

	initStringInfo(&sql);
	/* of a partition without offsets nothing is staged, while tables of transforms have it from its beginning */
	appendStringInfo(&sql, "_offset >= coalesce(($1->>_partition::text)::bigint, %s)",
					 row->source == row->stream ? "NULL" : "0");
	if (row->event_time != NULL)
		appendStringInfo(&sql, " AND coalesce(%s, _timestamp, 'infinity') >= $2", quote_identifier(row->event_time));
	if (row->source != row->stream)
		appendStringInfo(&sql, " AND EXISTS (SELECT FROM %s s WHERE s._partition = r._partition AND s._offset = r._offset)",
						 qualified_name(row->source));
	return sql.data;
}

/* Returns the query for the rows that only one side has. */
static char *
differences_sql(const WeirTransform *transform)
{
	char	   *columns = columns_of(transform->query, transform->row->target);
	char	   *compared = condition(transform);
	char	   *query = pg_get_querydef(copyObject(transform->query), false);

	return psprintf("WITH maintained AS (SELECT to_jsonb(r.*) AS data FROM (SELECT %s FROM %s q) r WHERE %s),"
					" recomputed AS (SELECT to_jsonb(r.*) AS data FROM (SELECT %s FROM (%s) q) r WHERE %s)"
					" SELECT 'maintained', data FROM (TABLE maintained EXCEPT ALL TABLE recomputed) m"
					" UNION ALL SELECT 'recomputed', data FROM (TABLE recomputed EXCEPT ALL TABLE maintained) c",
					columns, qualified_name(transform->row->target), compared, columns, query, compared);
}

/* Raises an error where rows cannot be compared. */
static void
check_comparable(const WeirTransform *transform)
{
	const WeirTransformRow *row = transform->row;

	if (get_attnum(row->target, "_partition") == InvalidAttrNumber || get_attnum(row->target, "_offset") == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of table \"%s\" cannot be verified", transform->name),
				 errdetail("Without columns _partition and _offset nobody can tell which events they are made of.")));
	if (transform->source->retention >= 0 && !transform->source->same_time)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows of table \"%s\" cannot be verified", transform->name),
				 errdetail("Of an event some rows of \"%s\" may have left, and others not.", get_rel_name(row->source))));
}

/* Returns the time from which on no row has left. */
static TimestampTz
retained_since(const WeirTransformRow *row)
{
	TimestampTz watermark = weir_catalog_stream_watermark_at(row->stream, GetActiveSnapshot());

	return row->retention >= 0 && watermark > MIN_TIMESTAMP + row->retention ? watermark - row->retention : DT_NOBEGIN;
}

/* Compares a transform with its query. */
void
weir_transform_verify(WeirTransform *transform, WeirDifference difference, void *arg)
{
	const WeirTransformRow *row = transform->row;
	Oid			types[] = {JSONBOID, TIMESTAMPTZOID};
	Datum		values[lengthof(types)];
	char	   *sql;

	check_comparable(transform);
	values[0] = weir_catalog_transform_begins(row->target, row->source == row->stream);
	values[1] = TimestampTzGetDatum(retained_since(row));
	sql = differences_sql(transform);
	SPI_connect();
	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;

		difference(arg, SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1),
				   SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
}
