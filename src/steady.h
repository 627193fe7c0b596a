/*
 * steady.h
 *	  Functions that give the same for the same arguments, whoever calls them
 *	  and when.
 *
 * Floor 1.
 */
#ifndef WEIR_STEADY_H
#define WEIR_STEADY_H

#include "postgres.h"

/* False for VOLATILE functions, and for STABLE ones that ask the clock or the session. */
extern bool weir_function_is_steady(Oid function);

#endif							/* WEIR_STEADY_H */
