/*
 * alert.h
 *	  Alerts over streams made ready to run, and what is done with them.
 *
 * Floor 2.
 */
#ifndef WEIR_ALERT_H
#define WEIR_ALERT_H

#include "batch_plan.h"
#include "catalog_alert.h"
#include "derived_cache.h"
#include "derived_source.h"

/* An alert, compiled; kept from batch to batch. */
typedef struct WeirAlert
{
	WeirCompiled base;
	WeirAlertRow *row;
	WeirSource *source;
	Index		position;		/* where the source stands in the query's range table */
	Query	   *fold;			/* a row per key, of the query, which is the first in its range table */
	WeirBatchPlans plans;
} WeirAlert;

/*
 * Checks a query, its key, and the names of columns in a message; returns where
 * the source stands in the query's range table.
 */
extern Index weir_alert_check(Query *query, const WeirSource *source, const WeirAlertRow *row);

/*
 * Returns the alert of a trigger; NULL if there is none.  It stays as it is
 * until it is released, or the transaction ends.
 */
extern WeirAlert *weir_alert_of_trigger(Oid source, const char *trigger_name);
extern void weir_alert_release(WeirAlert *alert);

/* Raises it for what the query gives of a batch: the rows of a transition table. */
extern void weir_alert_take_batch(WeirAlert *alert, Tuplestorestate *batch);

#endif							/* WEIR_ALERT_H */
