/*
 * arguments.c
 *	  What the SQL functions ask of the stream they are given.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "arguments.h"
#include "catalog/dependency.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"
#include "version.h"

/* Raises an error where no stream can be worked on: on a standby, or with a library of another version. */
void
weir_arg_check_server(FunctionCallInfo fcinfo)
{
	if (RecoveryInProgress())
		PreventCommandDuringRecovery(psprintf("weir.%s()", get_func_name(fcinfo->flinfo->fn_oid)));
	weir_version_check();
}

/* Returns the stream that is argument 0. */
WeirStream *
weir_arg_stream(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" must not be NULL", "stream")));
	weir_arg_check_server(fcinfo);
	return weir_catalog_load_stream(PG_GETARG_OID(0), false);
}

/* Returns the stream that is argument 0, which the caller must own. */
WeirStream *
weir_arg_own_stream(FunctionCallInfo fcinfo)
{
	WeirStream *stream = weir_arg_stream(fcinfo);

	if (!weir_is_owner(stream->relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of stream \"%s\"", stream->name)));
	return stream;
}

/* Returns the stream that is argument 0, which the caller must own and which reads from Kafka. */
WeirStream *
weir_arg_own_kafka_stream(FunctionCallInfo fcinfo)
{
	WeirStream *stream = weir_arg_own_stream(fcinfo);

	if (stream->topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stream \"%s\" does not read from Kafka", stream->name),
				 errhint("It was created without server and topic; use weir.ingest.")));
	return stream;
}

/* Returns the tree of an SQL expression. */
Node *
weir_arg_expression(const char *parameter, const char *text)
{
	bool		blank = text[strspn(text, " \t\r\n\f")] == '\0';
	List	   *parsed = raw_parser(blank ? "SELECT" : psprintf("SELECT (%s\n)", text), RAW_PARSE_DEFAULT);
	SelectStmt *stmt = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
	SelectStmt	bare = {.type = T_SelectStmt};

	bare.targetList = stmt->targetList;
	if (list_length(parsed) != 1 || !equal(stmt, &bare) || list_length(stmt->targetList) != 1 ||
		linitial_node(ResTarget, stmt->targetList)->name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("parameter \"%s\" is not an SQL expression", parameter)));
	return linitial_node(ResTarget, stmt->targetList)->val;
}

/* Makes a stream depend on its server. */
void
weir_arg_depend_on_server(Oid relid, Oid serverid)
{
	ObjectAddress table;
	ObjectAddress server;

	(void) deleteDependencyRecordsForSpecific(RelationRelationId, relid, DEPENDENCY_NORMAL,
											  ForeignServerRelationId, serverid);
	ObjectAddressSet(table, RelationRelationId, relid);
	ObjectAddressSet(server, ForeignServerRelationId, serverid);
	recordDependencyOn(&table, &server, DEPENDENCY_NORMAL);
}

/* Returns a query of the caller's, once it is known to be one SELECT, without what ends it. */
char *
weir_arg_select(const char *parameter, const char *text)
{
	List	   *parsed = raw_parser(text, RAW_PARSE_DEFAULT);
	RawStmt    *raw = parsed == NIL ? NULL : linitial_node(RawStmt, parsed);

	if (list_length(parsed) != 1 || !IsA(raw->stmt, SelectStmt) || ((SelectStmt *) raw->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("parameter \"%s\" is not one SELECT", parameter)));
	/* without a length it goes to the end of the text */
	return raw->stmt_len > 0 ? pnstrdup(text + raw->stmt_location, raw->stmt_len) : pstrdup(text + raw->stmt_location);
}
