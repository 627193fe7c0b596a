/*
 * version.h
 *	  Do the library and the extension's SQL belong together?
 *
 * Floor 1.
 */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include "postgres.h"

/* Is this library of the version that the extension has in this database?  True where there is none. */
extern bool weir_version_fits(void);

/* What is wrong, and what to do about it, where it is not. */
extern char *weir_version_error(void);
extern const char *weir_version_hint(void);

/* Raises 55000 with these. */
extern void weir_version_check(void);

#endif							/* WEIR_VERSION_H */
