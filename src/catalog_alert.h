/*
 * catalog_alert.h
 *	  The definitions of alerts over streams.
 *
 * Floor 1.
 */
#ifndef WEIR_CATALOG_ALERT_H
#define WEIR_CATALOG_ALERT_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* One row of weir_internal.alert_definition. */
typedef struct WeirAlertRow
{
	char	   *name;
	Oid			stream;			/* where its events come from */
	Oid			source;			/* what its query reads: that, or the table of a transform */
	Oid			query;			/* view: the user's query, as PostgreSQL keeps it */
	char	   *trigger_name;
	char	   *key;			/* column of the query; NULL: one alert for all rows */
	char	   *message;		/* with names of columns in braces */
	char	   *severity;
	List	   *settings;		/* String: name=value, as they were when it was created */
} WeirAlertRow;

/* Returns the row of a trigger, or NULL; in the current context. */
extern WeirAlertRow *weir_catalog_alert_of_trigger(Oid source, const char *trigger_name);

/* Is there one of this name? */
extern bool weir_catalog_alert_exists(const char *name);

/* Returns the views of the alerts over a stream: its owner's. */
extern List *weir_catalog_alert_relations(Oid stream);

extern void weir_catalog_add_alert(const WeirAlertRow *row, Datum resolve_after, bool no_resolve_after);

/* Raises alerts: of n rows of a batch, one for each key. */
extern void weir_catalog_raise_alert(const WeirAlertRow *row, const char *key, const char *message, Datum detail, int64 n);

#endif							/* WEIR_CATALOG_ALERT_H */
