/*
 * json_build.h
 *	  Makes jsonb out of JSON text that json_scan.c found valid.
 *
 * Floor 1.
 */
#ifndef WEIR_JSON_BUILD_H
#define WEIR_JSON_BUILD_H

#include "json_scan.h"
#include "utils/jsonb.h"

/* A jsonb under construction. */
typedef struct WeirJsonBuild
{
	JsonbParseState *state;
	JsonbValue *result;			/* once the outermost container is closed */
	Size		size;			/* upper bound of what it will take */
	int			nodes;
	int			sqlstate;		/* set on failure */
	const char *problem;
} WeirJsonBuild;

extern void weir_json_build_begin(WeirJsonBuild *build);
extern bool weir_json_build_open(WeirJsonBuild *build);
extern bool weir_json_build_key(WeirJsonBuild *build, const WeirJsonValue *key);
extern bool weir_json_build_name(WeirJsonBuild *build, const char *name, Size len);
extern bool weir_json_build_value(WeirJsonBuild *build, const WeirJsonValue *value);
extern void weir_json_build_close(WeirJsonBuild *build);
extern Jsonb *weir_json_build_finish(WeirJsonBuild *build);
extern Jsonb *weir_json_build_jsonb(WeirJsonBuild *build, const WeirJsonValue *value);

#endif							/* WEIR_JSON_BUILD_H */
