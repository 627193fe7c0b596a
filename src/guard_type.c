/*
 * guard_type.c
 *	  Keeps types as they are whose values continuous aggregates keep.
 *
 * What is kept of enums, records and whatever holds them is text: values of
 * enums by name, fields of records by position.  A value that gets another
 * name, or a record with other fields, could not be read back.  PostgreSQL
 * itself sees only columns, and refuses less.
 */
#include "postgres.h"

#include "access/relation.h"
#include "aggregate.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(weir_guard_types);

/* Does a command change what the fields of a relation's rows are? */
static bool
changes_fields(const AlterTableStmt *stmt)
{
	ListCell   *cell;

	foreach(cell, stmt->cmds)
	{
		AlterTableType kind = lfirst_node(AlterTableCmd, cell)->subtype;

		if (kind == AT_AddColumn || kind == AT_DropColumn || kind == AT_AlterColumnType)
			return true;
	}
	return false;
}

/* Returns the type that a command changes so that its values cannot be read back, or InvalidOid. */
static Oid
changed_type(Node *command)
{
	Oid			relid;

	if (IsA(command, AlterEnumStmt) && ((AlterEnumStmt *) command)->oldVal != NULL)
		return LookupTypeNameOid(NULL, makeTypeNameFromNameList(((AlterEnumStmt *) command)->typeName), true);
	if (!IsA(command, AlterTableStmt) || !changes_fields((AlterTableStmt *) command))
		return InvalidOid;
	relid = RangeVarGetRelid(((AlterTableStmt *) command)->relation, NoLock, true);
	return OidIsValid(relid) ? get_rel_type_id(relid) : InvalidOid;
}

static bool holds(Oid type, Oid part);

/* Has a composite type a field that holds values of another type? */
static bool
has_field(Oid type, Oid part)
{
	Relation	rel = relation_open(typeidTypeRelid(type), AccessShareLock);
	bool		found = false;

	for (int i = 0; i < RelationGetNumberOfAttributes(rel) && !found; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		found = !att->attisdropped && holds(att->atttypid, part);
	}
	relation_close(rel, AccessShareLock);
	return found;
}

/* Is a type another one, or are values of that in its own? */
static bool
holds(Oid type, Oid part)
{
	Oid			inner;

	type = getBaseType(type);
	if (type == part)
		return true;
	/* the names of all others never change */
	if (type < FirstGenbkiObjectId)
		return false;
	inner = get_element_type(type);
	if (!OidIsValid(inner))
		inner = get_range_subtype(type);
	if (!OidIsValid(inner))
		inner = get_multirange_range(type);
	if (OidIsValid(inner))
		return holds(inner, part);
	return get_typtype(type) == TYPTYPE_COMPOSITE && has_field(type, part);
}

/* Are values of a type among what is kept of a group for an aggregate function? */
static bool
keeps_in_state(const Aggref *aggref, Oid type)
{
	ListCell   *cell;

	if (holds(aggref->aggtranstype, type))
		return true;
	if (aggref->aggtranstype != INTERNALOID && aggref->aggdistinct == NIL)
		return false;
	foreach(cell, aggref->args)
	{
		if (holds(exprType((Node *) lfirst_node(TargetEntry, cell)->expr), type))
			return true;
	}
	return false;
}

/* Does a continuous aggregate keep values of a type? */
static bool
keeps(const WeirAggregate *aggregate, Oid type)
{
	ListCell   *cell;

	for (int i = 0; i < aggregate->keys->n; i++)
	{
		if (holds(aggregate->keys->keys[i].type, type))
			return true;
	}
	foreach(cell, aggregate->query->aggrefs)
	{
		if (keeps_in_state(lfirst(cell), type))
			return true;
	}
	return false;
}

/* Refuses to change a type that continuous aggregates keep values of. */
static void
check_type(Oid type)
{
	ListCell   *cell;

	foreach(cell, weir_catalog_all_aggregates())
	{
		WeirAggregate *aggregate = weir_aggregate_get(WEIR_AGGREGATE_VIEW, lfirst_oid(cell));

		if (aggregate == NULL)
			continue;
		if (keeps(aggregate, type))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot alter type %s because continuous aggregate \"%s\" keeps values of it",
							format_type_be(type), get_rel_name(lfirst_oid(cell))),
					 errhint("Drop the aggregate with weir.drop before, and create it again afterwards.")));
		weir_aggregate_release(aggregate);
	}
}

/* Event trigger before ALTER TYPE and ALTER TABLE. */
Datum
weir_guard_types(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = (EventTriggerData *) fcinfo->context;
	Oid			type;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_types() can only be called as an event trigger")));
	type = changed_type(data->parsetree);
	if (OidIsValid(type) && weir_catalog_usable())
		check_type(type);
	PG_RETURN_NULL();
}
