/*
 * worker_source.c
 *	  Which partitions a worker reads, and from where.
 *
 * Brings together what the broker says of the topic and what the catalogue
 * says of the stream.  Where the two contradict each other, messages are
 * lost: the topic vanished, came back, or dropped what we had not read.  That
 * is never passed over in silence: it stops the stream, or with on_data_loss
 * = continue is logged.
 *
 * Calls to the broker are made outside transactions, which must not stay open
 * for as long as a broker likes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog_gap.h"
#include "compat.h"
#include "foreign/foreign.h"
#include "kafka_options.h"
#include "startpoint.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker_source.h"

/* A topic that was there must be missed for this long before it counts as gone. */
#define MISSING_MS 5000

/* Opens a transaction in which results go to the caller's memory. */
static void
begin(void)
{
	MemoryContext caller = CurrentMemoryContext;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(caller);
}

/*
 * The same for writing, under the batch fence: nobody stops, seeks or alters
 * the stream until commit.  Throws if somebody has since *stream was loaded,
 * as what is about to be written was found out for that definition.  Returns
 * the stream as it is now.
 */
static WeirStream *
begin_fenced(const WeirStream *stream)
{
	MemoryContext caller = CurrentMemoryContext;
	WeirStream *latest;

	StartTransactionCommand();
	/* before the snapshot, which must see what the holder of the fence did */
	weir_fence_share(stream->relid);
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(caller);
	latest = weir_catalog_load_stream(stream->relid, true);
	if (!latest || latest->version != stream->version)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the definition of stream \"%s\" has just changed", stream->name)));
	return latest;
}

/* Commits it. */
static void
commit(void)
{
	MemoryContext caller = CurrentMemoryContext;

	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

/* Throws an error of Kafka. */
void
weir_source_throw(const WeirKafkaError *error)
{
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg("%s", error->message),
			 error->hint[0] ? errhint("%s", error->hint) : 0));
	pg_unreachable();
}

/*
 * Says that messages are lost.  Returns only if the stream is to go on all
 * the same.
 */
static void pg_attribute_printf(2, 3)
data_loss(const WeirStream *stream, const char *format,...)
{
	char		what[WEIR_KAFKA_TEXT_LEN];
	va_list		args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);

	if (stream->stop_on_data_loss)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", what),
				 errhint("Say where to go on with weir.seek(), or alter the stream to on_data_loss => 'continue'.")));
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("stream \"%s\" lost messages: %s", stream->name, what)));
}

/* Finds the server, and checks that the owner may use it. */
static Oid
server_of(const WeirStream *stream)
{
	ForeignServer *server = GetForeignServerByName(stream->server, false);

	if (!weir_may_use_server(server->serverid, stream->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not use server \"%s\"",
						GetUserNameFromId(stream->owner, false), stream->server),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO the owner of the stream.", stream->server)));
	return server->serverid;
}

/* Opens the consumer. */
void
weir_source_open(WeirSource *source, const WeirStream *stream, int worker, int memory_mb)
{
	WeirConsumerSpec spec;
	char		group_id[128];

	snprintf(group_id, sizeof(group_id), "pg_weir-%u-%u", MyDatabaseId, stream->relid);
	memset(&spec, 0, sizeof(spec));
	begin();
	spec.options = weir_kafka_options_of(server_of(stream), stream->owner);
	commit();
	spec.topic = stream->topic;
	spec.group_id = stream->commit_to_group ? stream->commit_to_group : group_id;
	spec.isolation_level = stream->isolation_level;
	spec.memory_mb = memory_mb;
	source->worker = worker;
	source->consumer = weir_consumer_open(&spec);
}

/* Reads the progress of Kafka's partitions; those of weir.ingest() are not Kafka's. */
static List *
load_progress(const WeirStream *stream)
{
	List	   *result = NIL;
	List	   *all;
	ListCell   *lc;

	begin();
	all = weir_catalog_load_partitions(stream->relid);
	commit();
	foreach(lc, all)
	{
		if (((WeirProgress *) lfirst(lc))->partition >= 0)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

/* Throws, for a topic that is not there: was it ever? */
static void
topic_missing(WeirSource *source, const WeirStream *stream, const WeirTopicInfo *info, bool known)
{
	TimestampTz now = GetCurrentTimestamp();

	if (source->missing_since == 0)
		source->missing_since = now;
	if (known && TimestampDifferenceExceeds(source->missing_since, now, MISSING_MS))
		data_loss(stream, "topic \"%s\" is gone", stream->topic);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("topic \"%s\" does not exist", stream->topic),
			 info->hint[0] ? errhint("%s", info->hint) : 0));
}

/* Asks for the topic; throws if it cannot be read. */
static void
look_up_topic(WeirSource *source, const WeirStream *stream, bool known, WeirTopicInfo *info)
{
	WeirKafkaError error;

	if (!weir_consumer_topic(source->consumer, info, &error))
		weir_source_throw(&error);
	if (!info->exists)
		topic_missing(source, stream, info, known);
	source->missing_since = 0;
}

/* Finds the offsets at which partitions begin that we have not read before. */
static void
find_start(WeirSource *source, const WeirStream *stream, bool first,
		   int n, const int32 *partitions, int64 *offsets)
{
	WeirStartPoint *start;
	int64	   *times = palloc(sizeof(int64) * n);
	WeirKafkaError error;

	/* What comes to be later is read whole, wherever the stream began. */
	start = weir_startpoint_parse(first ? stream->start_from : "earliest");
	for (int i = 0; i < n; i++)
		times[i] = weir_startpoint_time(start);
	if (!weir_consumer_resolve(source->consumer, n, partitions, times, offsets, &error))
		weir_source_throw(&error);
	for (int i = 0; i < n; i++)
		weir_startpoint_offset(start, partitions[i], &offsets[i]);
}

/* Registers the topic's partitions that the catalogue does not have, all in one transaction. */
static void
register_partitions(WeirSource *source, const WeirStream *stream, const WeirTopicInfo *info, List *progress)
{
	bool	   *there = palloc0(sizeof(bool) * info->npartitions);
	int32	   *missing = palloc(sizeof(int32) * info->npartitions);
	int64	   *offsets = palloc(sizeof(int64) * info->npartitions);
	int			n = 0;
	ListCell   *lc;

	foreach(lc, progress)
	{
		WeirProgress *partition = lfirst(lc);

		if (partition->partition < info->npartitions)
			there[partition->partition] = true;
	}
	for (int i = 0; i < info->npartitions; i++)
	{
		if (!there[i])
			missing[n++] = i;
	}
	if (n == 0)
		return;
	find_start(source, stream, progress == NIL, n, missing, offsets);
	(void) begin_fenced(stream);
	weir_catalog_add_partitions(stream->relid, n, missing, offsets);
	commit();
}

/* Finds the first offsets that the broker has. */
static int64 *
find_beginning(WeirSource *source, int n, const int32 *partitions)
{
	int64	   *times = palloc(sizeof(int64) * n);
	int64	   *offsets = palloc(sizeof(int64) * n);
	WeirKafkaError error;

	for (int i = 0; i < n; i++)
		times[i] = WEIR_OFFSET_EARLIEST;
	if (!weir_consumer_resolve(source->consumer, n, partitions, times, offsets, &error))
		weir_source_throw(&error);
	return offsets;
}

/* Moves partitions to the offsets given, as messages are lost. */
static void
move_partitions(const WeirStream *stream, int n, const int32 *partitions, const int64 *offsets,
				WeirGapCause cause)
{
	for (int i = 0; i < n; i++)
	{
		weir_catalog_record_gap(stream->relid, partitions[i], offsets[i], cause);
		(void) weir_catalog_move_partition(stream->relid, partitions[i], offsets[i]);
	}
}

static bool
is_cluster_of(const WeirStream *stream, const WeirTopicInfo *info)
{
	return stream->cluster_id && strcmp(stream->cluster_id, info->cluster_id) == 0;
}

/* Notes the cluster that offsets are of, and moves partitions there. */
static void
adopt_cluster(const WeirStream *stream, const WeirTopicInfo *info,
			  int n, const int32 *partitions, const int64 *offsets)
{
	(void) begin_fenced(stream);
	/* Once is enough: the stream's other workers see the same. */
	if (weir_catalog_set_cluster_id(stream->relid, info->cluster_id))
		move_partitions(stream, n, partitions, offsets, WEIR_GAP_CLUSTER);
	commit();
}

/* Checks that it is still the cluster whose offsets we have. */
static void
check_cluster(WeirSource *source, const WeirStream *stream, const WeirTopicInfo *info, List *progress)
{
	int32	   *partitions = palloc(sizeof(int32) * (info->npartitions + 1));
	int64	   *offsets = NULL;
	int			n = 0;
	ListCell   *lc;

	if (info->cluster_id[0] == '\0' || is_cluster_of(stream, info))
		return;
	if (stream->cluster_id && progress != NIL)
	{
		data_loss(stream, "server \"%s\" now leads to another Kafka cluster (%s, was %s)",
				  stream->server, info->cluster_id, stream->cluster_id);
		foreach(lc, progress)
		{
			WeirProgress *partition = lfirst(lc);

			if (partition->partition < info->npartitions)
				partitions[n++] = partition->partition;
		}
		offsets = find_beginning(source, n, partitions);
	}
	adopt_cluster(stream, info, n, partitions, offsets);
}

/* Checks that every partition we have read is still there. */
static void
check_partitions(const WeirSource *source, const WeirStream *stream, const WeirTopicInfo *info, List *progress)
{
	WeirProgress *last = progress ? llast(progress) : NULL;
	ListCell   *lc;

	if (!last || last->partition < info->npartitions)
		return;
	data_loss(stream, "topic \"%s\" has %d partitions, where it had %d",
			  stream->topic, info->npartitions, last->partition + 1);
	(void) begin_fenced(stream);
	foreach(lc, progress)
	{
		WeirProgress *partition = lfirst(lc);

		if (partition->partition >= info->npartitions &&
			partition->partition % stream->parallelism == source->worker)
			weir_catalog_record_gap(stream->relid, partition->partition, -1, WEIR_GAP_PARTITIONS);
	}
	commit();
}

/* Do we read this partition, and no other worker? */
static bool
is_ours(const WeirSource *source, const WeirStream *stream, const WeirProgress *partition)
{
	return partition->partition % stream->parallelism == source->worker;
}

/* Reads our share of the partitions from their applied offsets. */
static void
assign_share(WeirSource *source, const WeirStream *stream, const WeirTopicInfo *info, List *progress)
{
	int32	   *partitions = palloc(sizeof(int32) * (list_length(progress) + 1));
	int64	   *offsets = palloc(sizeof(int64) * (list_length(progress) + 1));
	WeirMark   *marks = palloc(sizeof(WeirMark) * (list_length(progress) + 1));
	int			n = 0;
	WeirKafkaError error;
	ListCell   *lc;

	foreach(lc, progress)
	{
		WeirProgress *partition = lfirst(lc);

		if (partition->partition >= info->npartitions || !is_ours(source, stream, partition))
			continue;
		partitions[n] = partition->partition;
		offsets[n] = partition->applied_offset;
		marks[n] = partition->mark;
		if (bms_is_member(partition->partition, source->unmarked))
			marks[n].offset = -1;
		n++;
	}
	if (!weir_consumer_assign(source->consumer, n, partitions, offsets, marks, &error))
		weir_source_throw(&error);
	source->npartitions = info->npartitions;
	source->doubtful = false;
	bms_free(source->unmarked);
	source->unmarked = NULL;
}

/* Registers partitions that are new, and reads ours from their applied offsets. */
void
weir_source_assign(WeirSource *source, const WeirStream *stream)
{
	List	   *progress = load_progress(stream);
	WeirTopicInfo info;

	look_up_topic(source, stream, progress != NIL, &info);
	check_cluster(source, stream, &info, progress);
	check_partitions(source, stream, &info, progress);
	register_partitions(source, stream, &info, progress);
	assign_share(source, stream, &info, load_progress(stream));
}

/* Has the topic got other partitions, or gone, or moved since?  Throws if we may not read it any more. */
bool
weir_source_changed(WeirSource *source, const WeirStream *stream)
{
	WeirTopicInfo info;
	WeirKafkaError error;

	begin();
	(void) server_of(stream);
	commit();

	/* A broker that does not answer now is for others to notice. */
	if (!weir_consumer_topic(source->consumer, &info, &error))
		return false;
	if (!info.exists || info.npartitions != source->npartitions || source->doubtful)
		return true;
	return stream->cluster_id && info.cluster_id[0] &&
		strcmp(stream->cluster_id, info.cluster_id) != 0;
}

/* Goes on from the first message of a partition. */
static void
begin_anew(const WeirStream *stream, int32 partition, int64 first, WeirGapCause cause)
{
	(void) begin_fenced(stream);
	move_partitions(stream, 1, &partition, &first, cause);
	commit();
}

/* Returns the offset after the last message that can be read of a partition. */
static int64
find_end(WeirSource *source, int32 partition)
{
	int64		time = WEIR_OFFSET_LATEST;
	int64		offset;
	WeirKafkaError error;

	if (!weir_consumer_resolve(source->consumer, 1, &partition, &time, &offset, &error))
		weir_source_throw(&error);
	return offset;
}

/*
 * Notes which of our partitions have lost their marks, as messages that were
 * applied may: all at once, for retention is seldom about one.
 */
static void
drop_marks(WeirSource *source, const WeirStream *stream, List *progress, int32 partition)
{
	int32	   *partitions = palloc(sizeof(int32) * list_length(progress));
	int64	   *marks = palloc(sizeof(int64) * list_length(progress));
	int64	   *first;
	MemoryContext old;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, progress)
	{
		WeirProgress *other = lfirst(lc);

		if (other->partition >= source->npartitions || !is_ours(source, stream, other) ||
			other->mark.offset < 0)
			continue;
		partitions[n] = other->partition;
		marks[n++] = other->mark.offset;
	}
	first = find_beginning(source, n, partitions);
	old = MemoryContextSwitchTo(TopMemoryContext);
	source->unmarked = bms_add_member(source->unmarked, partition);
	for (int i = 0; i < n; i++)
	{
		if (marks[i] < first[i])
			source->unmarked = bms_add_member(source->unmarked, partitions[i]);
	}
	MemoryContextSwitchTo(old);
}

/* Finds the progress of a partition. */
static WeirProgress *
progress_of(List *progress, int32 partition)
{
	ListCell   *lc;

	foreach(lc, progress)
	{
		if (((WeirProgress *) lfirst(lc))->partition == partition)
			return lfirst(lc);
	}
	elog(ERROR, "partition %d is not registered", partition);
}

/* Deals with a partition whose applied offset, or mark, is not there any more. */
void
weir_source_out_of_range(WeirSource *source, const WeirStream *stream, int32 partition, int64 offset)
{
	int64		first = *find_beginning(source, 1, &partition);
	int64		end = find_end(source, partition);
	List	   *progress = load_progress(stream);
	int64		applied = progress_of(progress, partition)->applied_offset;

	if (first <= applied && applied <= end)
	{
		if (offset >= applied)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("a broker does not find offset " INT64_FORMAT " of partition %d of topic \"%s\", which is there",
							offset, partition, stream->topic),
					 errhint("Its replica may lag behind.")));
		drop_marks(source, stream, progress, partition);
		return;
	}
	if (applied < first)
		data_loss(stream, "partition %d of topic \"%s\" begins at offset " INT64_FORMAT
				  ", and offset " INT64_FORMAT " had not been read: retention was faster",
				  partition, stream->topic, first, applied);
	else
		data_loss(stream, "partition %d of topic \"%s\" ends before offset " INT64_FORMAT
				  ", which was read: the topic was recreated or truncated",
				  partition, stream->topic, applied);
	begin_anew(stream, partition, first, applied < first ? WEIR_GAP_RETENTION : WEIR_GAP_TRUNCATION);
}

/* Deals with a partition that has another message where its mark was. */
void
weir_source_replaced(WeirSource *source, const WeirStream *stream, int32 partition, int64 offset)
{
	int64		first = *find_beginning(source, 1, &partition);

	data_loss(stream, "partition %d of topic \"%s\" has another message at offset " INT64_FORMAT
			  " than was read there: the topic was recreated or truncated",
			  partition, stream->topic, offset);
	begin_anew(stream, partition, first, WEIR_GAP_TRUNCATION);
}
