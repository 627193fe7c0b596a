/*
 * utility.c
 *	  Sends workers out of a database that a command wants to itself.
 *
 * A worker is a session of its database.  DROP DATABASE, ALTER DATABASE …
 * RENAME or SET TABLESPACE, and CREATE DATABASE … TEMPLATE refuse while
 * others are connected, and the user who gives them cannot know that a stream
 * counts.  So workers leave before such a command, and come back when it is
 * over and the database still there.  The same holds for ALTER and DROP
 * EXTENSION in the database itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_database.h"
#include "catalog_task.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "shared.h"
#include "storage/latch.h"
#include "task_shared.h"
#include "tcop/utility.h"
#include "utility.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "wake.h"

/* How long a command waits for workers to leave; PostgreSQL itself then waits for 5 s more. */
#define FAREWELL_MS 3000
#define CANCEL_MS 500			/* batches that are not over by then are canceled */
#define LOOK_MS 10

static ProcessUtility_hook_type next_hook = NULL;

/* Returns the name that an option of a command has as its value, or NULL. */
static const char *
option_value(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* Returns the name of the database that a command wants nobody else in, or NULL. */
static const char *
wanted_database(Node *command)
{
	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_CreatedbStmt:
			return option_value(((CreatedbStmt *) command)->options, "template");
		case T_AlterDatabaseStmt:
			return option_value(((AlterDatabaseStmt *) command)->options, "tablespace") != NULL ?
				((AlterDatabaseStmt *) command)->dbname : NULL;
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) command)->subname : NULL;
		default:
			return NULL;
	}
}

/* May everybody copy a database who may create one? */
static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

/* May the user do that to the database?  A command that will be refused sends nobody away. */
static bool
may_have(Node *command, Oid dboid)
{
	if (IsA(command, CreatedbStmt))
		return have_createdb_privilege() &&
			(is_template(dboid) || weir_is_database_owner(dboid, GetUserId()));
	return weir_is_database_owner(dboid, GetUserId());
}

/* May a command change or drop the extension in this database? */
static bool
is_about_extension(Node *command)
{
	ListCell   *lc;

	if (IsA(command, DropOwnedStmt))
		return true;
	if (IsA(command, AlterExtensionStmt))
		return strcmp(((AlterExtensionStmt *) command)->extname, "pg_weir") == 0;
	if (!IsA(command, DropStmt) || ((DropStmt *) command)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((DropStmt *) command)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "pg_weir") == 0)
			return true;
	}
	return false;
}

/* Waits until the workers of a database have left, but not for ever. */
static void
send_workers_away(Oid dboid)
{
	static uint32 wait_event = 0;
	TimestampTz begin = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(begin, FAREWELL_MS);

	if (wait_event == 0)
		wait_event = weir_wait_event("WeirUtilityFarewell");
	while (weir_shared_retire(dboid) + weir_task_shared_retire(dboid) > 0 && GetCurrentTimestamp() < until)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), CANCEL_MS))
			weir_shared_cancel(dboid, InvalidOid);
	}
}

/*
 * Makes the launcher look at this database when the command is over.  Where it
 * is about the extension itself, workers leave before: batches would meet
 * tables that are being altered, and wait for each other with the command.  What
 * pg_cron calls goes with the extension.
 */
static void
make_way_for_extension(Node *command)
{
	weir_wake_at_end();
	if (IsA(command, DropOwnedStmt) || !superuser())
		return;
	send_workers_away(MyDatabaseId);
	if (IsA(command, DropStmt) && weir_catalog_usable())
		weir_catalog_task_drop_tick();
}

/* Runs the command as it would run without us. */
static void
run_command(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (next_hook)
		next_hook(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);
}

/* ProcessUtility_hook */
static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	const char *name = wanted_database(pstmt->utilityStmt);
	Oid			dboid = name != NULL && IsTransactionState() ? get_database_oid(name, true) : InvalidOid;

	if (is_about_extension(pstmt->utilityStmt))
	{
		make_way_for_extension(pstmt->utilityStmt);
		run_command(pstmt, query, read_only_tree, context, params, env, dest, qc);
		return;
	}
	if (!OidIsValid(dboid) || dboid == MyDatabaseId || !may_have(pstmt->utilityStmt, dboid))
	{
		run_command(pstmt, query, read_only_tree, context, params, env, dest, qc);
		return;
	}
	send_workers_away(dboid);
	PG_TRY();
	{
		run_command(pstmt, query, read_only_tree, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		weir_shared_ring(dboid);	/* a census starts them again, if the database is still there */
	}
	PG_END_TRY();
}

/* Puts our hook before others. */
void
weir_utility_install(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
