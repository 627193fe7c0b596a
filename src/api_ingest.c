/*
 * api_ingest.c
 *	  weir.ingest: payloads from any session, through the same path as Kafka's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "arguments.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "headers.h"
#include "miscadmin.h"
#include "pipeline.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(weir_ingest);

/* The arguments, in order. */
enum
{
	I_STREAM, I_PAYLOAD, I_KEY, I_HEADERS, I_TIMESTAMP, I_PARTITION
};

/* The headers of a call: all its messages have them, as their handle. */
typedef struct CallHeaders
{
	WeirHeader *headers;
	int			nheaders;
} CallHeaders;

static WeirHeader *
headers_of_call(const WeirMessage *message, int *nheaders)
{
	const CallHeaders *call = message->handle;

	*nheaders = call->nheaders;
	return call->headers;
}

/* Raises 42501 unless the caller may insert into the stream. */
static void
check_insert_right(const WeirStream *stream)
{
	if (pg_class_aclcheck(stream->relid, GetUserId(), ACL_INSERT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for stream \"%s\"", stream->name),
				 errhint("GRANT INSERT ON %s lets a role ingest into it.",
						 quote_qualified_identifier(stream->schema, stream->name))));
	if (check_enable_rls(stream->relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot ingest into stream \"%s\" under row-level security", stream->name)));
}

/* Sets a message's value from a payload of the given type. */
static void
set_value(WeirMessage *message, Oid type, Datum payload, bool isnull)
{
	if (isnull)
		return;
	if (type == JSONBOID)
	{
		message->value = DatumGetCString(DirectFunctionCall1(jsonb_out, payload));
		message->value_len = strlen(message->value);
	}
	else
	{
		struct varlena *bytes = PG_DETOAST_DATUM_PACKED(payload);

		message->value = VARDATA_ANY(bytes);
		message->value_len = VARSIZE_ANY_EXHDR(bytes);
	}
}

/* Makes the batch of the payload argument, which is one value or an array. */
static void
make_batch(FunctionCallInfo fcinfo, WeirBatch *batch)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, I_PAYLOAD);
	Oid			elemtype = get_element_type(type);
	Datum	   *payloads;
	bool	   *nulls;

	memset(batch, 0, sizeof(*batch));
	if (!OidIsValid(elemtype))
	{
		elemtype = type;
		payloads = palloc(sizeof(Datum));
		nulls = palloc(sizeof(bool));
		payloads[0] = PG_GETARG_DATUM(I_PAYLOAD);
		nulls[0] = PG_ARGISNULL(I_PAYLOAD);
		batch->nmessages = 1;
	}
	else if (PG_ARGISNULL(I_PAYLOAD))
		return;
	else
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(I_PAYLOAD), elemtype, -1, false, TYPALIGN_INT,
						  &payloads, &nulls, &batch->nmessages);

	batch->messages = palloc_extended(sizeof(WeirMessage) * Max(batch->nmessages, 1),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < batch->nmessages; i++)
		set_value(&batch->messages[i], elemtype, payloads[i], nulls[i]);
}

/* Is Kafka's timestamp all that can tell when a message happened? */
static bool
needs_timestamp(const WeirStream *stream, const WeirMessage *message)
{
	return stream->event_time == NULL ||
		(message->value == NULL && stream->tombstones == WEIR_TOMBSTONE_ROW);
}

/*
 * Gives every message the key, timestamp and headers of the call.  Where no
 * timestamp is given and nothing else tells the time, it is the present, as a
 * producer would have it.
 */
static void
set_envelope(FunctionCallInfo fcinfo, const WeirStream *stream, WeirBatch *batch)
{
	bytea	   *key = PG_ARGISNULL(I_KEY) ? NULL : PG_GETARG_BYTEA_PP(I_KEY);
	bool		given = !PG_ARGISNULL(I_TIMESTAMP);
	TimestampTz timestamp = given ? PG_GETARG_TIMESTAMPTZ(I_TIMESTAMP) : GetCurrentTimestamp();
	CallHeaders *call = NULL;

	if (!PG_ARGISNULL(I_HEADERS))
	{
		call = palloc(sizeof(CallHeaders));
		call->headers = weir_headers_from_jsonb(PG_GETARG_JSONB_P(I_HEADERS), &call->nheaders);
		batch->headers_of = headers_of_call;
	}
	for (int i = 0; i < batch->nmessages; i++)
	{
		WeirMessage *message = &batch->messages[i];

		message->has_timestamp = given || needs_timestamp(stream, message);
		if (message->has_timestamp)
			message->timestamp = timestamp;
		if (key != NULL)
		{
			message->key = VARDATA_ANY(key);
			message->key_len = VARSIZE_ANY_EXHDR(key);
		}
		message->handle = call;
	}
}

/* Returns the partition the caller means. */
static int32
choose_partition(FunctionCallInfo fcinfo, const WeirStream *stream)
{
	if (stream->topic == NULL)
		return PG_ARGISNULL(I_PARTITION) ? 0 : PG_GETARG_INT32(I_PARTITION);
	if (!PG_ARGISNULL(I_PARTITION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partitions of stream \"%s\" are Kafka's", stream->name),
				 errhint("Leave out the parameter \"partition\": what is ingested here goes to partition -1.")));
	return WEIR_INGEST_PARTITION;
}

static Datum
counts_to_record(FunctionCallInfo fcinfo, const WeirCounts *counts)
{
	TupleDesc	tupdesc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(counts->accepted);
	values[1] = Int64GetDatum(counts->duplicate);
	values[2] = Int64GetDatum(counts->dead_lettered);
	values[3] = Int64GetDatum(counts->dropped);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/* weir.ingest */
Datum
weir_ingest(PG_FUNCTION_ARGS)
{
	WeirStream *stream = weir_arg_stream(fcinfo);
	WeirBatch	batch;
	WeirCounts	counts;

	check_insert_right(stream);
	make_batch(fcinfo, &batch);
	set_envelope(fcinfo, stream, &batch);
	weir_pipeline_ingest(stream->relid, choose_partition(fcinfo, stream), &batch, &counts);
	PG_RETURN_DATUM(counts_to_record(fcinfo, &counts));
}
