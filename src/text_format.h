/*
 * text_format.h
 *	  Is a text an e-mail address, a URL, a UUID, an IP address, an ISO 8601
 *	  date or time?
 *
 * Floor 1.
 */
#ifndef WEIR_TEXT_FORMAT_H
#define WEIR_TEXT_FORMAT_H

#include "postgres.h"

/* The names of formats; ends with NULL. */
extern const char *const weir_text_formats[];

/* Is a string, of this many bytes and not terminated, as a format says?  format: index into the names. */
extern bool weir_text_has_format(const char *string, int length, int format);

#endif							/* WEIR_TEXT_FORMAT_H */
