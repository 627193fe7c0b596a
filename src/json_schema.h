/*
 * json_schema.h
 *	  Is a JSON value as a JSON Schema says?
 *
 * Floor 1.
 */
#ifndef WEIR_JSON_SCHEMA_H
#define WEIR_JSON_SCHEMA_H

#include "postgres.h"

#include "utils/jsonb.h"

/* Raises 22023 for what is no schema, 0A000 for keywords that change the verdict and are not known here. */
extern void weir_json_schema_check(Jsonb *schema);

/* Is a value valid?  The schema has been checked. */
extern bool weir_json_schema_is_valid(Jsonb *schema, Jsonb *value);

#endif							/* WEIR_JSON_SCHEMA_H */
