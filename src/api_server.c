/*
 * api_server.c
 *	  SQL functions about the connection to Kafka: the validator of
 *	  weir_kafka, and weir.test_server.
 *
 * The rules are kafka_options.c's, values kafka_client.c's, the probe is
 * probe.c.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kafka_client.h"
#include "kafka_options.h"
#include "miscadmin.h"
#include "probe.h"
#include "utils/builtins.h"

/* How long weir.test_server may take. */
#define TEST_TIMEOUT_MS 10000

PG_FUNCTION_INFO_V1(weir_kafka_validator);
PG_FUNCTION_INFO_V1(weir_test_server);

/* Makes words a sentence. */
static char *
sentence(const char *words)
{
	int			len = strlen(words);
	char	   *text = psprintf("%s%s", words, len > 0 && words[len - 1] == '.' ? "" : ".");

	text[0] = pg_toupper((unsigned char) text[0]);
	return text;
}

/* Checks one option and returns it. */
static WeirKafkaOption *
checked_option(DefElem *def, int place)
{
	const WeirOptionRule *rule = weir_kafka_option_check(def->defname, place);
	WeirKafkaOption *option = palloc(sizeof(WeirKafkaOption));
	char		why[WEIR_KAFKA_ERRLEN];

	option->name = def->defname;
	option->value = defGetString(def);
	if (!weir_kafka_value_valid(rule, option->value, why, sizeof(why)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", option->name),
				 errdetail("%s", sentence(why))));
	return option;
}

/* Checks the options of a server or user mapping. */
Datum
weir_kafka_validator(PG_FUNCTION_ARGS)
{
	List	   *defs = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	List	   *options = NIL;
	ListCell   *lc;
	int			place;

	if (catalog == ForeignServerRelationId)
		place = WEIR_IN_SERVER;
	else if (catalog == UserMappingRelationId)
		place = WEIR_IN_USER_MAPPING;
	else if (defs == NIL)
		PG_RETURN_VOID();
	else
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("options are allowed in servers and user mappings only")));

	foreach(lc, defs)
		options = lappend(options, checked_option(lfirst(lc), place));
	weir_kafka_options_check_all(options, place);
	PG_RETURN_VOID();
}

/* Connects to a server and returns what it found, row by row. */
Datum
weir_test_server(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			serverid;
	List	   *rows;
	ListCell   *lc;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"server\" must not be null")));
	serverid = weir_kafka_server_for(NameStr(*PG_GETARG_NAME(0)), GetUserId());

	InitMaterializedSRF(fcinfo, 0);
	rows = weir_probe_server(serverid, GetUserId(), TEST_TIMEOUT_MS);
	foreach(lc, rows)
	{
		WeirProbeRow *row = lfirst(lc);
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(row->test);
		values[1] = BoolGetDatum(row->ok);
		values[2] = CStringGetTextDatum(row->hint[0] == '\0' ? row->detail :
										psprintf("%s. %s", row->detail, row->hint));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
