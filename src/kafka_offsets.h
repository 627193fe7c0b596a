/*
 * kafka_offsets.h
 *	  Asks a Kafka cluster which offset a partition has at a time.
 *
 * Floor 1, for those who may have librdkafka's threads.
 */
#ifndef WEIR_KAFKA_OFFSETS_H
#define WEIR_KAFKA_OFFSETS_H

#include "postgres.h"

#include "kafka_client.h"

/* Times that are none; others are milliseconds since 1970. */
#define WEIR_TIME_END		INT64CONST(-1)
#define WEIR_TIME_BEGINNING	INT64CONST(-2)

/*
 * Finds the offset of each of the partitions 0 .. n - 1 at a time: that of
 * the first message that is not older, or the end if there is none.  The end
 * is what isolation.level of the client says it is.  Blocks for at most twice
 * timeout_ms.
 */
extern rd_kafka_resp_err_t weir_kafka_offsets_at(rd_kafka_t *rk, const char *topic, int n,
												 int64 time, int64 *offsets, int timeout_ms);

#endif							/* WEIR_KAFKA_OFFSETS_H */
