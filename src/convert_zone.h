/*
 * convert_zone.h
 *	  Names of time zones.
 *
 * Floor 1.
 */
#ifndef WEIR_CONVERT_ZONE_H
#define WEIR_CONVERT_ZONE_H

#include "postgres.h"

extern bool weir_zone_is_known(const char *name);

#endif							/* WEIR_CONVERT_ZONE_H */
