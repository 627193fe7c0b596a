/*
 * api_seek.c
 *	  weir.seek: sets from where a stream reads on.
 *
 * A stream that has consumed nothing is as good as new: its partitions are
 * forgotten, and the worker registers them at the new start.  Any other one
 * goes forward only, for what is applied would be counted twice; what it
 * passes over is recorded.  With reset it is emptied first (reset.c), and
 * begins like a new one: then this file says at which offsets, for they tell
 * which dead letters are going to be judged again.
 *
 * Applied offsets are all there is to set; the workers, woken at commit, find
 * a changed definition and start over from them.
 */
#include "postgres.h"

#include "access/table.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog/pg_type.h"
#include "catalog_gap.h"
#include "catalog_reset.h"
#include "catalog_stream.h"
#include "chunk.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "kafka_options.h"
#include "probe.h"
#include "reset.h"
#include "runtime.h"
#include "startpoint.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "wake.h"

/* How long the broker may take to say where a time is. */
#define PROBE_TIMEOUT_MS 10000

#define TIME_END INT64CONST(-1)

PG_FUNCTION_INFO_V1(weir_seek);

/* Everything about one call. */
typedef struct Seek
{
	WeirStream *stream;
	WeirStartPoint *start;
	const char *text;			/* what to seek to, as it is stored */
	List	   *applied;		/* of WeirApplied */
	List	   *ends;			/* of WeirProbeOffset; NIL: not asked yet */
	const WeirProbeRow *problem;	/* why the broker did not say the ends */
} Seek;

/* Raises 22004 for a NULL argument. */
static void
check_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" must not be NULL", name)));
}

/* Throws where this transaction does not see what another one has committed. */
static void
moved_meanwhile(const Seek *seek)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("stream \"%s\" has read on since this transaction began", seek->stream->name),
			 errhint("Try again, or use READ COMMITTED.")));
}

/* Asks the broker for offsets at a time. */
static List *
ask_broker(const Seek *seek, const char *isolation_level, int64 time, const WeirProbeRow **problem)
{
	WeirStream *stream = seek->stream;

	return weir_probe_offsets(weir_kafka_server_for(stream->server, stream->owner), stream->owner,
							  stream->topic, isolation_level, time, PROBE_TIMEOUT_MS, problem);
}

/* Finds a registered partition. */
static WeirApplied *
find_applied(const Seek *seek, int32 partition)
{
	ListCell   *lc;

	foreach(lc, seek->applied)
	{
		WeirApplied *applied = lfirst(lc);

		if (applied->partition == partition)
			return applied;
	}
	return NULL;
}

/* Returns the offsets that the start point says itself; those partitions must be registered. */
static List *
said_offsets(const Seek *seek, List *partitions)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, partitions)
	{
		WeirProbeOffset *target = palloc(sizeof(WeirProbeOffset));

		target->partition = lfirst_int(lc);
		(void) weir_startpoint_offset(seek->start, target->partition, &target->offset);
		if (find_applied(seek, target->partition) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stream \"%s\" has no partition %d", seek->stream->name, target->partition),
					 errdetail("It has %d, numbered from 0.", list_length(seek->applied))));
		result = lappend(result, target);
	}
	return result;
}

/* Returns the offset to go to for each partition. */
static List *
find_targets(const Seek *seek)
{
	List	   *partitions;
	List	   *targets;
	const WeirProbeRow *problem = NULL;

	if (weir_startpoint_partitions(seek->start, &partitions))
		return said_offsets(seek, partitions);
	targets = ask_broker(seek, seek->stream->isolation_level,
						 weir_startpoint_time(seek->start), &problem);
	if (problem != NULL)
		weir_probe_throw(problem);
	return targets;
}

/* Returns where the broker's partition ends, open transactions included; -1 if it is not known. */
static int64
broker_end(Seek *seek, int32 partition)
{
	ListCell   *lc;

	/* open transactions belong to it, whatever the stream reads */
	if (seek->ends == NIL)
		seek->ends = ask_broker(seek, "read_uncommitted", TIME_END, &seek->problem);
	foreach(lc, seek->ends)
	{
		WeirProbeOffset *end = lfirst(lc);

		if (end->partition == partition)
			return end->offset;
	}
	return -1;
}

/*
 * Does the broker's partition end before what is applied?  Then it is not the
 * one that was read, and nothing in it would be counted twice.
 */
static bool
is_another(Seek *seek, const WeirApplied *applied)
{
	int64		end = broker_end(seek, applied->partition);

	return end >= 0 && end < applied->offset;
}

/*
 * Refuses an offset beyond the end: there is nothing to read, and the
 * partition would look like another one than was read.
 */
static void
check_not_beyond(Seek *seek, const WeirProbeOffset *target)
{
	int64		end = broker_end(seek, target->partition);

	if (end < 0 && seek->problem != NULL)
		weir_probe_throw(seek->problem);
	if (end >= 0 && target->offset > end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" cannot go to offset " INT64_FORMAT
						" of partition %d, which ends at offset " INT64_FORMAT,
						seek->stream->name, target->offset, target->partition, end),
				 errhint("Use latest to go to the end.")));
}

/*
 * Moves one partition, forward only.  One that stays where it is goes on there
 * all the same, whatever the message before it has become.
 */
static void
move_partition(Seek *seek, const WeirProbeOffset *target)
{
	WeirApplied *applied = find_applied(seek, target->partition);
	Oid			relid = seek->stream->relid;

	if (applied == NULL)
	{
		weir_catalog_add_partitions(relid, 1, &target->partition, &target->offset);
		return;
	}
	if (target->offset < applied->offset && !is_another(seek, applied))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" cannot go back to offset " INT64_FORMAT
						" of partition %d, which is applied up to offset " INT64_FORMAT,
						seek->stream->name, target->offset, target->partition, applied->offset),
				 errhint("Going back would count events twice. With reset => true the stream is emptied first.")));
	if (target->offset != applied->offset)
	{
		check_not_beyond(seek, target);
		weir_catalog_record_gap(relid, target->partition, target->offset, WEIR_GAP_SEEK);
	}
	if (!weir_catalog_move_partition(relid, target->partition, target->offset))
		moved_meanwhile(seek);
}

/* Moves the partitions of a stream that has consumed something. */
static void
move_on(Seek *seek)
{
	ListCell   *lc;

	foreach(lc, find_targets(seek))
		move_partition(seek, lfirst(lc));

	/* the user has said where to go on, on whatever cluster this is now */
	weir_catalog_set_cluster_id(seek->stream->relid, NULL);
}

/* Forgets where partitions were, and notes where the stream begins. */
static void
forget_partitions(Seek *seek)
{
	WeirStreamField start_from = {"start_from", TEXTOID, CStringGetTextDatum(seek->text), false};

	if (weir_catalog_forget_partitions(seek->stream->relid) != list_length(seek->applied))
		moved_meanwhile(seek);
	weir_catalog_update_stream(seek->stream->relid, 1, &start_from);
	weir_catalog_set_cluster_id(seek->stream->relid, NULL);
	weir_catalog_void_gaps(seek->stream->relid);
}

/* Lets a stream that has nothing to do with any offset begin wherever the worker finds it. */
static void
begin_anew(Seek *seek)
{
	List	   *partitions;

	if (seek->applied != NIL && weir_startpoint_partitions(seek->start, &partitions))
		(void) said_offsets(seek, partitions);
	forget_partitions(seek);
}

/* Puts what the start point says itself in place of the beginnings of partitions. */
static void
replace_beginnings(const Seek *seek, List *beginnings)
{
	List	   *said;
	ListCell   *lc;

	(void) weir_startpoint_partitions(seek->start, &said);
	foreach(lc, said)
	{
		WeirProbeOffset *target;
		int64		first;

		/* the broker numbers them without gaps */
		if (lfirst_int(lc) >= list_length(beginnings))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stream \"%s\" has no partition %d", seek->stream->name, lfirst_int(lc)),
					 errdetail("It has %d, numbered from 0.", list_length(beginnings))));
		target = list_nth(beginnings, lfirst_int(lc));
		first = target->offset;
		(void) weir_startpoint_offset(seek->start, target->partition, &target->offset);
		if (target->offset < first)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stream \"%s\" cannot go to offset " INT64_FORMAT
							" of partition %d, which begins at offset " INT64_FORMAT,
							seek->stream->name, target->offset, target->partition, first),
					 errhint("Use earliest to go to the beginning.")));
	}
}

/* Returns where each of the topic's partitions begins, as it would for a new stream. */
static List *
find_beginnings(Seek *seek)
{
	const WeirProbeRow *problem = NULL;
	ListCell   *lc;
	List	   *targets = ask_broker(seek, seek->stream->isolation_level,
									 weir_startpoint_time(seek->start), &problem);

	if (problem != NULL)
		weir_probe_throw(problem);
	replace_beginnings(seek, targets);
	foreach(lc, targets)
		check_not_beyond(seek, lfirst(lc));
	return targets;
}

/* Lets one partition begin at an offset; dead letters that will be judged again go. */
static void
begin_partition(Seek *seek, const WeirProbeOffset *target)
{
	WeirApplied *applied = find_applied(seek, target->partition);
	Oid			relid = seek->stream->relid;

	weir_catalog_add_partitions(relid, 1, &target->partition, &target->offset);
	/* those of a partition that is another one now will not be met again */
	if (applied == NULL || !is_another(seek, applied))
		weir_catalog_withdraw_letters_of(relid, target->partition, target->offset,
										 applied == NULL ? PG_INT64_MAX : applied->offset);
}

/* Lets a stream begin at offsets that are known now. */
static void
begin_at_offsets(Seek *seek, List *targets)
{
	ListCell   *lc;

	forget_partitions(seek);
	foreach(lc, targets)
		begin_partition(seek, lfirst(lc));
}

/* Says that triggers will be told again what they have been told. */
static void
mention_triggers(const Seek *seek)
{
	Relation	relation = table_open(seek->stream->relid, AccessShareLock);
	TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (triggers->triggers[i].tgisinternal || strncmp(triggers->triggers[i].tgname, "weir_", 5) == 0)
			continue;
		ereport(NOTICE,
				(errmsg("trigger \"%s\" will fire again for events of stream \"%s\" that are read again",
						triggers->triggers[i].tgname, seek->stream->name),
				 errhint("Empty what it has written, in the same transaction.")));
	}
	table_close(relation, NoLock);
}

/* Empties the stream. */
static void
empty(Seek *seek)
{
	Oid			relid = seek->stream->relid;

	/* its rows are being written above us */
	if (weir_runtime_is_busy(relid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stream \"%s\" cannot be reset from within a trigger", seek->stream->name)));
	mention_triggers(seek);
	if (weir_catalog_has_unseen_chunks(relid))
		moved_meanwhile(seek);
	weir_reset(relid);
	(void) weir_chunk_current(relid);
}

/* Has anything been consumed from Kafka? */
static bool
has_consumed(const Seek *seek)
{
	ListCell   *lc;

	foreach(lc, seek->applied)
	{
		if (((WeirApplied *) lfirst(lc))->consumed > 0)
			return true;
	}
	return false;
}

/* Goes where the user says. */
static void
go(Seek *seek, bool reset)
{
	Oid			relid = seek->stream->relid;
	bool		consumed = has_consumed(seek);
	bool		beginning = reset || !consumed;
	List	   *targets = NIL;

	/* before readers have to wait for us */
	if (beginning && (consumed || weir_catalog_has_letters(relid)))
		targets = find_beginnings(seek);
	if (reset)
		empty(seek);
	if (!beginning)
		move_on(seek);
	else if (targets != NIL)
		begin_at_offsets(seek, targets);
	else
		begin_anew(seek);
	weir_catalog_touch(relid);
	weir_wake_at_commit(relid);
}

/* weir.seek */
Datum
weir_seek(PG_FUNCTION_ARGS)
{
	Seek		seek = {0};
	char	   *seek_to;

	seek.stream = weir_arg_own_kafka_stream(fcinfo);
	check_argument(fcinfo, 1, "seek_to");
	check_argument(fcinfo, 2, "reset");
	seek_to = text_to_cstring(PG_GETARG_TEXT_PP(1));
	seek.start = weir_startpoint_parse(seek_to);
	seek.text = weir_startpoint_canonical(seek_to);

	weir_fence_exclusive(seek.stream->relid);
	seek.applied = weir_catalog_latest_applied(seek.stream->relid);
	go(&seek, PG_GETARG_BOOL(2));
	PG_RETURN_VOID();
}
