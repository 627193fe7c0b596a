/*
 * streak.c
 *	  Events that triggers have refused in a row, all for the same reason.
 */
#include "postgres.h"

#include "catalog_deadletter.h"
#include "streak.h"

/* Forgets a streak. */
void
weir_streak_end(WeirStreak *streak)
{
	streak->count = 0;
	streak->nmarks = 0;
}

static bool
is_marked(const WeirStreak *streak, int32 partition)
{
	for (int i = 0; i < streak->nmarks; i++)
	{
		if (streak->marks[i].partition == partition)
			return true;
	}
	return false;
}

/* Remembers a partition as it was before its first event of the streak. */
static void
mark_partition(WeirStreak *streak, Oid stream, const WeirMessage *message, const WeirProgress *increments)
{
	WeirProgress *mark = &streak->marks[streak->nmarks++];

	weir_catalog_read_counters(stream, message->partition, mark);
	mark->partition = message->partition;
	mark->applied_offset = message->offset;
	mark->consumed += increments->consumed;
	mark->duplicate += increments->duplicate;
	mark->dead_lettered += increments->dead_lettered;
	mark->dropped += increments->dropped;
	mark->skipped += increments->skipped;
}

/* Adds an event that was refused. */
bool
weir_streak_add(WeirStreak *streak, Oid stream, const WeirMessage *message,
				const WeirFault *fault, const WeirProgress *increments)
{
	const char *object = fault->object_name ? fault->object_name : "";

	if (streak->count > 0 &&
		(streak->sqlstate != fault->sqlstate ||
		 strncmp(streak->object, object, NAMEDATALEN - 1) != 0))
		weir_streak_end(streak);
	streak->sqlstate = fault->sqlstate;
	strlcpy(streak->object, object, NAMEDATALEN);

	if (++streak->count >= WEIR_STREAK_LIMIT)
		return true;
	if (!is_marked(streak, message->partition))
		mark_partition(streak, stream, message, increments);
	return false;
}

/* Puts every partition of the streak back to where it began. */
void
weir_streak_rewind(const WeirStreak *streak, Oid stream)
{
	for (int i = 0; i < streak->nmarks; i++)
	{
		const WeirProgress *mark = &streak->marks[i];

		if (weir_catalog_rewind_partition(stream, mark))
			weir_catalog_withdraw_dead_letters(stream, mark->partition, mark->applied_offset);
	}
}
