/*
 * batch.c
 *	  Faults: why one message cannot be applied.  Marks: what one is known by.
 */
#include "postgres.h"

#include "batch.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

static const char *const stage_names[] = {
	[WEIR_STAGE_DECODE] = "decode",
	[WEIR_STAGE_KEY] = "key",
	[WEIR_STAGE_CONVERT] = "convert",
	[WEIR_STAGE_EVENT_TIME] = "event_time",
	[WEIR_STAGE_CONSTRAINT] = "constraint",
	[WEIR_STAGE_EXPECTATION] = "expectation",
	[WEIR_STAGE_STAGING] = "staging",
	[WEIR_STAGE_TRIGGER] = "trigger",
	[WEIR_STAGE_TOMBSTONE] = "tombstone",
};

/* Returns the name of a stage as weir.dead_letters shows it. */
const char *
weir_stage_name(WeirStage stage)
{
	return stage_names[stage];
}

/* Returns the mark of a message: the same on every machine. */
WeirMark
weir_mark_of(const WeirMessage *message)
{
	WeirMark	mark = {.offset = message->offset};
	uint64		timestamp = pg_hton64(message->has_timestamp ? (uint64) message->timestamp : 0);
	uint64		key_len = pg_hton64((uint64) message->key_len);
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &timestamp, sizeof(timestamp));
	COMP_CRC32C(crc, &key_len, sizeof(key_len));
	if (message->key != NULL)
		COMP_CRC32C(crc, message->key, message->key_len);
	if (message->value != NULL)
		COMP_CRC32C(crc, message->value, message->value_len);
	FIN_CRC32C(crc);
	mark.crc = crc;
	return mark;
}

/* Fills in a fault and returns false. */
bool
weir_fault(WeirFault *fault, WeirStage stage, int sqlstate,
		   const char *column_name, const char *format,...)
{
	StringInfoData buf;

	memset(fault, 0, sizeof(*fault));
	fault->stage = stage;
	fault->sqlstate = sqlstate;
	fault->column_name = column_name;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&buf, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	fault->message = buf.data;
	return false;
}
