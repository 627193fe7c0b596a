/*
 * task_session.c
 *	  A session that runs what a task says, as the task's owner.
 *
 * It is connected as the owner from its beginning, so that the role's settings
 * hold and RESET leads nowhere else; and it runs statements as a client's are
 * run, so that VACUUM and procedures that commit work.  Where the command is
 * one transaction, that it has succeeded is noted in that same transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/portalcmds.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "task_session.h"
#include "task_shared.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Larger results are left out. */
#define MAX_RESULT 65536

/* Takes what a statement returns: its first row. */
typedef struct Taker
{
	DestReceiver receiver;
	bool		is_condition;
	bool		has_result;
	Datum		result;			/* jsonb, in TopMemoryContext */
} Taker;

static WeirTaskRun run;
static WeirTaskOrder *order = NULL;
static char *verdict = NULL;	/* why the run fails though its command does not */

/* Returns the run that this session is there for. */
const WeirTaskOrder *
weir_task_session_order(void)
{
	return order;
}

/* Notes why the run fails; the first reason counts. */
void
weir_task_session_fail(const char *reason)
{
	if (order != NULL && run.activity == WEIR_TASK_COMMAND && verdict == NULL)
		verdict = MemoryContextStrdup(TopMemoryContext, reason);
}

/* ---------- what statements return ---------- */

/* Keeps JSON as the result. */
static void
keep(Taker *taker, const char *json)
{
	MemoryContext old;

	/* jsonb has no zero character */
	if (strlen(json) > MAX_RESULT || strstr(json, "\\u0000") != NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	taker->result = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	taker->has_result = true;
	MemoryContextSwitchTo(old);
}

/* Keeps what a condition says. */
static void
keep_condition(Taker *taker, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, 1, &isnull);

	if (TupleDescAttr(slot->tts_tupleDescriptor, 0)->atttypid != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the condition must be of type boolean, not %s",
						format_type_be(TupleDescAttr(slot->tts_tupleDescriptor, 0)->atttypid))));
	keep(taker, !isnull && DatumGetBool(value) ? "true" : "false");
}

static bool
receive(TupleTableSlot *slot, DestReceiver *receiver)
{
	Taker	   *taker = (Taker *) receiver;
	Datum		row;

	if (taker->has_result)
		return true;
	if (taker->is_condition)
	{
		keep_condition(taker, slot);
		return true;
	}
	BlessTupleDesc(slot->tts_tupleDescriptor);
	row = ExecFetchSlotHeapTupleDatum(slot);
	keep(taker, text_to_cstring(DatumGetTextPP(DirectFunctionCall1(row_to_json, row))));
	return true;
}

static void
receive_startup(DestReceiver *receiver, int operation, TupleDesc typeinfo)
{
	((Taker *) receiver)->has_result = false;	/* the last statement's counts */
}

static void
receive_nothing(DestReceiver *receiver)
{
}

static Taker *
make_taker(bool is_condition)
{
	Taker	   *taker = MemoryContextAllocZero(TopMemoryContext, sizeof(Taker));

	taker->receiver.receiveSlot = receive;
	taker->receiver.rStartup = receive_startup;
	taker->receiver.rShutdown = receive_nothing;
	taker->receiver.rDestroy = receive_nothing;
	taker->receiver.mydest = DestNone;
	taker->is_condition = is_condition;
	return taker;
}

/* ---------- running statements ---------- */

/* Returns the values of the parameters. */
static ParamListInfo
make_params(void)
{
	ParamListInfo params = makeParamList(WEIR_TASK_PARAMETERS);

	for (int i = 0; i < WEIR_TASK_PARAMETERS; i++)
	{
		params->params[i].ptype = weir_task_parameter_types[i];
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].value = order->values[i];
		params->params[i].isnull = order->nulls[i];
	}
	return params;
}

/* Lets a statement take as long as its owner's statement_timeout and the rest of the execution_timeout allow. */
static void
arm(TimestampTz deadline)
{
	int			ms = StatementTimeout;

	if (deadline != 0)
	{
		int			left = Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline));

		ms = ms == 0 ? left : Min(ms, left);
	}
	if (ms > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, ms);
	else
		disable_timeout(STATEMENT_TIMEOUT, false);
}

/* Refuses what would read from or write to the server's own standard input and output. */
static void
check_statement(Node *statement)
{
	if (IsA(statement, CopyStmt) && ((CopyStmt *) statement)->filename == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a task cannot COPY to stdout or from stdin"),
				 errhint("There is no client. Use a file, a program, or a query.")));
}

/* Plans a statement. */
static List *
plan(RawStmt *raw, const char *text, ParamListInfo params)
{
	bool		needs_snapshot = analyze_requires_snapshot(raw);
	List	   *plans;

	if (needs_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(raw, text, weir_task_parameter_types,
															   WEIR_TASK_PARAMETERS, NULL),
							text, CURSOR_OPT_PARALLEL_OK, params);
	if (needs_snapshot)
		PopActiveSnapshot();
	return plans;
}

/* Runs one statement within the transaction that is there; returns how many rows it has touched. */
static uint64
run_statement(RawStmt *raw, const char *text, ParamListInfo params, Taker *taker)
{
	CommandTag	tag = CreateCommandTag(raw->stmt);
	Portal		portal;
	QueryCompletion qc;
	List	   *plans;

	check_statement(raw->stmt);
	plans = plan(raw, text, params);
	CHECK_FOR_INTERRUPTS();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, text, tag, plans, NULL);
	PortalStart(portal, params, 0, InvalidSnapshot);
	InitializeQueryCompletion(&qc);
	weir_portal_run(portal, &taker->receiver, &qc);
	PortalDrop(portal, false);
	return qc.nprocessed;
}

/* May the run's end be noted in the transaction of its last statement? */
static bool
may_note_here(Node *last)
{
	return !IsA(last, TransactionStmt) && !IsTransactionBlock() && !XactReadOnly && XactIsoLevel == XACT_READ_COMMITTED;
}

/* Notes in the server's log how an attempt failed: not what the command or its data are. */
static void
log_failure(int sqlstate, const char *state, const char *message)
{
	ereport(LOG,
			(errcode(sqlstate),
			 errmsg("task \"%s\", run " INT64_FORMAT ", attempt %d: %s: %s",
					TextDatumGetCString(order->values[WEIR_TASK_NAME - 1]), run.run, run.attempt,
					state == NULL ? "over" : state, message)));
}

/* Notes that the command is done; the run has succeeded, unless something else has been said. */
static void
note_done(uint64 rows, Taker *taker)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	if (verdict == NULL)
		weir_catalog_task_end(&run, (int64) rows, taker->result, taker->has_result);
	else
		log_failure(ERRCODE_CHECK_VIOLATION,
					weir_catalog_task_break(&run, false, ERRCODE_CHECK_VIOLATION, verdict), verdict);
	PopActiveSnapshot();
}

/* Begins a transaction unless there is one; several statements are one. */
static void
begin_statement(bool several)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (several)
		BeginImplicitTransactionBlock();
}

/* Runs all statements; returns whether that they are done has been noted with them. */
static bool
run_statements(TimestampTz deadline, MemoryContext context, uint64 *rows, Taker *taker)
{
	char	   *text = weir_task_command_prepare(order->command);
	List	   *statements = weir_task_command_parse(text);
	ParamListInfo params = make_params();
	bool		noted = false;
	ListCell   *lc;

	foreach(lc, statements)
	{
		RawStmt    *raw = lfirst_node(RawStmt, lc);
		bool		is_last = lnext(statements, lc) == NULL;

		CHECK_FOR_INTERRUPTS();
		begin_statement(list_length(statements) > 1);
		MemoryContextSwitchTo(context);
		arm(deadline);
		*rows = run_statement(raw, text, params, taker);
		MemoryContextSwitchTo(context);
		if (is_last && list_length(statements) > 1)
			EndImplicitTransactionBlock();
		if (is_last && may_note_here(raw->stmt))
		{
			note_done(*rows, taker);
			noted = true;
		}
		if (is_last || IsA(raw->stmt, TransactionStmt))
			CommitTransactionCommand();
		else
			CommandCounterIncrement();
		MemoryContextSwitchTo(context);
	}
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (IsTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the command has left a transaction open"),
				 errhint("A command is one transaction by itself; leave BEGIN out, or COMMIT.")));
	return noted;
}

/* ---------- the run ---------- */

/* Begins a transaction that notes something, whatever the owner's settings are. */
static void
begin_note(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactReadOnly = false;
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit_note(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Takes the order; false if it is not wanted any more. */
static bool
take_order(void)
{
	begin_note();
	MemoryContextSwitchTo(TopMemoryContext);
	order = weir_catalog_task_begin(&run);
	commit_note();
	return order != NULL;
}

/* Says an error as users are to read it. */
static const char *
message_of(ErrorData *error, TimestampTz deadline)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && deadline != 0 && GetCurrentTimestamp() >= deadline)
		return psprintf("canceled after execution_timeout of %d ms", order->timeout_ms);
	return error->message;
}

/* Notes a failure. */
static void
note_failure(ErrorData *error, TimestampTz deadline)
{
	const char *message = message_of(error, deadline);

	HOLD_CANCEL_INTERRUPTS();
	QueryCancelPending = false;
	begin_note();
	log_failure(error->sqlerrcode, weir_catalog_task_break(&run, false, error->sqlerrcode, message), message);
	commit_note();
	RESUME_CANCEL_INTERRUPTS();
}

/* Runs the command; what was thrown is returned, in TopMemoryContext. */
static ErrorData *
run_guarded(TimestampTz deadline)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pg_weir task", ALLOCSET_DEFAULT_SIZES);
	ErrorData  *volatile error = NULL;
	Taker	   *taker = make_taker(run.activity == WEIR_TASK_CONDITION);

	PG_TRY();
	{
		uint64		rows = 0;

		MemoryContextSwitchTo(context);
		if (!run_statements(deadline, context, &rows, taker))
		{
			HOLD_CANCEL_INTERRUPTS();
			begin_note();
			note_done(rows, taker);
			commit_note();
			RESUME_CANCEL_INTERRUPTS();
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		disable_timeout(STATEMENT_TIMEOUT, false);
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	return error;
}

/* A session of a task. */
void
weir_task_session_main(Datum arg)
{
	WeirTaskTicket ticket;
	TimestampTz deadline;
	ErrorData  *error;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	run.run = ticket.run;
	run.attempt = ticket.attempt;
	run.activity = ticket.activity;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!weir_task_shared_attach_session(ticket.dboid))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(ticket.dboid, ticket.owner, 0);
	if (!take_order())
		proc_exit(0);

	pgstat_report_activity(STATE_RUNNING, order->command);
	deadline = order->timeout_ms == 0 ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), order->timeout_ms);
	error = run_guarded(deadline);
	if (error != NULL)
		note_failure(error, deadline);
	pgstat_report_stat(true);
	proc_exit(0);
}
