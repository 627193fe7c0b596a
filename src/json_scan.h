/*
 * json_scan.h
 *	  Reads JSON text where it lies: checks it and says where values are.
 *
 * Floor 1.
 */
#ifndef WEIR_JSON_SCAN_H
#define WEIR_JSON_SCAN_H

#include "postgres.h"

/* Containers nested deeper than this are refused. */
#define WEIR_JSON_MAX_DEPTH 1024

typedef enum WeirJsonKind
{
	WEIR_JSON_NULL,
	WEIR_JSON_FALSE,
	WEIR_JSON_TRUE,
	WEIR_JSON_NUMBER,
	WEIR_JSON_STRING,
	WEIR_JSON_ARRAY,
	WEIR_JSON_OBJECT
} WeirJsonKind;

/*
 * A value that was found valid.  The text is a slice of the payload: what is
 * between the quotes for a string, the whole value for all others.
 */
typedef struct WeirJsonValue
{
	const char *text;
	Size		len;
	WeirJsonKind kind;
	bool		escaped;		/* a string with backslashes in it */
} WeirJsonValue;

/* Where the scanner is, and what stopped it. */
typedef struct WeirJsonScan
{
	const char *start;
	const char *pos;
	const char *end;
	int			depth;			/* containers around pos */
	int			sqlstate;		/* set on failure ... */
	const char *problem;		/* ... and what is wrong at pos */
} WeirJsonScan;

/* The tokens of a value, as weir_json_walk_next() hands them out. */
typedef enum WeirJsonToken
{
	WEIR_JSON_SCALAR,
	WEIR_JSON_KEY,
	WEIR_JSON_BEGIN_OBJECT,
	WEIR_JSON_END_OBJECT,
	WEIR_JSON_BEGIN_ARRAY,
	WEIR_JSON_END_ARRAY
} WeirJsonToken;

/* A walk through one value, without recursion. */
typedef struct WeirJsonWalk
{
	int			base;			/* scan depth where the walk began */
	int			expects;		/* enum in json_scan.c */
	uint64		objects[WEIR_JSON_MAX_DEPTH / 64];	/* bit set: an object */
} WeirJsonWalk;

extern bool weir_json_scan_begin(WeirJsonScan *scan, const char *text, Size len);
extern bool weir_json_scan_value(WeirJsonScan *scan, WeirJsonValue *value);
extern bool weir_json_scan_string(WeirJsonScan *scan, WeirJsonValue *value);
extern bool weir_json_scan_colon(WeirJsonScan *scan);
extern bool weir_json_scan_end(WeirJsonScan *scan);
extern bool weir_json_scan_fail(WeirJsonScan *scan, const char *problem);
extern bool weir_json_scan_too_deep(WeirJsonScan *scan);

extern void weir_json_walk_begin(WeirJsonScan *scan, WeirJsonWalk *walk);
extern bool weir_json_walk_next(WeirJsonScan *scan, WeirJsonWalk *walk,
								WeirJsonToken *token, WeirJsonValue *value);

extern const char *weir_json_unescape(const WeirJsonValue *value, Size *len);

/* Moves on to the next byte that is not white space. */
static inline void
weir_json_skip_space(WeirJsonScan *scan)
{
	while (scan->pos < scan->end &&
		   (*scan->pos == ' ' || *scan->pos == '\n' ||
			*scan->pos == '\t' || *scan->pos == '\r'))
		scan->pos++;
}

#endif							/* WEIR_JSON_SCAN_H */
