/*
 * transform_verify.h
 *	  A transform's rows compared with what its query gives.
 *
 * Floor 2, a part of the step transform.
 */
#ifndef WEIR_TRANSFORM_VERIFY_H
#define WEIR_TRANSFORM_VERIFY_H

#include "derived_verify.h"
#include "transform.h"

/* Calls difference with each, as of the active snapshot.  The caller acts as the owner and keeps what the source has there. */
extern void weir_transform_verify(WeirTransform *transform, WeirDifference difference, void *arg);

#endif							/* WEIR_TRANSFORM_VERIFY_H */
