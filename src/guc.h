/*
 * guc.h
 *	  Settings of the extension.
 *
 * Floor 1.
 */
#ifndef WEIR_GUC_H
#define WEIR_GUC_H

#include "postgres.h"

extern int	weir_max_workers;
extern int	weir_batch_rows;
extern int	weir_batch_bytes;
extern int	weir_batch_interval;	/* ms */
extern int	weir_batch_timeout; /* ms; 0: none */
extern int	weir_lock_timeout;	/* ms; 0: none */
extern int	weir_worker_memory; /* MB */
extern int	weir_dedup_memory;	/* kB */
extern bool weir_synchronous_commit;
extern int	weir_dead_letter_retention; /* s */
extern int	weir_probe_timeout; /* ms */
extern int	weir_task_workers;
extern int	weir_task_run_retention;	/* s; -1: for ever */
extern int	weir_check_timeout;	/* ms; 0: none */
extern int	weir_check_sample_rows;
extern int	weir_check_retention;	/* s */

/* preloaded: settings that are fixed at server start can be defined, too. */
extern void weir_guc_define(bool preloaded);

#endif							/* WEIR_GUC_H */
