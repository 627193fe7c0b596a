/*
 * convert_zone.c
 *	  Names of time zones.
 *
 * PostgreSQL keeps each time zone that it has been asked for, some 24 kB, until
 * the process ends.  And it takes any word with a number behind for one, as
 * POSIX has it (ABC5): messages could make it keep as many as they like.  So
 * only those that have a name in the time zone database may be asked for.
 */
#include "postgres.h"

#include "convert_zone.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/memutils.h"

static List *known_zones;		/* of char *, sorted */

static void read_zones(void);
static int	compare_names(const ListCell *a, const ListCell *b);

/* Is there a time zone of this name, in upper or lower case? */
bool
weir_zone_is_known(const char *name)
{
	int			low = 0;
	int			high;

	if (known_zones == NIL)
		read_zones();

	high = list_length(known_zones);
	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = pg_strcasecmp(name, list_nth(known_zones, middle));

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* Reads the names once; it takes some 20 ms. */
static void
read_zones(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pg_weir time zones",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *zones = NIL;
	pg_tzenum  *all = pg_tzenumerate_start();
	pg_tz	   *zone;

	while ((zone = pg_tzenumerate_next(all)) != NULL)
		zones = lappend(zones, MemoryContextStrdup(context, pg_get_timezone_name(zone)));
	pg_tzenumerate_end(all);
	list_sort(zones, compare_names);

	MemoryContextSwitchTo(old);
	known_zones = zones;
}

/* Compares two names whatever their case. */
static int
compare_names(const ListCell *a, const ListCell *b)
{
	return pg_strcasecmp(lfirst(a), lfirst(b));
}
