/*
 * upsert_verify.c
 *	  An upsert's rows compared with what its query gives over the staged rows.
 *
 * Staging holds a suffix of each partition.  The latest staged event of a key
 * is its latest at all unless an event before that suffix is ordered after it:
 * then the maintained position, of the row or of a delete, is one that staging
 * does not have, and greater.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "upsert_query.h"
#include "upsert_verify.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Returns the key's columns, each after a prefix. */
static char *
keys(const WeirUpsertRow *row, const char *prefix)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, row->key)
		appendStringInfo(&sql, "%s%s%s", foreach_current_index(cell) > 0 ? ", " : "", prefix,
						 quote_identifier(strVal(lfirst(cell))));
	return sql.data;
}

/* Returns the query's columns of a relation as jsonb. */
static char *
columns_as_jsonb(const WeirUpsert *upsert, const char *relation)
{
	TupleDesc	desc = upsert->collapser->desc;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT pg_catalog.to_jsonb(x.*) FROM (SELECT ");
	for (int i = 0; i < desc->natts - WEIR_UPSERT_COLUMNS; i++)
		appendStringInfo(&sql, "%s%s.%s", i > 0 ? ", " : "", relation, quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	appendStringInfoString(&sql, ") x)");
	return sql.data;
}

/* Appends the latest staged event of each key, that counts and came in time. */
static void
append_recomputed(StringInfo sql, const WeirUpsert *upsert)
{
	const WeirUpsertRow *row = upsert->row;

	appendStringInfo(sql, "SELECT DISTINCT ON (%s) %s, %s AS _weir_data, q._weir_order AS _weir_o, q._weir_partition AS _weir_p, q._weir_offset AS _weir_n,"
					 " q._weir_deleted AS _weir_gone FROM %s q"
					 " WHERE q._weir_offset >= coalesce(($1->>(q._weir_partition::text))::bigint, q._weir_offset)",
					 keys(row, "q."), keys(row, "q."), columns_as_jsonb(upsert, "q"), weir_relation_name(row->query));
	if (row->tombstone_ttl >= 0)
		appendStringInfo(sql, " AND q._weir_order + " INT64_FORMAT " * interval '1 microsecond' > q._weir_watermark", row->tombstone_ttl);
	appendStringInfo(sql, " ORDER BY %s, q._weir_order DESC, q._weir_partition DESC, q._weir_offset DESC", keys(row, "q."));
}

/* Appends the rows as they are maintained, with their positions, deletes among them. */
static void
append_maintained(StringInfo sql, const WeirUpsert *upsert)
{
	const WeirUpsertRow *row = upsert->row;
	const char *order = row->order_by == NULL ? "_order" : quote_identifier(row->order_by);

	if (row->owns_target)
	{
		appendStringInfo(sql, "SELECT %s, %s AS _weir_data, t.%s AS _weir_o, t._partition AS _weir_p, t._offset AS _weir_n, false AS _weir_gone FROM %s t",
						 keys(row, "t."), columns_as_jsonb(upsert, "t"), order, weir_relation_name(row->target));
		if (OidIsValid(row->positions))
			appendStringInfo(sql, " UNION ALL SELECT %s, NULL, d._order, d._partition, d._offset, true FROM %s d"
							 " WHERE NOT EXISTS (SELECT FROM %s t WHERE (%s) = (%s))",
							 keys(row, "d."), weir_relation_name(row->positions), weir_relation_name(row->target), keys(row, "t."), keys(row, "d."));
		return;
	}
	appendStringInfo(sql, "SELECT %s, CASE WHEN (t.*) IS NOT DISTINCT FROM NULL THEN NULL ELSE %s END AS _weir_data,"
					 " d._order AS _weir_o, d._partition AS _weir_p, d._offset AS _weir_n, d._deleted AS _weir_gone"
					 " FROM %s d LEFT JOIN %s t ON (%s) = (%s)",
					 keys(row, "d."), columns_as_jsonb(upsert, "t"), weir_relation_name(row->positions), weir_relation_name(row->target),
					 keys(row, "t."), keys(row, "d."));
}

/* Returns the query for what differs: the data of both sides, NULL where there is none. */
static char *
difference_query(const WeirUpsert *upsert)
{
	const WeirUpsertRow *row = upsert->row;
	/* a delete that is forgotten may have taken the row of an event this old */
	const char *remembered = row->tombstone_ttl < 0 ? "" :
		psprintf(" AND r._weir_o + " INT64_FORMAT " * interval '1 microsecond' > $2", row->tombstone_ttl);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH r AS MATERIALIZED (");
	append_recomputed(&sql, upsert);
	appendStringInfoString(&sql, "), m AS MATERIALIZED (");
	append_maintained(&sql, upsert);
	appendStringInfo(&sql, "), staged AS MATERIALIZED (SELECT _partition AS _weir_p, _offset AS _weir_n FROM %s)"
					 " SELECT CASE WHEN NOT m._weir_gone THEN m._weir_data END, CASE WHEN NOT r._weir_gone THEN r._weir_data END"
					 " FROM r FULL JOIN m USING (%s) LEFT JOIN staged s ON s._weir_p = m._weir_p AND s._weir_n = m._weir_n"
					 "   AND m._weir_n >= coalesce(($1->>(m._weir_p::text))::bigint, m._weir_n)"
					 " WHERE CASE WHEN m._weir_p IS NULL THEN NOT r._weir_gone%s"
					 "   WHEN s._weir_p IS NOT NULL THEN r._weir_p IS NULL OR (r._weir_p, r._weir_n) <> (m._weir_p, m._weir_n) OR r._weir_gone <> m._weir_gone"
					 "     OR NOT r._weir_gone AND r._weir_data IS DISTINCT FROM m._weir_data"
					 "   ELSE (r._weir_o, r._weir_p, r._weir_n) > (m._weir_o, m._weir_p, m._weir_n) END"
					 " ORDER BY %s", weir_relation_name(row->source), keys(row, ""), remembered, keys(row, ""));
	return sql.data;
}

/* Compares. */
void
weir_upsert_verify(const WeirUpsert *upsert, WeirDifference difference, void *arg)
{
	static const char *const sides[] = {"maintained", "recomputed"};
	Datum		values[] = {
		DirectFunctionCall1(jsonb_in, CStringGetDatum(upsert->row->begins_at)),
		TimestampTzGetDatum(weir_catalog_stream_watermark_at(upsert->row->stream, GetActiveSnapshot()))
	};
	char	   *sql = difference_query(upsert);
	int			rc;

	SPI_connect();
	rc = SPI_execute_with_args(sql, lengthof(values), (Oid[]) {JSONBOID, TIMESTAMPTZOID}, values, NULL, true, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int side = 0; side < lengthof(sides); side++)
		{
			bool		isnull;
			Datum		data = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, side + 1, &isnull);

			if (!isnull)
				difference(arg, sides[side], data);
		}
	}
	SPI_finish();
}
