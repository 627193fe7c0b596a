/*
 * startpoint.h
 *	  Where to start reading: start_from of a stream, seek_to of weir.seek().
 *
 * Floor 1.
 */
#ifndef WEIR_STARTPOINT_H
#define WEIR_STARTPOINT_H

#include "postgres.h"

#include "nodes/pg_list.h"

typedef struct WeirStartPoint WeirStartPoint;

/* Reads earliest, latest, a timestamp or a jsonb of partition -> offset; throws 22023. */
extern WeirStartPoint *weir_startpoint_parse(const char *text);

/* The same without regard to anybody's TimeZone, palloc'd: what to store. */
extern char *weir_startpoint_canonical(const char *text);

/* Does it say offsets itself?  Then also of which partitions: a List of int. */
extern bool weir_startpoint_partitions(const WeirStartPoint *start, List **partitions);

/* Does it say the offset of this partition itself? */
extern bool weir_startpoint_offset(const WeirStartPoint *start, int32 partition, int64 *offset);

/*
 * What to ask a broker for about the other partitions: milliseconds since
 * 1970, -1 for the end, -2 for the beginning.
 */
extern int64 weir_startpoint_time(const WeirStartPoint *start);

#endif							/* WEIR_STARTPOINT_H */
