/*
 * upsert_verify.h
 *	  An upsert's rows compared with what its query gives over the staged rows.
 *
 * Floor 2, a part of the step upsert.
 */
#ifndef WEIR_UPSERT_VERIFY_H
#define WEIR_UPSERT_VERIFY_H

#include "derived_verify.h"
#include "upsert.h"

/*
 * Compares the rows of keys whose latest event is staged still, and those that
 * staged events should have made otherwise.  The caller acts as the stream's
 * owner with the upsert's settings, and has set the snapshot.
 */
extern void weir_upsert_verify(const WeirUpsert *upsert, WeirDifference difference, void *arg);

#endif							/* WEIR_UPSERT_VERIFY_H */
