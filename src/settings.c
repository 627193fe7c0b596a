/*
 * settings.c
 *	  Settings that results depend on: noted, and put back.
 *
 * STABLE functions such as date_trunc and to_char give what the session's
 * settings say.  What is computed again and again over years must have them
 * always alike.
 */
#include "postgres.h"

#include "nodes/value.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/guc.h"

/* The ones that results may depend on; the search path is for what functions find. */
static const char *const names[] = {
	"TimeZone", "timezone_abbreviations", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output",
	"lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "xmlbinary", "xmloption",
	"array_nulls", "search_path"
};

/* Returns those of this session. */
List *
weir_settings_note(void)
{
	List	   *settings = NIL;

	for (int i = 0; i < lengthof(names); i++)
		settings = lappend(settings, makeString(psprintf("%s=%s", names[i], GetConfigOption(names[i], false, false))));
	return settings;
}

/* Makes one hold. */
static void
set(const char *setting)
{
	const char *value = strchr(setting, '=') + 1;
	char	   *name = pnstrdup(setting, value - 1 - setting);
	const char *now = GetConfigOption(name, true, false);

	if (now != NULL && strcmp(now, value) == 0)
		return;
	/* a failure is not an event's: it must not be judged by its SQLSTATE */
	if (set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, WARNING, false) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not set \"%s\" to \"%s\", as it was when the derived object was created", name, value)));
}

/* Makes settings hold. */
int
weir_settings_enter(List *settings)
{
	int			level = NewGUCNestLevel();
	ListCell   *cell;

	foreach(cell, settings)
		set(strVal(lfirst(cell)));
	return level;
}

/* Puts back those of before. */
void
weir_settings_leave(int level)
{
	AtEOXact_GUC(false, level);
}
