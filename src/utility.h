/*
 * utility.h
 *	  Sends workers out of a database that a command wants to itself.
 *
 * Floor 5.
 */
#ifndef WEIR_UTILITY_H
#define WEIR_UTILITY_H

extern void weir_utility_install(void); /* from _PG_init */

#endif							/* WEIR_UTILITY_H */
