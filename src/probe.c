/*
 * probe.c
 *	  Trying a connection to Kafka out from a session: the session's part and
 *	  the short-lived worker's.
 *
 * librdkafka has threads, and a session must have none; so a session starts a
 * worker, hands it the options, and reads rows as they come.
 *
 *	   session                                          worker
 *	   options, request, deadline ── DSM segment ─────▶ weir_probe_main
 *	   List of WeirProbeRow     ◀──── shm_mq ────────── weir_kafka_probe
 *
 * What is tried is kafka_probe.c's.
 */
#include "postgres.h"

#include <unistd.h>

#include "kafka_options.h"
#include "kafka_probe.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "probe.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define PROBE_MAGIC		0x77656972
#define KEY_HEADER		1
#define KEY_STRINGS		2
#define KEY_QUEUE		3

#define QUEUE_SIZE		((Size) 65536)

/* The worker is done this much before the session's patience is. */
#define MARGIN_MS		300

/* How long the session waits for a worker to be gone that is done. */
#define FAREWELL_MS		500

/* In the segment: what to try. */
typedef struct ProbeHeader
{
	TimestampTz deadline;
	int			noptions;
	bool		has_topic;
	bool		has_isolation_level;
	int64		time;
	Size		strings_len;	/* topic and isolation level if any, then name and value of each
								 * option, each with its NUL */
} ProbeHeader;

/* What comes before the strings of a row in the queue. */
typedef struct RowHeader
{
	bool		ok;
	int			sqlstate;
	int32		partition;
	int64		offset;
} RowHeader;

/* The session's side of a probe. */
typedef struct ProbeCall
{
	dsm_segment *seg;
	shm_mq_handle *queue;
	BackgroundWorkerHandle *worker;
	TimestampTz deadline;
	int			timeout_ms;
} ProbeCall;

/* ---------- the worker ---------- */

/*
 * Ends the process at once.
 *
 * librdkafka's threads are still running here, and nobody can wait for them:
 * rd_kafka_destroy may hang.  exit() would run the handlers that OpenSSL has
 * registered, which free what those threads are using: a SIGSEGV in a worker
 * restarts the whole server.  As an on_proc_exit callback this runs when all
 * of PostgreSQL's own business is done (shared memory, locks, latches), and
 * it was registered first, so it runs last.  What is skipped is only what the
 * kernel does anyway.
 */
static void
exit_without_handlers(int code, Datum arg)
{
	_exit(code);
}

/* Sends a row to the session. */
static void
send_row(const WeirProbeRow *row, void *arg)
{
	shm_mq_handle *queue = arg;
	RowHeader	header = {row->ok, row->sqlstate, row->partition, row->offset};
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (const char *) &header, sizeof(header));
	appendBinaryStringInfo(&buf, row->test, strlen(row->test) + 1);
	appendBinaryStringInfo(&buf, row->detail, strlen(row->detail) + 1);
	appendBinaryStringInfo(&buf, row->hint, strlen(row->hint) + 1);
	if (shm_mq_send(queue, buf.len, buf.data, false, true) != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the session has gone */
	pfree(buf.data);
}

/* Returns a string and steps over it. */
static char *
take_string(char **p)
{
	char	   *string = *p;

	*p += strlen(string) + 1;
	return string;
}

/* Copies the strings out of the segment, and wipes them there: some are secret. */
static List *
take_options(ProbeHeader *header, char *strings, WeirProbeRequest *request)
{
	char	   *p = palloc(header->strings_len);
	List	   *options = NIL;

	memcpy(p, strings, header->strings_len);
	explicit_bzero(strings, header->strings_len);

	request->topic = header->has_topic ? take_string(&p) : NULL;
	request->isolation_level = header->has_isolation_level ? take_string(&p) : NULL;
	request->time = header->time;
	for (int i = 0; i < header->noptions; i++)
	{
		WeirKafkaOption *option = palloc(sizeof(WeirKafkaOption));

		option->name = take_string(&p);
		option->value = take_string(&p);
		options = lappend(options, option);
	}
	return options;
}

/* The worker: takes the options, tries them, sends rows, ends. */
void
weir_probe_main(Datum main_arg)
{
	dsm_segment *seg;
	shm_toc    *toc;
	shm_mq	   *mq;
	ProbeHeader *header;
	List	   *options;
	WeirProbeRequest request;

	on_proc_exit(exit_without_handlers, (Datum) 0);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	seg = dsm_attach(DatumGetUInt32(main_arg));
	if (seg == NULL)
		proc_exit(0);			/* the session has gone */
	toc = shm_toc_attach(PROBE_MAGIC, dsm_segment_address(seg));
	if (toc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not map dynamic shared memory segment")));
	header = shm_toc_lookup(toc, KEY_HEADER, false);
	mq = shm_toc_lookup(toc, KEY_QUEUE, false);
	shm_mq_set_sender(mq, MyProc);

	options = take_options(header, shm_toc_lookup(toc, KEY_STRINGS, false), &request);
	weir_kafka_probe(options, &request, header->deadline,
					 send_row, shm_mq_attach(mq, seg, NULL));
	proc_exit(0);
}

/* ---------- the session ---------- */

/* Appends a string with its NUL. */
static void
pack_string(StringInfo buf, const char *string)
{
	appendBinaryStringInfo(buf, string, strlen(string) + 1);
}

/* Packs request and options as take_options unpacks them. */
static StringInfo
pack_strings(List *options, const WeirProbeRequest *request)
{
	StringInfo	buf = makeStringInfo();
	ListCell   *lc;

	if (request->topic)
		pack_string(buf, request->topic);
	if (request->isolation_level)
		pack_string(buf, request->isolation_level);
	foreach(lc, options)
	{
		WeirKafkaOption *option = lfirst(lc);

		pack_string(buf, option->name);
		pack_string(buf, option->value);
	}
	return buf;
}

/* Makes the segment and the queue in it. */
static void
make_segment(ProbeCall *call, List *options, const WeirProbeRequest *request)
{
	StringInfo	strings = pack_strings(options, request);
	shm_toc_estimator e;
	shm_toc    *toc;
	ProbeHeader *header;
	char	   *copy;
	shm_mq	   *mq;

	shm_toc_initialize_estimator(&e);
	shm_toc_estimate_chunk(&e, sizeof(ProbeHeader));
	shm_toc_estimate_chunk(&e, strings->len);
	shm_toc_estimate_chunk(&e, QUEUE_SIZE);
	shm_toc_estimate_keys(&e, 3);
	call->seg = dsm_create(shm_toc_estimate(&e), 0);
	toc = shm_toc_create(PROBE_MAGIC, dsm_segment_address(call->seg), shm_toc_estimate(&e));

	header = shm_toc_allocate(toc, sizeof(ProbeHeader));
	header->deadline = TimestampTzPlusMilliseconds(call->deadline, -MARGIN_MS);
	header->noptions = list_length(options);
	header->has_topic = request->topic != NULL;
	header->has_isolation_level = request->isolation_level != NULL;
	header->time = request->time;
	header->strings_len = strings->len;
	shm_toc_insert(toc, KEY_HEADER, header);

	copy = shm_toc_allocate(toc, strings->len);
	memcpy(copy, strings->data, strings->len);
	shm_toc_insert(toc, KEY_STRINGS, copy);

	mq = shm_mq_create(shm_toc_allocate(toc, QUEUE_SIZE), QUEUE_SIZE);
	shm_mq_set_receiver(mq, MyProc);
	shm_toc_insert(toc, KEY_QUEUE, mq);
	call->queue = shm_mq_attach(mq, call->seg, NULL);
}

/* Starts the worker; false if there is no slot for one. */
static bool
start_worker(ProbeCall *call)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "pg_weir", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "weir_probe_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "pg_weir probe", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pg_weir probe", BGW_MAXLEN);
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(call->seg));
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &call->worker))
		return false;

	/* so that a worker that dies before it attaches does not keep us waiting */
	shm_mq_set_handle(call->queue, call->worker);
	return true;
}

/* Makes a row of our own. */
static WeirProbeRow *
make_row(const char *test, int sqlstate, const char *detail, const char *hint)
{
	WeirProbeRow *row = palloc0(sizeof(WeirProbeRow));

	row->test = test;
	row->sqlstate = sqlstate;
	row->detail = detail;
	row->hint = hint;
	return row;
}

/* Copies text that came from a broker, made valid in this database's encoding. */
static char *
valid_text(const char *text)
{
	char	   *copy = pstrdup(text);

	if (pg_verify_mbstr(GetDatabaseEncoding(), copy, strlen(copy), true))
		return copy;
	for (char *p = copy; *p; p++)
	{
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	}
	return copy;
}

/* Unpacks a row as send_row packed it. */
static WeirProbeRow *
unpack_row(const char *data)
{
	const char *test = data + sizeof(RowHeader);
	const char *detail = test + strlen(test) + 1;
	const char *hint = detail + strlen(detail) + 1;
	WeirProbeRow *row;
	RowHeader	header;

	memcpy(&header, data, sizeof(header));
	row = make_row(pstrdup(test), header.sqlstate, valid_text(detail), valid_text(hint));
	row->ok = header.ok;
	row->partition = header.partition;
	row->offset = header.offset;
	return row;
}

/* Reads rows until the worker has ended or patience has. */
static List *
receive_rows(ProbeCall *call)
{
	List	   *rows = NIL;

	for (;;)
	{
		Size		len;
		void	   *data;
		long		ms;
		shm_mq_result result = shm_mq_receive(call->queue, &len, &data, true);

		if (result == SHM_MQ_SUCCESS)
		{
			rows = lappend(rows, unpack_row(data));
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		if (result == SHM_MQ_DETACHED)
			break;
		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), call->deadline);
		if (ms <= 0)
			return lappend(rows, make_row("probe", ERRCODE_CONNECTION_FAILURE,
										  psprintf("no more answers within %d s", call->timeout_ms / 1000), ""));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (rows == NIL)
		rows = lappend(rows, make_row("probe", ERRCODE_SYSTEM_ERROR,
									  "the probe's worker ended without an answer",
									  "The server log may say why."));
	return rows;
}

/* Waits a moment for the worker to be gone, so that its slot is free again. */
static void
see_worker_off(ProbeCall *call)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FAREWELL_MS);
	pid_t		pid;

	while (GetBackgroundWorkerPid(call->worker, &pid) != BGWH_STOPPED)
	{
		long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (ms <= 0)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Runs a probe from start to end. */
static List *
run_probe(Oid serverid, Oid userid, const WeirProbeRequest *request, int timeout_ms)
{
	ProbeCall	call = {0};
	List	   *rows;

	call.timeout_ms = timeout_ms;
	call.deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	make_segment(&call, weir_kafka_options_of(serverid, userid), request);
	if (!start_worker(&call))
	{
		dsm_detach(call.seg);
		return list_make1(make_row("probe", ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
								   "there is no slot for a background worker",
								   psprintf("max_worker_processes is %d: raise it, or stop other workers.",
											max_worker_processes)));
	}

	PG_TRY();
	{
		rows = receive_rows(&call);
		TerminateBackgroundWorker(call.worker);
		see_worker_off(&call);
	}
	PG_CATCH();
	{
		/* the segment goes with its resource owner */
		TerminateBackgroundWorker(call.worker);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dsm_detach(call.seg);
	return rows;
}

/* Tries a server out. */
List *
weir_probe_server(Oid serverid, Oid userid, int timeout_ms)
{
	WeirProbeRequest request = {0};

	return run_probe(serverid, userid, &request, timeout_ms);
}

/* Tries a topic out, and returns what is wrong. */
List *
weir_probe_topic(Oid serverid, Oid userid, const char *topic, int timeout_ms)
{
	WeirProbeRequest request = {.topic = topic};
	List	   *rows = run_probe(serverid, userid, &request, timeout_ms);
	List	   *problems = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		if (!((WeirProbeRow *) lfirst(lc))->ok)
			problems = lappend(problems, lfirst(lc));
	}
	return problems;
}

/* Asks for the offset of every partition of a topic at a time. */
List *
weir_probe_offsets(Oid serverid, Oid userid, const char *topic, const char *isolation_level,
				   int64 time, int timeout_ms, const WeirProbeRow **problem)
{
	WeirProbeRequest request = {topic, isolation_level, time};
	List	   *rows = run_probe(serverid, userid, &request, timeout_ms);
	List	   *offsets = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		WeirProbeRow *row = lfirst(lc);
		WeirProbeOffset *offset;

		if (!row->ok)
		{
			*problem = row;
			return NIL;
		}
		offset = palloc(sizeof(WeirProbeOffset));
		offset->partition = row->partition;
		offset->offset = row->offset;
		offsets = lappend(offsets, offset);
	}
	return offsets;
}

/* Throws a problem. */
void
weir_probe_throw(const WeirProbeRow *problem)
{
	ereport(ERROR,
			(errcode(problem->sqlstate),
			 errmsg("%s", problem->detail),
			 problem->hint[0] != '\0' ? errhint("%s", problem->hint) : 0));
	pg_unreachable();
}
