/*
 * errors.h
 *	  What to do about an error, judged by its SQLSTATE.
 *
 * Floor 1.
 */
#ifndef WEIR_ERRORS_H
#define WEIR_ERRORS_H

#include "postgres.h"

typedef enum WeirFate
{
	WEIR_FATE_DATA,				/* some event's fault: it becomes a dead letter */
	WEIR_FATE_ENVIRONMENT,		/* nobody's fault: try the same batch again */
	WEIR_FATE_DEFINITION		/* the definition's fault: stop and say so */
} WeirFate;

extern WeirFate weir_error_fate(int sqlstate);

#endif							/* WEIR_ERRORS_H */
