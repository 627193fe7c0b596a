/*
 * api_alert.c
 *	  weir.create_alert, and the trigger function of alerts over streams.
 */
#include "postgres.h"

#include "access/xact.h"
#include "alert.h"
#include "arguments.h"
#include "catalog.h"
#include "commands/trigger.h"
#include "derived_define.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(weir_create_alert);
PG_FUNCTION_INFO_V1(weir_alert_batch);

/* Arguments of weir.create_alert, in order. */
enum
{
	A_NAME, A_QUERY, A_KEY, A_MESSAGE, A_SEVERITY, A_RESOLVE_AFTER, A_IF_NOT_EXISTS, A_COUNT
};

static const char *const names[A_COUNT] = {
	"name", "query", NULL, NULL, "severity", NULL, "if_not_exists"
};

/* Refuses NULL where a value is needed, and severities that there are not. */
static void
check_options(FunctionCallInfo fcinfo)
{
	char	   *severity;

	for (int i = 0; i < A_COUNT; i++)
	{
		if (PG_ARGISNULL(i) && names[i] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"%s\" must not be NULL", names[i])));
	}
	severity = text_to_cstring(PG_GETARG_TEXT_PP(A_SEVERITY));
	if (strcmp(severity, "info") != 0 && strcmp(severity, "warn") != 0 && strcmp(severity, "error") != 0 &&
		strcmp(severity, "critical") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("severity \"%s\" is not known", severity),
				 errhint("One of info, warn, error, critical.")));
}

/* Is the name taken?  With if_not_exists that is fine. */
static bool
exists_already(const char *name, bool if_not_exists)
{
	if (!weir_catalog_alert_exists(name))
		return false;
	ereport(if_not_exists ? NOTICE : ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg(if_not_exists ? "alert \"%s\" already exists, skipping" : "alert \"%s\" already exists", name)));
	return true;
}

/* weir.create_alert */
Datum
weir_create_alert(PG_FUNCTION_ARGS)
{
	WeirAlertRow row = {0};
	WeirPlace	place;
	WeirSource *source;
	Query	   *query;

	weir_arg_check_server(fcinfo);
	check_options(fcinfo);
	row.name = text_to_cstring(PG_GETARG_TEXT_PP(A_NAME));
	if (exists_already(row.name, PG_GETARG_BOOL(A_IF_NOT_EXISTS)))
		PG_RETURN_VOID();
	weir_define_place(&place, "alert", "alert", cstring_to_text(quote_identifier(row.name)));
	row.key = PG_ARGISNULL(A_KEY) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(A_KEY));
	row.message = PG_ARGISNULL(A_MESSAGE) ? row.name : text_to_cstring(PG_GETARG_TEXT_PP(A_MESSAGE));
	row.severity = text_to_cstring(PG_GETARG_TEXT_PP(A_SEVERITY));
	query = weir_define_begin(&place, text_to_cstring(PG_GETARG_TEXT_PP(A_QUERY)), &row.query, &source);
	(void) weir_alert_check(query, source, &row);
	row.stream = source->stream;
	row.source = source->relid;
	row.settings = weir_settings_note();
	row.trigger_name = weir_define_trigger(&place, row.source, "alert_batch");
	weir_catalog_add_alert(&row, PG_GETARG_DATUM(A_RESOLVE_AFTER), PG_ARGISNULL(A_RESOLVE_AFTER));
	weir_catalog_touch(row.stream);
	PG_RETURN_VOID();
}

/* Statement trigger of sources: raises alerts for what the query gives of a batch. */
Datum
weir_alert_batch(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	WeirAlert  *alert;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("alert_batch() can only be called by the triggers of alerts")));
	alert = weir_alert_of_trigger(RelationGetRelid(trigger->tg_relation), trigger->tg_trigger->tgname);
	if (alert == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("trigger \"%s\" of \"%s\" belongs to no alert",
						trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation))));
	weir_alert_take_batch(alert, trigger->tg_newtable);
	weir_alert_release(alert);
	PG_RETURN_POINTER(NULL);
}
