/*
 * errors.c
 *	  What to do about an error, judged by its SQLSTATE.
 */
#include "postgres.h"

#include "errors.h"

/* Fates by SQLSTATE class, and by whole SQLSTATE where a class is mixed. */
static const struct
{
	const char *code;			/* two characters: a class; five: one SQLSTATE */
	WeirFate	fate;
}			fates[] =
{
	/* whole SQLSTATEs first */
	{"55P03", WEIR_FATE_ENVIRONMENT},	/* lock_not_available */
	{"55006", WEIR_FATE_ENVIRONMENT},	/* object_in_use */
	{"25006", WEIR_FATE_ENVIRONMENT},	/* read_only_sql_transaction: a standby */
	{"P0001", WEIR_FATE_DATA},	/* raise_exception */
	{"P0002", WEIR_FATE_DATA},	/* no_data_found: INTO STRICT */
	{"P0003", WEIR_FATE_DATA},	/* too_many_rows */
	{"P0004", WEIR_FATE_DATA},	/* assert_failure */
	/* classes */
	{"08", WEIR_FATE_ENVIRONMENT},	/* connection exception */
	{"40", WEIR_FATE_ENVIRONMENT},	/* transaction rollback */
	{"53", WEIR_FATE_ENVIRONMENT},	/* insufficient resources */
	{"57", WEIR_FATE_ENVIRONMENT},	/* operator intervention */
	{"58", WEIR_FATE_ENVIRONMENT},	/* system error */
	{"21", WEIR_FATE_DATA},		/* cardinality violation */
	{"22", WEIR_FATE_DATA},		/* data exception */
	{"23", WEIR_FATE_DATA},		/* integrity constraint violation */
	{"44", WEIR_FATE_DATA},		/* WITH CHECK OPTION violation */
	{"54", WEIR_FATE_DATA}		/* program limit exceeded */
};

/* Returns the fate of an error; what the table does not know is the definition's fault. */
WeirFate
weir_error_fate(int sqlstate)
{
	const char *code = unpack_sql_state(sqlstate);

	for (int i = 0; i < lengthof(fates); i++)
	{
		if (strncmp(code, fates[i].code, strlen(fates[i].code)) == 0)
			return fates[i].fate;
	}
	return WEIR_FATE_DEFINITION;
}
