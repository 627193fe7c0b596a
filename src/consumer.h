/*
 * consumer.h
 *	  Reading a topic with librdkafka.
 *
 * Floor 2.  consumer.c and kafka_client.c alone include rdkafka.h.
 */
#ifndef WEIR_CONSUMER_H
#define WEIR_CONSUMER_H

#include "batch.h"
#include "nodes/pg_list.h"

typedef struct WeirConsumer WeirConsumer;

#endif							/* WEIR_CONSUMER_H */
