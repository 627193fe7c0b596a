/*
 * launcher.h
 *	  Keeps the right stream workers alive.
 *
 * Floor 4.
 */
#ifndef WEIR_LAUNCHER_H
#define WEIR_LAUNCHER_H

extern void weir_launcher_register(void);	/* from _PG_init */

#endif							/* WEIR_LAUNCHER_H */
