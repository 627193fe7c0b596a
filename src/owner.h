/*
 * owner.h
 *	  Whom a batch runs as.
 *
 * Floor 3.
 */
#ifndef WEIR_OWNER_H
#define WEIR_OWNER_H

#include "catalog.h"

/* Whom to become again after a batch. */
typedef struct WeirOwnerSession
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} WeirOwnerSession;

/* Becomes the stream's owner.  On errors the transaction's abort undoes it. */
extern void weir_owner_enter(const WeirStream *stream, WeirOwnerSession *session);
extern void weir_owner_leave(WeirOwnerSession *session);

#endif							/* WEIR_OWNER_H */
