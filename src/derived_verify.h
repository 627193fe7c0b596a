/*
 * derived_verify.h
 *	  What the verification of derived objects tells, whatever their kind.
 *
 * Floor 2, below all kinds of derived objects.
 */
#ifndef WEIR_DERIVED_VERIFY_H
#define WEIR_DERIVED_VERIFY_H

#include "postgres.h"

/* Takes a row, as jsonb, that only one side has, or the two sides have differently. */
typedef void (*WeirDifference) (void *arg, const char *side, Datum data);

#endif							/* WEIR_DERIVED_VERIFY_H */
