/*
 * owner.h
 *	  Acting as a stream's owner.
 *
 * Floor 1.
 */
#ifndef WEIR_OWNER_H
#define WEIR_OWNER_H

#include "postgres.h"

/* Whom to become again, and with which settings. */
typedef struct WeirOwnerSession
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} WeirOwnerSession;

/*
 * Becomes the stream's owner, in a security-restricted operation, with the
 * settings that results must not depend on.  An error undoes it with its
 * (sub)transaction.
 */
extern void weir_owner_enter(Oid owner, const char *search_path, WeirOwnerSession *session);

/* Becomes again who we were; settings changed meanwhile are put back. */
extern void weir_owner_leave(WeirOwnerSession *session);

#endif							/* WEIR_OWNER_H */
