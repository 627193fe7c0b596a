/*
 * reset.h
 *	  A stream begins anew: everything made of its events goes.
 *
 * Floor 3.
 */
#ifndef WEIR_RESET_H
#define WEIR_RESET_H

#include "postgres.h"

/*
 * Empties a stream.  The caller holds the batch fence alone, and then says
 * where Kafka's partitions begin.  Throws if something cannot be emptied.
 */
extern void weir_reset(Oid stream);

#endif							/* WEIR_RESET_H */
