/*
 * guc.c
 *	  Settings of the extension, explained to the administrator who sets them.
 */
#include "postgres.h"

#include <limits.h>

#include "guc.h"
#include "miscadmin.h"
#include "task_shared.h"
#include "utils/guc.h"

int			weir_max_workers = 128;
int			weir_batch_rows = 10000;
int			weir_batch_bytes = 8 * 1024 * 1024;
int			weir_batch_interval = 5;
int			weir_batch_timeout = 0;
int			weir_lock_timeout = 10000;
int			weir_worker_memory = 64;
int			weir_dedup_memory = 256 * 1024;
bool		weir_synchronous_commit = false;
int			weir_dead_letter_retention = 7 * 24 * 3600;
int			weir_probe_timeout = 3000;
int			weir_task_workers = 2;
int			weir_task_run_retention = 30 * 24 * 3600;
int			weir_check_timeout = 600000;
int			weir_check_sample_rows = 5;
int			weir_check_retention = 90 * 24 * 3600;

/* Defines what bounds a batch. */
static void
define_batch(void)
{
	DefineCustomIntVariable("weir.batch_rows",
							"Sets the greatest number of messages applied in one transaction.",
							"A batch is cut as soon as nothing more is waiting; under load it grows up to this. A stream may set its own.",
							&weir_batch_rows, 10000, 1, 1000000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.batch_bytes",
							"Sets the greatest size of the messages applied in one transaction.",
							"Counts keys and values; one message larger than this is a batch by itself. At most a quarter of weir.worker_memory is used.",
							&weir_batch_bytes, 8 * 1024 * 1024, 1024, 1024 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.batch_interval",
							"Sets the least time between two commits of a stream worker.",
							"Bounds transaction ids and WAL when messages trickle in, at the cost of that much latency. Full batches do not wait.",
							&weir_batch_interval, 5, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* Defines for how long a batch may take. */
static void
define_timeouts(void)
{
	DefineCustomIntVariable("weir.batch_timeout",
							"Sets how long one transaction of a stream worker may take.",
							"One that takes longer, in a trigger that does not end, say, is rolled back and tried again with fewer messages. 0 sets no limit. statement_timeout does not bind stream workers.",
							&weir_batch_timeout, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.lock_timeout",
							"Sets how long a stream worker waits for a lock.",
							"A batch that waits longer is rolled back, so that nobody waits behind it for ever, and tried again. 0 sets no limit. Takes the place of lock_timeout in stream workers.",
							&weir_lock_timeout, 10000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* Defines what bounds the workers. */
static void
define_workers(bool preloaded)
{
	if (preloaded)
		DefineCustomIntVariable("weir.max_workers",
								"Sets the greatest number of stream workers in the cluster.",
								"Reserves a little shared memory for each. Workers also need max_worker_processes to be large enough.",
								&weir_max_workers, 128, 1, 8192,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.worker_memory",
							"Sets how much memory each stream worker may fill with messages.",
							"Half of it bounds what is fetched from Kafka ahead of time, a quarter the batch. Takes effect when a worker starts.",
							&weir_worker_memory, 64, 8, 64 * 1024,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.dedup_memory",
							"Sets how much memory each process may use to tell duplicates by event_id.",
							"A remembered id takes 11 to 14 bytes. What does not fit is looked up in the table, which is slower, not less exact. Each worker of a stream has it all; so has a session that ingests much.",
							&weir_dedup_memory, 256 * 1024, 64, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomBoolVariable("weir.synchronous_commit",
							 "Makes stream workers wait for WAL to reach the disk at every commit.",
							 "Off is safe: offsets and results are in the same transaction, so what a crash takes back is read from Kafka again. Turn it on if others act on the rows and must never see them repeated.",
							 &weir_synchronous_commit, false,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* Defines what bounds checks. */
static void
define_checks(void)
{
	DefineCustomIntVariable("weir.check_timeout",
							"Sets how long a check may take.",
							"One that takes longer is canceled, its status is error, and the next one is run. 0 sets no limit.",
							&weir_check_timeout, 600000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.check_sample_rows",
							"Sets how many failing rows are kept with the result of a check.",
							"They are kept as they were, and shown to those who may read the table.",
							&weir_check_sample_rows, 5, 0, 1000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.check_retention",
							"Sets how long weir.purge_check_results keeps results, unless it is told.",
							NULL,
							&weir_check_retention, 90 * 24 * 3600, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* Defines what bounds tasks. */
static void
define_tasks(void)
{
	DefineCustomIntVariable("weir.task_workers",
							"Sets how many tasks of a database may run at a time.",
							"Each is a background worker while it runs, as is the database's scheduler while something is due: max_worker_processes must have room for them. Others wait as queued. 0 lets none begin.",
							&weir_task_workers, 2, 0, WEIR_TASK_SESSIONS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.task_run_retention",
							"Sets how long runs of tasks are kept once they are over.",
							"The scheduler deletes older ones. -1 keeps them for ever.",
							&weir_task_run_retention, 30 * 24 * 3600, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* Defines the rest, and keeps others out of our prefix. */
void
weir_guc_define(bool preloaded)
{
	define_batch();
	define_timeouts();
	define_workers(preloaded);
	define_tasks();
	define_checks();
	DefineCustomIntVariable("weir.dead_letter_retention",
							"Sets how long dead letters are kept.",
							"Workers delete older ones. -1 keeps them for ever.",
							&weir_dead_letter_retention, 7 * 24 * 3600, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("weir.probe_timeout",
							"Sets how long starting a stream waits for the broker's answer.",
							"A stream whose broker does not answer in time is started all the same, with a warning. 0 does not ask.",
							&weir_probe_timeout, 3000, 0, 600000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	MarkGUCPrefixReserved("weir");
}
