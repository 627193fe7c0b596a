/*
 * api_valid.c
 *	  weir.is_valid_format and weir.json_schema_valid: functions that
 *	  expectations call, and anybody else may.
 */
#include "postgres.h"

#include "fmgr.h"
#include "json_schema.h"
#include "stream_options.h"
#include "text_format.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(weir_is_valid_format);
PG_FUNCTION_INFO_V1(weir_json_schema_valid);

/* Returns which format a name means. */
static int
find_format(const char *name)
{
	int			i = 0;

	weir_option_check_word("format", name, weir_text_formats);
	while (strcmp(name, weir_text_formats[i]) != 0)
		i++;
	return i;
}

/* weir.is_valid_format */
Datum
weir_is_valid_format(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(weir_text_has_format(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
										find_format(text_to_cstring(PG_GETARG_TEXT_PP(1)))));
}

/* weir.json_schema_valid; a schema that is a constant is checked once. */
Datum
weir_json_schema_valid(PG_FUNCTION_ARGS)
{
	Jsonb	   *schema = PG_GETARG_JSONB_P(0);

	if (fcinfo->flinfo->fn_extra == NULL)
	{
		weir_json_schema_check(schema);
		if (get_fn_expr_arg_stable(fcinfo->flinfo, 0))
			fcinfo->flinfo->fn_extra = fcinfo->flinfo;	/* anything but NULL */
	}
	PG_RETURN_BOOL(weir_json_schema_is_valid(schema, PG_GETARG_JSONB_P(1)));
}
