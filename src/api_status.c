/*
 * api_status.c
 *	  SQL-callable: what the workers are doing.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "shared.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define WORKER_SLOTS_COLUMNS 10

PG_FUNCTION_INFO_V1(weir_worker_slots);

/* Sets a column to a text, or to NULL if it is empty. */
static void
set_text(const char *text, Datum *value, bool *isnull)
{
	*isnull = text[0] == '\0';
	if (!*isnull)
		*value = CStringGetTextDatum(text);
}

/* Sets a column to a time, or to NULL if it is 0. */
static void
set_time(TimestampTz time, Datum *value, bool *isnull)
{
	*isnull = time == 0;
	*value = TimestampTzGetDatum(time);
}

/* weir_internal.worker_slots(): one row per slot in use. */
Datum
weir_worker_slots(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < weir_shared_nslots(); i++)
	{
		WeirWorkerSlot slot;
		Datum		values[WORKER_SLOTS_COLUMNS];
		bool		nulls[WORKER_SLOTS_COLUMNS] = {0};

		if (!weir_shared_read_slot(i, &slot))
			continue;
		values[0] = ObjectIdGetDatum(slot.dboid);
		values[1] = ObjectIdGetDatum(slot.stream);
		values[2] = Int32GetDatum(slot.worker);
		values[3] = Int32GetDatum(slot.pid);
		nulls[3] = slot.pid == 0;
		values[4] = CStringGetTextDatum(weir_shared_state_name(slot.state));
		set_time(slot.since, &values[5], &nulls[5]);
		set_text(slot.last_error, &values[6], &nulls[6]);
		set_text(slot.last_hint, &values[7], &nulls[7]);
		set_time(slot.last_error_at, &values[8], &nulls[8]);
		set_time(slot.next_try, &values[9], &nulls[9]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
