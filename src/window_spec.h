/*
 * window_spec.h
 *	  weir.window_spec, the SQL value that describes windows, read and checked.
 *
 * Floor 1.
 */
#ifndef WEIR_WINDOW_SPEC_H
#define WEIR_WINDOW_SPEC_H

#include "fmgr.h"
#include "utils/timestamp.h"
#include "window.h"

/* The fields of weir.window_spec, in its order. */
typedef enum WeirWindowField
{
	WEIR_SPEC_KIND,
	WEIR_SPEC_SIZE,
	WEIR_SPEC_SLIDE,
	WEIR_SPEC_SHIFT,
	WEIR_SPEC_TIMEZONE,
	WEIR_SPEC_GAP
} WeirWindowField;

#define WEIR_SPEC_FIELDS 6

/* Reads a weir.window_spec. Raises 22023 or 22004, naming the parameter, where it describes no window. */
extern void weir_window_spec_read(Datum spec, WeirWindow *window);

/* The same from its fields. */
extern void weir_window_spec_check(const Datum *values, const bool *nulls, WeirWindow *window);

/* Returns an interval of fixed length in microseconds; 22023 naming the parameter if it counts months, 22008 if it is too long. */
extern int64 weir_window_duration(const char *parameter, const Interval *value);

/* Returns a time zone by its name; 22023 if there is none. */
extern pg_tz *weir_window_zone(const char *name);

#endif							/* WEIR_WINDOW_SPEC_H */
