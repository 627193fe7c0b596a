/*
 * errors.h
 *	  What to do about an error, judged by its SQLSTATE, and what it means.
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

/* The remedy, for errors that name none themselves. */
extern const char *weir_error_hint(int sqlstate);

/* The function that an error came out of, read off its context, or NULL. */
extern const char *weir_error_function(const char *context);

/*
 * The object at fault, read off the context of an error: the innermost derived
 * object that was being brought up to date, else the function.  NULL: neither.
 */
extern const char *weir_error_object(const char *context);

/* Rewrites the message where PostgreSQL's own would not help; allocates in the current context. */
extern void weir_error_explain(ErrorData *error);

/*
 * Tries something in a subtransaction; returns NULL, or the error of data that
 * it raised, as a copy in the current context.  Other errors are raised.
 */
extern ErrorData *weir_try(void (*action) (void *), void *arg);

/* The same; returns whatever error it is. */
extern ErrorData *weir_try_any(void (*action) (void *), void *arg);

#endif							/* WEIR_ERRORS_H */
