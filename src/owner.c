/*
 * owner.c
 *	  Acting as a stream's owner.
 *
 * Whatever a stream's definition can make run is run like this: triggers,
 * DEFAULTs, constraints and types' functions, and also compiling them, as the
 * planner calls IMMUTABLE functions to simplify expressions.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "owner.h"
#include "utils/guc.h"

static void
set_option(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Becomes the stream's owner. */
void
weir_owner_enter(Oid owner, const char *search_path, WeirOwnerSession *session)
{
	GetUserIdAndSecContext(&session->userid, &session->sec_context);
	session->guc_level = NewGUCNestLevel();
	set_option("session_replication_role", "origin");
	set_option("search_path", search_path);
	set_option("TimeZone", "UTC");
	set_option("DateStyle", "ISO, MDY");
	set_option("IntervalStyle", "postgres");
	set_option("extra_float_digits", "1");
	set_option("bytea_output", "hex");
	SetUserIdAndSecContext(owner,
						   session->sec_context | SECURITY_RESTRICTED_OPERATION);
}

/* Becomes again who we were. */
void
weir_owner_leave(WeirOwnerSession *session)
{
	AtEOXact_GUC(false, session->guc_level);
	SetUserIdAndSecContext(session->userid, session->sec_context);
}
