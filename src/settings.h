/*
 * settings.h
 *	  Settings that results depend on: noted, and put back.
 *
 * Floor 1.
 */
#ifndef WEIR_SETTINGS_H
#define WEIR_SETTINGS_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* Returns those of this session, as a List of String: name=value. */
extern List *weir_settings_note(void);

/* Makes them hold until weir_settings_leave, or the end of the (sub)transaction; returns what that needs. */
extern int	weir_settings_enter(List *settings);
extern void weir_settings_leave(int level);

#endif							/* WEIR_SETTINGS_H */
