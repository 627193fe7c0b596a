/*
 * convert_time.h
 *	  Points in time: ISO 8601 and epoch numbers to timestamptz, timestamp
 *	  and date.
 *
 * Floor 1.
 */
#ifndef WEIR_CONVERT_TIME_H
#define WEIR_CONVERT_TIME_H

#include "convert.h"

extern bool weir_convert_timestamptz(const WeirConverter *converter, const char *text, Size len,
									 Datum *result, WeirFault *fault);
extern bool weir_convert_timestamp(const WeirConverter *converter, const char *text, Size len,
								   Datum *result, WeirFault *fault);
extern bool weir_convert_date(const WeirConverter *converter, const char *text, Size len,
							  Datum *result, WeirFault *fault);
extern bool weir_convert_epoch(const WeirConverter *converter, const char *text, Size len,
							   Datum *result, WeirFault *fault);
extern bool weir_convert_epoch_date(const WeirConverter *converter, const char *text, Size len,
									Datum *result, WeirFault *fault);

#endif							/* WEIR_CONVERT_TIME_H */
