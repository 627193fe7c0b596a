/*
 * headers.h
 *	  The headers of a message as jsonb, and back.
 *
 * Floor 1.
 */
#ifndef WEIR_HEADERS_H
#define WEIR_HEADERS_H

#include "batch.h"
#include "utils/jsonb.h"

/*
 * Returns {"name": value, …}, or NULL for a message without headers.  A
 * header's value is a string; null where it has none; {"base64": "…"} where it
 * is not text; an array of those where the name occurs more than once.
 */
extern Jsonb *weir_headers_to_jsonb(const WeirHeader *headers, int nheaders);

/* The reverse.  Raises 22023 where the jsonb is not of that form. */
extern WeirHeader *weir_headers_from_jsonb(Jsonb *jsonb, int *nheaders);

#endif							/* WEIR_HEADERS_H */
