/*
 * batch.h
 *	  What travels down the pipeline: messages as they came, the batch they
 *	  form, and the fault that keeps a message out of staging.
 *
 * Floor 1: everybody may include this, it includes nobody of ours.
 */
#ifndef WEIR_BATCH_H
#define WEIR_BATCH_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* A header of a Kafka record; value is NULL where the header has none. */
typedef struct WeirHeader
{
	const char *name;
	const char *value;
	Size		value_len;
} WeirHeader;

/*
 * One record.  The bytes belong to whoever filled the batch (librdkafka, or
 * the caller of weir.ingest) and live until the batch is released.
 *
 * A value of NULL is a tombstone; an empty value is not NULL and has length 0.
 */
typedef struct WeirMessage
{
	int32		partition;
	int64		offset;
	TimestampTz timestamp;		/* valid if has_timestamp */
	bool		has_timestamp;
	bool		log_append_time;	/* the broker's clock set the timestamp */
	bool		was_duplicate;	/* refill: moves the watermark, and gives no row */
	const char *key;			/* NULL: no key */
	Size		key_len;
	const char *value;			/* NULL: tombstone */
	Size		value_len;
	void	   *handle;			/* the source's own, for headers_of */
} WeirMessage;

/*
 * What a message is known by when it is read again: if another one has its
 * offset, the topic was recreated or truncated.
 */
typedef struct WeirMark
{
	int64		offset;			/* -1: there is none */
	uint32		crc;
} WeirMark;

extern WeirMark weir_mark_of(const WeirMessage *message);

/*
 * Returns the headers of a message, palloc'd in the current context, and
 * their number.  Called only for messages whose headers somebody wants.
 */
typedef WeirHeader *(*WeirHeadersFn) (const WeirMessage *message, int *nheaders);

/*
 * How far a partition has been read, where that is further than its last
 * message says: control records and aborted transactions use up offsets.
 */
typedef struct WeirPosition
{
	int32		partition;
	int64		next_offset;	/* everything below was delivered; -1: unknown */
	int64		end_offset;		/* last stable offset of the broker; -1: unknown */
} WeirPosition;

/* The messages applied in one transaction, each partition's in offset order. */
typedef struct WeirBatch
{
	WeirMessage *messages;
	int			nmessages;
	WeirPosition *positions;	/* of partitions known to have moved */
	int			npositions;
	WeirHeadersFn headers_of;	/* NULL: no message has headers */
	const char *topic;			/* NULL: not from Kafka */
} WeirBatch;

/* Which step refused a message: the error_stage of weir.dead_letters. */
typedef enum WeirStage
{
	WEIR_STAGE_DECODE,			/* payload is not what the format says */
	WEIR_STAGE_KEY,				/* the same for the key */
	WEIR_STAGE_CONVERT,			/* a value does not fit its column's type */
	WEIR_STAGE_EVENT_TIME,		/* NULL, infinite, or too far in the future */
	WEIR_STAGE_CONSTRAINT,		/* NOT NULL, CHECK, domain, generated column */
	WEIR_STAGE_EXPECTATION,		/* a weir.expect() that says dead_letter */
	WEIR_STAGE_STAGING,			/* the insert itself, say a unique index */
	WEIR_STAGE_TRIGGER,			/* a statement trigger on the staging table */
	WEIR_STAGE_TOMBSTONE		/* a NULL value where none is wanted */
} WeirStage;

/*
 * Why one message cannot be applied.  Strings live in the context that was
 * current when the fault was set, or are constants.
 */
typedef struct WeirFault
{
	WeirStage	stage;
	int			sqlstate;		/* MAKE_SQLSTATE form */
	const char *message;
	const char *detail;			/* or NULL */
	const char *column_name;	/* or NULL */
	const char *constraint_name;	/* or NULL */
	const char *object_name;	/* trigger, function, derived object or alert, or NULL */
} WeirFault;

extern const char *weir_stage_name(WeirStage stage);

/* Sets *fault; message may be a format as for psprintf. Returns false, so that a parser can say `return weir_fault(...)`. */
extern bool weir_fault(WeirFault *fault, WeirStage stage, int sqlstate,
					   const char *column_name, const char *format,...) pg_attribute_printf(5, 6);

#endif							/* WEIR_BATCH_H */
