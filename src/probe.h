/*
 * probe.h
 *	  Trying a connection to Kafka out from a session.
 *
 * Floor 4.
 */
#ifndef WEIR_PROBE_H
#define WEIR_PROBE_H

#include "postgres.h"

#include "kafka_probe.h"
#include "nodes/pg_list.h"

/*
 * Tries a server out as a user, in a short-lived worker, for at most
 * timeout_ms; returns what it found, a List of WeirProbeRow.  Trouble with
 * the network, or with starting the worker, is in the rows; throws for
 * everything else.  The caller has checked that the user may use the server.
 */
extern List *weir_probe_server(Oid serverid, Oid userid, int timeout_ms);

/*
 * The same for one topic; returns only what keeps a stream from reading it,
 * NIL if nothing does.
 */
extern List *weir_probe_topic(Oid serverid, Oid userid, const char *topic, int timeout_ms);

/* An offset of a partition. */
typedef struct WeirProbeOffset
{
	int32		partition;
	int64		offset;
} WeirProbeOffset;

/*
 * The offset of every partition of a topic at a time: milliseconds since
 * 1970, -1 for the end (the last stable offset, under read_committed), -2 for
 * the beginning; a time after the last message means the end.  Returns a List
 * of WeirProbeOffset, by partition; or NIL, and why in *problem.
 */
extern List *weir_probe_offsets(Oid serverid, Oid userid, const char *topic,
								const char *isolation_level, int64 time,
								int timeout_ms, const WeirProbeRow **problem);

/* Throws a problem. */
extern void weir_probe_throw(const WeirProbeRow *problem) pg_attribute_noreturn();

extern PGDLLEXPORT void weir_probe_main(Datum main_arg);

#endif							/* WEIR_PROBE_H */
