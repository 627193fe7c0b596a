/*
 * pg_weir.c
 *	  Loading of the library.
 */
#include "postgres.h"

#include "fmgr.h"
#include "guc.h"
#include "launcher.h"
#include "miscadmin.h"
#include "shared.h"
#include "utility.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Defines settings.  Streams run only where the library is preloaded: shared
 * memory and the launcher must be there before the server is.
 */
void
_PG_init(void)
{
	weir_guc_define(process_shared_preload_libraries_in_progress);
	if (!process_shared_preload_libraries_in_progress)
		return;
	weir_shared_request();
	weir_launcher_register();
	weir_utility_install();
}
