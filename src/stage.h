/*
 * stage.h
 *	  Writing rows into a child of the staging table and firing the staging
 *	  table's statement triggers over them.
 *
 * Floor 2.
 */
#ifndef WEIR_STAGE_H
#define WEIR_STAGE_H

#include "executor/tuptable.h"
#include "utils/relcache.h"

typedef struct WeirStager WeirStager;

/* The staging table that is being inserted into, for the guard. */
typedef struct WeirStaging
{
	Oid			relid;
	int			depth;			/* of triggers, when the insert began */
} WeirStaging;

/*
 * Begins an insert of rows into child, seen by triggers and transition tables
 * as an insert into parent, or with !fire by no trigger at all.  Both are open
 * and locked RowExclusive; an active snapshot is set.
 */
extern WeirStager *weir_stage_begin(Relation parent, Relation child, bool fire);

/* Writes rows; their tts_tid is set afterwards. */
extern void weir_stage_rows(WeirStager *stager, TupleTableSlot **slots, int nslots);

/* Fires the statement triggers (with their transition tables), if they are to fire, and ends the insert. */
extern void weir_stage_fire(WeirStager *stager);

/* Is this session writing into this relation right now? The guard asks. */
extern bool weir_stage_in_progress(Oid relid);

/* What is being written now, to be put back when an error ends an insert. */
extern WeirStaging weir_stage_current(void);
extern void weir_stage_restore(WeirStaging saved);

/* Raises an error if a trigger that pg_weir needs on this relation is disabled. */
extern void weir_stage_check_triggers(Relation parent);

#endif							/* WEIR_STAGE_H */
