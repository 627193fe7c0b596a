/*
 * owner.c
 *	  Whom a batch runs as: the stream's owner, with settings of our choice.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "owner.h"
#include "utils/guc.h"

/* Sets an option until the batch ends. */
static void
set_option(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Becomes the stream's owner for a batch, in a security-restricted operation,
 * with the settings that results must not depend on.  Constraints and
 * constraint triggers are made immediate: a deferred one would otherwise run
 * at commit, as whoever is the user then.
 */
void
weir_owner_enter(const WeirStream *stream, WeirOwnerSession *session)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(immediate);

	GetUserIdAndSecContext(&session->userid, &session->sec_context);
	session->guc_level = NewGUCNestLevel();
	set_option("session_replication_role", "origin");
	set_option("search_path", stream->search_path);
	set_option("TimeZone", "UTC");
	set_option("DateStyle", "ISO, MDY");
	set_option("IntervalStyle", "postgres");
	SetUserIdAndSecContext(stream->owner,
						   session->sec_context | SECURITY_RESTRICTED_OPERATION);
}

/* Becomes whoever called again. */
void
weir_owner_leave(WeirOwnerSession *session)
{
	AtEOXact_GUC(false, session->guc_level);
	SetUserIdAndSecContext(session->userid, session->sec_context);
}
