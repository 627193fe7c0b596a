/*
 * catalog.h
 *	  The definitions and the progress of streams, as tables in
 *	  weir_internal.  Nobody else in C names those tables.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_H
#define WEIR_CATALOG_H

#include "batch.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"

typedef enum WeirTombstones
{
	WEIR_TOMBSTONE_DEAD_LETTER,
	WEIR_TOMBSTONE_SKIP,
	WEIR_TOMBSTONE_ROW
} WeirTombstones;

/* A stream's definition: one row of weir_internal.stream. */
typedef struct WeirStream
{
	Oid			relid;
	Oid			owner;
	char	   *schema;			/* of the staging table */
	char	   *name;
	char	   *server;			/* NULL: no Kafka */
	char	   *topic;
	char	   *format;
	char	   *key_format;
	List	   *key_columns;	/* of char * */
	List	   *event_id;		/* of char *; NIL: duplicates are not told */
	int64		dedup_ttl;		/* microseconds */
	Oid			ids;			/* table of remembered ids, or InvalidOid */
	char	   *event_time;		/* column, or NULL: Kafka's timestamp */
	int64		max_out_of_orderness;	/* microseconds */
	int64		max_future;
	int64		idle_timeout;	/* 0: off */
	char	   *start_from;
	Jsonb	   *paths;
	Jsonb	   *column_options;
	char	   *time_unit;
	List	   *metadata;		/* of char * */
	WeirTombstones tombstones;
	char	   *isolation_level;
	bool		stop_on_data_loss;
	char	   *commit_to_group;	/* NULL: none */
	int			parallelism;
	int			batch_rows;		/* limits in force: the stream's or the GUC's */
	int			batch_bytes;
	int			batch_interval_ms;
	char	   *search_path;
	bool		wanted;			/* should run, here */
	char	   *cluster_id;
	int64		version;		/* changes with every change of the definition */
} WeirStream;

/* A partition's progress: one row of weir_internal.stream_partition. */
typedef struct WeirProgress
{
	int32		partition;
	int64		applied_offset;
	TimestampTz watermark;		/* DT_NOBEGIN: none yet */
	TimestampTz floor;			/* DT_NOBEGIN: none */
	TimestampTz seen;			/* greatest event time accepted; DT_NOBEGIN: none yet */
	bool		idle;
	int64		consumed;		/* counters: increments when saved */
	int64		staged;
	int64		duplicate;
	int64		dead_lettered;
	int64		dropped;
	int64		skipped;
	int64		replayed;
	int64		end_offset;		/* -1: unknown */
	bool		has_last_timestamp;
	TimestampTz last_timestamp;
	WeirMark	mark;			/* of the last message applied */
	int64		generation;		/* of the row, as weir_catalog_read_partition() found it */
	int64		home;
	int64		page;
} WeirProgress;

/* Reading definitions.  All need a transaction; results are palloc'd in the current context. */
extern WeirStream *weir_catalog_load_stream(Oid relid, bool missing_ok);
extern List *weir_catalog_wanted_streams(void); /* of WeirStream *, those that should run here */
extern bool weir_catalog_usable(void);	/* is the extension in this database, in this version? */

/* What others may have changed by now, whatever the isolation level. */
typedef struct WeirLatest
{
	bool		wanted;
	int			parallelism;
	bool		changed_here;	/* by this transaction, which has not committed */
} WeirLatest;

extern bool weir_catalog_latest(Oid relid, WeirLatest *latest); /* false: it is gone */

/* The owner of a relation; raises 42P01 if it is gone. */
extern Oid	weir_relation_owner(Oid relid);

/* The name of a relation, qualified and quoted. */
extern char *weir_relation_name(Oid relid);

/* The database's identity: a restored copy has another one. */
extern char *weir_catalog_database_identity(void);

/* Opens an SPI session with the superuser's rights and a safe search_path. */
typedef struct WeirCatalogSession
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} WeirCatalogSession;

extern void weir_catalog_enter(WeirCatalogSession *session);
extern void weir_catalog_leave(WeirCatalogSession *session);

/* Definitions: written with the superuser's rights; the caller has checked the user's. */
extern void weir_catalog_set_wanted(Oid relid, bool wanted);
extern bool weir_catalog_set_cluster_id(Oid relid, const char *cluster_id); /* NULL: not known; false: it was the same */

/* Tells every session and worker that a stream's definition has changed. Bumps its version. */
extern void weir_catalog_touch(Oid relid);

/* Children: the one that takes new rows (InvalidOid: none), and registration of a new one. */
extern Oid	weir_catalog_current_chunk(Oid relid);
extern void weir_catalog_add_chunk(Oid relid, Oid chunk);
extern void weir_catalog_close_chunks(Oid relid, Oid current);
extern List *weir_catalog_chunks(Oid relid);	/* of Oid */
extern List *weir_catalog_expired_chunks(Oid relid);	/* of Oid */
extern TimestampTz weir_catalog_chunk_full_at(Oid relid);
extern TimestampTz weir_catalog_rotation_due(Oid relid);

/* Progress. */
extern List *weir_catalog_load_partitions(Oid relid);	/* of WeirProgress *, by partition */

/* Registers partitions at the offsets given; those already there are left alone. */
extern void weir_catalog_add_partitions(Oid relid, int n, const int32 *partitions, const int64 *offsets);

/* The watermark of a stream: the least of its partitions', idle ones left out.  It never goes back. */
extern TimestampTz weir_catalog_stream_watermark(Oid relid);
extern TimestampTz weir_catalog_stream_watermark_at(Oid relid, Snapshot snapshot);

/* Leaves partitions out of the stream's watermark, as they are idle. */
extern void weir_catalog_leave_out(Oid relid, int n, const int32 *partitions);

/* Takes a partition that was left out in again; returns the least watermark of its events from now on. */
extern TimestampTz weir_catalog_take_in(Oid relid, int32 partition);

/* Reads the row of a partition, locking it until commit if asked to; false if there is none. */
extern bool weir_catalog_read_partition(Oid relid, int32 partition, bool lock, WeirProgress *progress);

/* Moves a partition from expected_offset on; false if it is not there any more. */
extern bool weir_catalog_save_progress(Oid relid, const WeirProgress *progress, int64 expected_offset);

/* Saves where a partition ends that nothing can be applied of now; not if somebody has it locked. */
extern void weir_catalog_save_end(Oid relid, int32 partition, int64 end_offset);

/* Reads the counters of a partition as they stand, into *progress. */
extern void weir_catalog_read_counters(Oid relid, int32 partition, WeirProgress *progress);

/*
 * Puts offset and counters back to what *mark says; false if the partition is
 * not beyond that, or a dead letter from there on has been replayed.
 */
extern bool weir_catalog_rewind_partition(Oid relid, const WeirProgress *mark);

/*
 * Sets the offset of a partition outright (seek, data loss with on_data_loss =
 * continue); false if this transaction sees no such partition.
 */
extern bool weir_catalog_move_partition(Oid relid, int32 partition, int64 offset);

/* How far one of Kafka's partitions is applied. */
typedef struct WeirApplied
{
	int32		partition;
	int64		offset;
	int64		consumed;		/* in all */
} WeirApplied;

/* What is committed by now, whatever the isolation level: a List of WeirApplied, by partition. */
extern List *weir_catalog_latest_applied(Oid relid);

/* Forgets Kafka's partitions; returns how many this transaction saw. */
extern int	weir_catalog_forget_partitions(Oid relid);

/*
 * Fences.  Heavyweight locks under a tag that no SQL function can reach, so
 * that no user can block or forge them.
 *
 * The batch fence: each batch takes it shared until commit; stop, seek, drop
 * and alter take it exclusively until commit.  The worker fence: one session
 * at a time may be worker N of a stream.  The lane fence: one transaction at a
 * time writes to lane N of a store.  The upsert fence: batches with deletes
 * have an upsert alone, and so do parts of a batch that is halved.  The fence
 * of ids: one transaction at a time adds to the remembered ids of a stream; it is released right after.
 */
extern void weir_fence_share(Oid relid);
extern void weir_fence_exclusive(Oid relid);	/* says whom it waits for, if for long */
extern void weir_fence_cancel(Oid relid);	/* the same, canceling batches that run */
extern bool weir_fence_worker(Oid relid, int worker);	/* session lock; false: another has it */
extern void weir_fence_tasks(void);	/* until commit */
extern bool weir_fence_lane(Oid relid, int lane, bool wait);	/* until commit; false: another has it */
extern bool weir_fence_parts(bool parts);	/* is what follows part of a batch? returns what was so before */
extern bool weir_fence_upsert(Oid relid, bool alone, bool wait);	/* until commit; false: others have it */
extern void weir_fence_ids(Oid relid);
extern void weir_fence_ids_release(Oid relid);

#endif							/* WEIR_CATALOG_H */
