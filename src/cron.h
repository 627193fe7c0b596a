/*
 * cron.h
 *	  Cron expressions: when they come due.
 *
 * Floor 1.
 */
#ifndef WEIR_CRON_H
#define WEIR_CRON_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"

/* An expression, as sets of numbers. */
typedef struct WeirCron
{
	uint64		minutes;		/* bits 0 .. 59 */
	uint64		hours;			/* 0 .. 23 */
	uint64		days;			/* 1 .. 31 */
	uint64		months;			/* 1 .. 12 */
	uint64		weekdays;		/* 0 .. 6, from Sunday */
	bool		any_day;		/* begins with * : the other one decides */
	bool		any_weekday;
	bool		every_hour;
} WeirCron;

/* Raises 22023 for what is no cron expression. */
extern void weir_cron_parse(const char *text, WeirCron *cron);

/* The first time after a moment, the last one before; false if there is none within some years. */
extern bool weir_cron_next(const WeirCron *cron, const pg_tz *zone, TimestampTz after, TimestampTz *due);
extern bool weir_cron_previous(const WeirCron *cron, const pg_tz *zone, TimestampTz before, TimestampTz *due);

#endif							/* WEIR_CRON_H */
