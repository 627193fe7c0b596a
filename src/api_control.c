/*
 * api_control.c
 *	  weir.start, weir.stop.
 *
 * Both take effect when the transaction commits: only then are workers woken
 * (wake.c).
 */
#include "postgres.h"

#include "arguments.h"
#include "catalog.h"
#include "catalog_refill.h"
#include "fmgr.h"
#include "guc.h"
#include "kafka_options.h"
#include "probe.h"
#include "shared.h"
#include "utils/builtins.h"
#include "wake.h"

PG_FUNCTION_INFO_V1(weir_start);
PG_FUNCTION_INFO_V1(weir_stop);
PG_FUNCTION_INFO_V1(weir_ring);
PG_FUNCTION_INFO_V1(weir_runs_here);

/* Raises 55000 where no worker can run. */
static void
check_preloaded(void)
{
	if (!weir_shared_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_weir is not in shared_preload_libraries"),
				 errdetail("Streams are read by background workers, which start with the server."),
				 errhint("Add pg_weir to shared_preload_libraries in postgresql.conf and restart the server.")));
}

/* Warns when the broker or the topic is not there; does not ask where nobody would wait for the answer. */
static void
probe(const WeirStream *stream, Oid serverid)
{
	List	   *problems;
	ListCell   *lc;

	if (weir_probe_timeout == 0)
		return;
	problems = weir_probe_topic(serverid, stream->owner, stream->topic, weir_probe_timeout);
	foreach(lc, problems)
	{
		WeirProbeRow *problem = lfirst(lc);

		ereport(WARNING,
				(errcode(problem->sqlstate),
				 errmsg("stream \"%s\" cannot read yet: %s", stream->name, problem->detail),
				 problem->hint[0] != '\0' ? errhint("%s", problem->hint) :
				 errhint("It will start reading by itself when it can; weir.status shows how it is.")));
	}
}

/* weir.start */
Datum
weir_start(PG_FUNCTION_ARGS)
{
	WeirStream *stream = weir_arg_own_kafka_stream(fcinfo);
	Oid			serverid;

	check_preloaded();
	serverid = weir_kafka_server_for(stream->server, stream->owner);
	weir_arg_depend_on_server(stream->relid, serverid);
	weir_catalog_doubt_copy(stream->relid);
	weir_catalog_set_wanted(stream->relid, true);
	weir_wake_at_commit(stream->relid);
	probe(stream, serverid);
	PG_RETURN_VOID();
}

/* weir.stop */
Datum
weir_stop(PG_FUNCTION_ARGS)
{
	WeirStream *stream = weir_arg_own_kafka_stream(fcinfo);

	if (!PG_ARGISNULL(1) && PG_GETARG_BOOL(1))
		weir_fence_cancel(stream->relid);
	else
		weir_fence_exclusive(stream->relid);
	weir_catalog_set_wanted(stream->relid, false);
	weir_wake_at_commit(stream->relid);
	PG_RETURN_VOID();
}

/* weir_internal.ring: has the launcher look at this database's streams after commit. */
Datum
weir_ring(PG_FUNCTION_ARGS)
{
	weir_wake_at_commit(InvalidOid);
	PG_RETURN_VOID();
}

/* weir_internal.runs_here: is this the database that a stream was started in? */
Datum
weir_runs_here(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), weir_catalog_database_identity()) == 0);
}
