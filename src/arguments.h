/*
 * arguments.h
 *	  What the SQL functions ask of the stream they are given.
 *
 * Floor 2.
 */
#ifndef WEIR_ARGUMENTS_H
#define WEIR_ARGUMENTS_H

#include "catalog.h"
#include "fmgr.h"
#include "nodes/nodes.h"

/* 25006 on a standby; 55000 where library and SQL are of different versions. */
extern void weir_arg_check_server(FunctionCallInfo fcinfo);

/* The stream that is argument 0, after that check: 22004 if NULL, 42809 if it is no stream. */
extern WeirStream *weir_arg_stream(FunctionCallInfo fcinfo);

/* The same; 42501 unless the caller owns it. */
extern WeirStream *weir_arg_own_stream(FunctionCallInfo fcinfo);

/* The same; 55000 unless it reads from Kafka. */
extern WeirStream *weir_arg_own_kafka_stream(FunctionCallInfo fcinfo);

/*
 * The tree of an SQL expression that parameter holds: what closes parentheses
 * and goes on as another clause or statement is refused with 42601.
 */
extern Node *weir_arg_expression(const char *parameter, const char *text);

/* Makes a stream depend on its server, as a foreign table does, if it does not yet. */
extern void weir_arg_depend_on_server(Oid relid, Oid serverid);

/* A query of the caller's, which may go within parentheses on lines of its own; 42601 if it is not one SELECT. */
extern char *weir_arg_select(const char *parameter, const char *text);

#endif							/* WEIR_ARGUMENTS_H */
