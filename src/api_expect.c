/*
 * api_expect.c
 *	  weir.expect, alter_expectation, drop_expectation.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "arguments.h"
#include "catalog/dependency.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "catalog_expect.h"
#include "compat.h"
#include "executor/spi.h"
#include "metadata.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "runtime.h"
#include "steady.h"
#include "stream_options.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"
#include "wake.h"

PG_FUNCTION_INFO_V1(weir_expect);
PG_FUNCTION_INFO_V1(weir_alter_expectation);
PG_FUNCTION_INFO_V1(weir_drop_expectation);
PG_FUNCTION_INFO_V1(weir_forget_expectation);

/* An expectation that is being defined. */
typedef struct Definition
{
	const WeirStream *stream;
	char	   *name;
} Definition;

/* Returns a text argument that must not be NULL. */
static char *
arg_text(FunctionCallInfo fcinfo, int arg, const char *parameter)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" must not be NULL", parameter)));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* Returns the name of an expectation, read as in CREATE TABLE. */
static char *
arg_name(FunctionCallInfo fcinfo)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(arg_text(fcinfo, 1, "name")));

	if (list_length(names) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of an expectation has no schema"),
				 errhint("It belongs to its stream.")));
	return strVal(linitial(names));
}

/* Returns what is to become of violators. */
static WeirOnViolation
arg_on_violation(FunctionCallInfo fcinfo, int arg)
{
	char	   *word = arg_text(fcinfo, arg, "on_violation");
	int			i = 0;

	weir_option_check_word("on_violation", word, weir_on_violation_words);
	while (strcmp(word, weir_on_violation_words[i]) != 0)
		i++;
	return i;
}

/* Raises an error about what an expression has. */
static void
refuse(const Definition *definition, const char *construct, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("expectation \"%s\" cannot have %s", definition->name, construct),
			 errhint("%s", hint)));
}

/* Refuses subqueries, wherever they are. */
static bool
refuse_subqueries(Node *node, void *definition)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		refuse(definition, "a subquery", "Put it into a STABLE function, and call that.");
	return raw_expression_tree_walker(node, refuse_subqueries, definition);
}

static bool
refuse_function(Oid function, void *definition)
{
	if (weir_function_is_steady(function))
		return false;
	refuse(definition, psprintf("function %s, whose results change by themselves", get_func_name(function)),
		   "The same events would be judged differently another time. Use the event's own time, such as _timestamp;"
		   " a function of your own that gives the same for the same arguments can be declared STABLE or IMMUTABLE.");
	return true;
}

/* Refuses what would judge the same event differently another time. */
static bool
refuse_unsteady(Node *node, void *definition)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction))
		refuse(definition, "CURRENT_TIMESTAMP, CURRENT_USER or the like",
			   "The same events would be judged differently another time. Use the event's own time, such as _timestamp.");
	if (IsA(node, NextValueExpr))
		refuse(definition, "a sequence", "The columns _partition and _offset number events.");
	(void) check_functions_in_node(node, refuse_function, definition);
	return expression_tree_walker(node, refuse_unsteady, definition);
}

/* Refuses what an event's row does not have, or not yet. */
static void
check_columns(const Definition *definition, Node *condition)
{
	AttrNumber	violations = get_attnum(definition->stream->relid, weir_metadata_column_name(WEIR_COLUMN_VIOLATIONS));
	ListCell   *cell;

	foreach(cell, pull_vars_of_level(condition, 0))
	{
		Var		   *var = lfirst_node(Var, cell);

		if (var->varattno == 0)
			refuse(definition, "the whole row", "Name the columns.");
		if (var->varattno < 0)
			refuse(definition, "a system column", "Use _partition and _offset.");
		if (var->varattno == violations)
			refuse(definition, "the column _violations", "Events are marked with what they violate once they are judged.");
	}
}

/* Says which expectation an error is about. */
static void
describe(void *arg)
{
	Definition *definition = arg;

	errcontext("expression of expectation \"%s\" of stream \"%s\"", definition->name, definition->stream->name);
}

/* Returns the analysed tree of an expression over the columns of the stream. */
static Node *
analyse(Definition *definition, const char *text)
{
	ErrorContextCallback callback = {error_context_stack, describe, definition};
	ParseState *pstate = make_parsestate(NULL);
	Relation	relation = table_open(definition->stream->relid, AccessShareLock);
	Node	   *condition;

	error_context_stack = &callback;
	addNSItemToQuery(pstate, addRangeTableEntryForRelation(pstate, relation, AccessShareLock, NULL, false, true),
					 true, true, true);
	condition = weir_arg_expression("expression", text);
	(void) refuse_subqueries(condition, definition);
	condition = transformExpr(pstate, condition, EXPR_KIND_CHECK_CONSTRAINT);
	condition = coerce_to_boolean(pstate, condition, "expectation");
	assign_expr_collations(pstate, condition);
	(void) refuse_unsteady(condition, definition);
	check_columns(definition, condition);
	error_context_stack = callback.previous;
	free_parsestate(pstate);
	table_close(relation, NoLock);
	return condition;
}

/* Gives a stream the column that names what its events violate, unless it has it. */
static void
need_violations_column(const WeirStream *stream)
{
	const char *column = weir_metadata_column_name(WEIR_COLUMN_VIOLATIONS);
	AttrNumber	attno = get_attnum(stream->relid, column);

	if (attno != InvalidAttrNumber && get_atttype(stream->relid, attno) != TEXTARRAYOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of stream \"%s\" must be of type text[]", column, stream->name),
				 errdetail("It is of type %s.", format_type_be(get_atttype(stream->relid, attno))),
				 errhint("It names the expectations that an event violates. Rename the one that is there.")));
	if (attno != InvalidAttrNumber)
		return;
	SPI_connect();
	if (SPI_execute(psprintf("ALTER TABLE %s ADD COLUMN %s pg_catalog.text[]",
							 quote_qualified_identifier(stream->schema, stream->name), column), false, 0) < 0)
		elog(ERROR, "could not add column \"%s\"", column);
	SPI_finish();
}

/* Writes an expectation; condition is NULL where it stays as it is. */
static void
define(const Definition *definition, Node *condition, WeirOnViolation on_violation)
{
	Oid			relid = definition->stream->relid;

	if (on_violation == WEIR_ON_VIOLATION_KEEP)
		need_violations_column(definition->stream);
	if (condition != NULL)
	{
		/* nobody inserts into the staging table itself, and readers need not wait */
		Relation	relation = table_open(relid, ShareUpdateExclusiveLock);

		weir_add_check(relation, definition->name, condition);
		table_close(relation, NoLock);
		CommandCounterIncrement();
	}
	weir_catalog_set_expectation(relid, definition->name, on_violation);
}

/* Makes workers and this session judge by what is expected now. */
static void
take_effect(Oid relid)
{
	weir_catalog_touch(relid);
	weir_wake_at_commit(relid);
	CommandCounterIncrement();
	(void) weir_runtime_get(relid); /* finds what the owner may not do */
}

/* Returns what becomes of violators; raises an error for an expectation that is not there. */
static WeirOnViolation
present_on_violation(const Definition *definition)
{
	ListCell   *cell;

	foreach(cell, weir_catalog_load_expectations(definition->stream->relid))
	{
		WeirExpectation *expectation = lfirst(cell);

		if (strcmp(expectation->name, definition->name) == 0)
			return expectation->on_violation;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("expectation \"%s\" of stream \"%s\" does not exist", definition->name, definition->stream->name),
			 errhint("weir.expectation_stats lists them.")));
}

/* Handles a name that is taken: true if that is fine. */
static bool
exists_already(const Definition *definition, bool if_not_exists)
{
	bool		known = weir_catalog_has_expectation(definition->stream->relid, definition->name);

	if (known && if_not_exists)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("expectation \"%s\" of stream \"%s\" already exists, skipping",
						definition->name, definition->stream->name)));
		return true;
	}
	if (known)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("expectation \"%s\" of stream \"%s\" already exists", definition->name, definition->stream->name),
				 errhint("weir.alter_expectation changes it.")));
	if (OidIsValid(get_relation_constraint_oid(definition->stream->relid, definition->name, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("stream \"%s\" has a constraint named \"%s\"", definition->stream->name, definition->name),
				 errhint("Give the expectation another name.")));
	return false;
}

/* weir.expect */
Datum
weir_expect(PG_FUNCTION_ARGS)
{
	Definition	definition = {weir_arg_own_stream(fcinfo), arg_name(fcinfo)};
	char	   *text = arg_text(fcinfo, 2, "expression");
	WeirOnViolation on_violation = arg_on_violation(fcinfo, 3);

	weir_fence_exclusive(definition.stream->relid);
	if (exists_already(&definition, !PG_ARGISNULL(4) && PG_GETARG_BOOL(4)))
		PG_RETURN_VOID();
	define(&definition, analyse(&definition, text), on_violation);
	take_effect(definition.stream->relid);
	PG_RETURN_VOID();
}

/* Drops the constraint that has an expectation's expression. */
static void
drop_constraint(const Definition *definition)
{
	ObjectAddress address;

	ObjectAddressSet(address, ConstraintRelationId,
					 get_relation_constraint_oid(definition->stream->relid, definition->name, true));
	if (!OidIsValid(address.objectId))
		return;
	performDeletion(&address, DROP_RESTRICT, 0);
	CommandCounterIncrement();
}

/* weir.alter_expectation */
Datum
weir_alter_expectation(PG_FUNCTION_ARGS)
{
	Definition	definition = {weir_arg_own_stream(fcinfo), arg_name(fcinfo)};
	Node	   *condition = NULL;
	WeirOnViolation on_violation;

	weir_fence_exclusive(definition.stream->relid);
	on_violation = present_on_violation(&definition);
	if (!PG_ARGISNULL(3))
		on_violation = arg_on_violation(fcinfo, 3);
	if (!PG_ARGISNULL(2))
	{
		condition = analyse(&definition, arg_text(fcinfo, 2, "expression"));
		drop_constraint(&definition);
	}
	define(&definition, condition, on_violation);
	take_effect(definition.stream->relid);
	PG_RETURN_VOID();
}

/* weir.drop_expectation */
Datum
weir_drop_expectation(PG_FUNCTION_ARGS)
{
	Definition	definition = {weir_arg_own_stream(fcinfo), arg_name(fcinfo)};

	weir_fence_exclusive(definition.stream->relid);
	(void) present_on_violation(&definition);
	weir_catalog_drop_expectation(definition.stream->relid, definition.name);
	drop_constraint(&definition);
	take_effect(definition.stream->relid);
	PG_RETURN_VOID();
}

/* Forgets an expectation whose constraint is gone with what it needed. */
Datum
weir_forget_expectation(PG_FUNCTION_ARGS)
{
	weir_catalog_drop_expectation(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(1)));
	weir_catalog_touch(PG_GETARG_OID(0));
	weir_wake_at_commit(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}
