/*
 * api_stream.c
 *	  weir.create_stream, alter_stream, drop_stream.
 *
 * The staging table is made by plain DDL with the caller's own rights; the
 * catalogue's rows are written with the superuser's, once the caller's have
 * been checked.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "arguments.h"
#include "catalog.h"
#include "catalog_dedup.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "catalog_refill.h"
#include "catalog_stream.h"
#include "chunk.h"
#include "commands/defrem.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "kafka_options.h"
#include "mb/pg_wchar.h"
#include "metadata.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "runtime.h"
#include "startpoint.h"
#include "stream_options.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"
#include "wake.h"

PG_FUNCTION_INFO_V1(weir_create_stream);
PG_FUNCTION_INFO_V1(weir_alter_stream);
PG_FUNCTION_INFO_V1(weir_drop_stream);

/* Arguments of weir.create_stream, in order. */
enum
{
	C_NAME, C_COLUMNS, C_SERVER, C_TOPIC, C_FORMAT, C_KEY_FORMAT, C_KEY_COLUMNS, C_EVENT_ID,
	C_DEDUP_TTL, C_EVENT_TIME, C_DISORDER, C_MAX_FUTURE, C_IDLE_TIMEOUT, C_RETENTION,
	C_START_FROM, C_PATHS, C_TIME_UNIT, C_COLUMN_OPTIONS, C_METADATA, C_TOMBSTONES,
	C_ISOLATION, C_DATA_LOSS, C_PARALLELISM, C_PARTITIONS, C_BATCH_ROWS, C_BATCH_BYTES,
	C_BATCH_INTERVAL, C_COMMIT_TO_GROUP, C_IF_NOT_EXISTS, C_COUNT
};

/*
 * What both functions know of an option: its name, which is also its column
 * in the catalogue, its type, and whether it may be NULL at creation.
 */
typedef struct OptionRule
{
	const char *name;
	Oid			type;
	bool		required;
	bool		zero_allowed;	/* of an interval */
	int			least;			/* of an int */
	int			greatest;
	const char *const *words;	/* of a text */
} OptionRule;

static const OptionRule rules[C_COUNT] = {
	[C_NAME] = {"name", TEXTOID, true},
	[C_COLUMNS] = {"columns", TEXTOID, true},
	[C_SERVER] = {"server", NAMEOID},
	[C_TOPIC] = {"topic", TEXTOID},
	[C_FORMAT] = {"format", TEXTOID, true, .words = weir_formats},
	[C_KEY_FORMAT] = {"key_format", TEXTOID, .words = weir_key_formats},
	[C_KEY_COLUMNS] = {"key_columns", TEXTARRAYOID},
	[C_EVENT_ID] = {"event_id", TEXTARRAYOID},
	[C_DEDUP_TTL] = {"dedup_ttl", INTERVALOID},
	[C_EVENT_TIME] = {"event_time", NAMEOID},
	[C_DISORDER] = {"max_out_of_orderness", INTERVALOID, true, .zero_allowed = true},
	[C_MAX_FUTURE] = {"max_future", INTERVALOID, true, .zero_allowed = true},
	[C_IDLE_TIMEOUT] = {"idle_timeout", INTERVALOID, .zero_allowed = true},
	[C_RETENTION] = {"retention", INTERVALOID, true},
	[C_START_FROM] = {"start_from", TEXTOID, true},
	[C_PATHS] = {"paths", JSONBOID, true},
	[C_TIME_UNIT] = {"time_unit", TEXTOID, .words = weir_time_units},
	[C_COLUMN_OPTIONS] = {"column_options", JSONBOID, true},
	[C_METADATA] = {"metadata", TEXTARRAYOID, true, .words = weir_metadata_words},
	[C_TOMBSTONES] = {"tombstones", TEXTOID, true, .words = weir_tombstone_words},
	[C_ISOLATION] = {"isolation_level", TEXTOID, true, .words = weir_isolation_levels},
	[C_DATA_LOSS] = {"on_data_loss", TEXTOID, true, .words = weir_data_loss_words},
	[C_PARALLELISM] = {"parallelism", INT4OID, true, .least = 1, .greatest = 64},
	[C_PARTITIONS] = {"partitions", INT4OID, true, .least = 1, .greatest = 10000},
	[C_BATCH_ROWS] = {"batch_rows", INT4OID, .least = 1, .greatest = 1000000},
	[C_BATCH_BYTES] = {"batch_bytes", INT4OID, .least = 1024, .greatest = 1024 * 1024 * 1024},
	[C_BATCH_INTERVAL] = {"batch_interval", INTERVALOID, .zero_allowed = true},
	[C_COMMIT_TO_GROUP] = {"commit_to_group", TEXTOID},
	[C_IF_NOT_EXISTS] = {"if_not_exists", BOOLOID, true},
};

/* The options that weir.alter_stream changes, as its arguments from 1 on. */
static const int alterable[] = {
	C_DEDUP_TTL, C_DISORDER, C_MAX_FUTURE, C_IDLE_TIMEOUT, C_RETENTION, C_PATHS, C_TIME_UNIT,
	C_COLUMN_OPTIONS, C_TOMBSTONES, C_ISOLATION, C_DATA_LOSS, C_PARALLELISM,
	C_BATCH_ROWS, C_BATCH_BYTES, C_BATCH_INTERVAL, C_COMMIT_TO_GROUP
};

/* Returns the elements of a text array argument, which must not be NULL. */
static List *
array_words(const char *parameter, Datum value)
{
	List	   *result = NIL;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"%s\" must not contain NULL", parameter)));
		result = lappend(result, TextDatumGetCString(elems[i]));
	}
	return result;
}

/* Checks one argument by its rule. */
static void
check_option(const OptionRule *rule, Datum value)
{
	ListCell   *lc;

	switch (rule->type)
	{
		case TEXTOID:
			if (rule->words != NULL)
				weir_option_check_word(rule->name, TextDatumGetCString(value), rule->words);
			break;
		case TEXTARRAYOID:
			foreach(lc, array_words(rule->name, value))
			{
				if (rule->words != NULL)
					weir_option_check_word(rule->name, lfirst(lc), rule->words);
			}
			break;
		case INTERVALOID:
			weir_option_check_duration(rule->name, DatumGetIntervalP(value), rule->zero_allowed);
			break;
		case INT4OID:
			weir_option_check_number(rule->name, DatumGetInt32(value), rule->least, rule->greatest);
			break;
		case JSONBOID:
			if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(value)))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("parameter \"%s\" must be a JSON object", rule->name)));
			break;
	}
}

static char *
arg_string(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		return NULL;
	if (rules[arg].type == NAMEOID)
		return pstrdup(NameStr(*PG_GETARG_NAME(arg)));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static bool
arg_list_has(FunctionCallInfo fcinfo, int arg, const char *word)
{
	ListCell   *lc;

	if (PG_ARGISNULL(arg))
		return false;
	foreach(lc, array_words(rules[arg].name, PG_GETARG_DATUM(arg)))
	{
		if (strcmp(lfirst(lc), word) == 0)
			return true;
	}
	return false;
}

static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

/* Checks what one argument alone cannot tell. */
static void
check_combinations(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(C_EVENT_ID) != PG_ARGISNULL(C_DEDUP_TTL))
		refuse("parameters \"event_id\" and \"dedup_ttl\" go together",
			   "event_id names the columns that tell duplicates, dedup_ttl says for how long, in event time.");
	if (PG_ARGISNULL(C_SERVER) != PG_ARGISNULL(C_TOPIC))
		refuse("parameters \"server\" and \"topic\" go together",
			   "Give both, or neither for a stream that lives by weir.ingest.");
	if (!PG_ARGISNULL(C_SERVER) && PG_GETARG_INT32(C_PARTITIONS) != 1)
		refuse("parameter \"partitions\" is for streams without Kafka",
			   "A topic has the partitions it has.");
	if (PG_ARGISNULL(C_SERVER) && !PG_ARGISNULL(C_COMMIT_TO_GROUP))
		refuse("parameter \"commit_to_group\" is for streams that read from Kafka",
			   "A stream without server and topic has no offsets of Kafka's.");
	if (strcmp(arg_string(fcinfo, C_TOMBSTONES), "row") == 0 &&
		(PG_ARGISNULL(C_KEY_COLUMNS) || PG_ARGISNULL(C_KEY_FORMAT)))
		refuse("tombstones => 'row' needs key_format and key_columns",
			   "A row without a value has nothing else to tell what it is about.");
	if (!PG_ARGISNULL(C_KEY_COLUMNS) && PG_ARGISNULL(C_KEY_FORMAT))
		refuse("parameter \"key_columns\" needs \"key_format\"", "Keys are text, bytea or json.");
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("streams need a database with encoding UTF8"),
				 errdetail("This one has %s.", GetDatabaseEncodingName())));
	(void) weir_startpoint_parse(arg_string(fcinfo, C_START_FROM));
}

/*
 * Checks the name of a group, and that no other stream tells it something else
 * about the same partitions.
 */
static void
check_group(Oid relid, const char *server, const char *topic, const char *name)
{
	weir_option_check_group("commit_to_group", name);
	if (weir_catalog_group_is_taken(relid, server, topic, name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("another stream commits its offsets of topic \"%s\" to consumer group \"%s\"", topic, name),
				 errhint("Give each stream on a topic a group of its own.")));
}

/* Checks all arguments of weir.create_stream. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < C_COUNT; i++)
	{
		if (PG_ARGISNULL(i) && rules[i].required)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"%s\" must not be NULL", rules[i].name)));
		if (!PG_ARGISNULL(i))
			check_option(&rules[i], PG_GETARG_DATUM(i));
	}
	check_combinations(fcinfo);
	if (!PG_ARGISNULL(C_COMMIT_TO_GROUP))
		check_group(InvalidOid, arg_string(fcinfo, C_SERVER), arg_string(fcinfo, C_TOPIC),
					arg_string(fcinfo, C_COMMIT_TO_GROUP));
}

/* Refuses a constraint that would be lost on the children that hold the rows. */
static void
check_constraint(const Constraint *constraint, const char *name)
{
	ConstrType	type = constraint->contype;

	if (type == CONSTR_PRIMARY || type == CONSTR_UNIQUE || type == CONSTR_EXCLUSION ||
		type == CONSTR_FOREIGN || type == CONSTR_IDENTITY)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stream \"%s\" cannot have primary key, unique, exclusion, foreign key or identity constraints", name),
				 errhint("Its rows come and go by whole child tables. NOT NULL, CHECK, DEFAULT and GENERATED are honoured.")));
}

/* Refuses the serial types: an event read again would get another number. */
static void
check_column_type(const ColumnDef *column, const char *name)
{
	static const char *const serials[] = {
		"smallserial", "serial2", "serial", "serial4", "bigserial", "serial8"
	};

	if (column->typeName == NULL || list_length(column->typeName->names) != 1)
		return;
	for (int i = 0; i < lengthof(serials); i++)
	{
		if (strcmp(strVal(linitial(column->typeName->names)), serials[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of stream \"%s\" cannot be of type %s",
							column->colname, name, serials[i]),
					 errhint("The columns _partition and _offset number events, always alike.")));
	}
}

/*
 * Checks that the text between the parentheses is a list of columns and their
 * constraints and nothing else, and that nothing in it would be lost on the
 * children that hold the rows.
 */
static void
check_columns(const char *sql, const char *name)
{
	List	   *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);
	CreateStmt *stmt = (CreateStmt *) linitial_node(RawStmt, parsed)->stmt;
	ListCell   *lc;

	if (list_length(parsed) != 1 || stmt == NULL || !IsA(stmt, CreateStmt) || stmt->inhRelations != NIL)
		refuse("parameter \"columns\" is not a list of columns",
			   "Write it as between the parentheses of CREATE TABLE.");
	foreach(lc, stmt->tableElts)
	{
		Node	   *element = lfirst(lc);
		ListCell   *lc2;

		if (IsA(element, TableLikeClause))
			refuse("parameter \"columns\" cannot have LIKE", "Write the columns out.");
		if (IsA(element, Constraint))
			check_constraint((Constraint *) element, name);
		if (!IsA(element, ColumnDef))
			continue;
		check_column_type((ColumnDef *) element, name);
		foreach(lc2, ((ColumnDef *) element)->constraints)
			check_constraint(lfirst_node(Constraint, lc2), name);
	}
}

/* Returns the metadata columns' part of CREATE TABLE. */
static char *
metadata_columns(FunctionCallInfo fcinfo)
{
	StringInfoData buf;
	char	   *key_format = arg_string(fcinfo, C_KEY_FORMAT);

	initStringInfo(&buf);
	appendStringInfoString(&buf,
						   "_partition pg_catalog.int4 NOT NULL, _offset pg_catalog.int8 NOT NULL,"
						   " _timestamp pg_catalog.timestamptz, _watermark pg_catalog.timestamptz NOT NULL,"
						   " _extra pg_catalog.jsonb");
	if (arg_list_has(fcinfo, C_METADATA, "key"))
		appendStringInfo(&buf, ", _key pg_catalog.%s",
						 key_format != NULL && strcmp(key_format, "bytea") != 0 ? "text" : "bytea");
	if (arg_list_has(fcinfo, C_METADATA, "headers"))
		appendStringInfoString(&buf, ", _headers pg_catalog.jsonb");
	if (arg_list_has(fcinfo, C_METADATA, "topic"))
		appendStringInfoString(&buf, ", _topic pg_catalog.text");
	if (arg_list_has(fcinfo, C_METADATA, "ingested_at"))
		appendStringInfoString(&buf, ", _ingested_at pg_catalog.timestamptz");
	if (strcmp(arg_string(fcinfo, C_TOMBSTONES), "row") == 0)
		appendStringInfoString(&buf, ", _tombstone pg_catalog.bool NOT NULL");
	return buf.data;
}

static void
run(const char *sql)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
	SPI_finish();
}

/* Is this one of the columns that tell where a row came from? */
static bool
is_metadata_column(const char *name)
{
	for (int i = 0; i < WEIR_NUM_METADATA_COLUMNS; i++)
	{
		if (strcmp(name, weir_metadata_column_name(i)) == 0)
			return true;
	}
	return false;
}

/* Returns a name for the CHECK constraint that stands for a column's NOT NULL. */
static char *
not_null_name(Oid relid, const char *column)
{
	char	   *name = makeObjectName(column, NULL, "not_null");

	for (int i = 1; OidIsValid(get_relation_constraint_oid(relid, name, true)); i++)
		name = makeObjectName(column, NULL, psprintf("not_null%d", i));
	return name;
}

/*
 * Where tombstones are rows, NOT NULL is asked of the others only: turns it
 * into a CHECK constraint on each declared column that has it.
 */
static void
exempt_tombstones(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	TupleDesc	tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	char	   *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
												  RelationGetRelationName(relation));

	table_close(relation, NoLock);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		const char *column = quote_identifier(NameStr(att->attname));

		if (!att->attnotnull || is_metadata_column(NameStr(att->attname)))
			continue;
		run(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL, ADD CONSTRAINT %s CHECK (_tombstone OR %s IS NOT NULL)",
					 name, column,
					 quote_identifier(not_null_name(relid, NameStr(att->attname))), column));
	}
}

/* Makes the staging table with the caller's rights. */
static Oid
create_table(FunctionCallInfo fcinfo, RangeVar *name, Oid namespace)
{
	char	   *sql;
	Oid			relid;

	sql = psprintf("CREATE TABLE %s (%s\n, %s)",
				   quote_qualified_identifier(get_namespace_name(namespace), name->relname),
				   arg_string(fcinfo, C_COLUMNS), metadata_columns(fcinfo));
	check_columns(sql, name->relname);
	run(sql);
	relid = get_relname_relid(name->relname, namespace);
	if (strcmp(arg_string(fcinfo, C_TOMBSTONES), "row") == 0)
		exempt_tombstones(relid);
	return relid;
}

/* Checks that the event time column is there and a timestamptz. */
static void
check_event_time(Oid relid, const char *stream, const char *column)
{
	AttrNumber	attno;

	if (column == NULL)
		return;
	attno = get_attnum(relid, column);
	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("event time column \"%s\" of stream \"%s\" does not exist", column, stream)));
	if (get_atttype(relid, attno) != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("event time column \"%s\" of stream \"%s\" must be of type timestamp with time zone", column, stream),
				 errdetail("It is of type %s.", format_type_be(get_atttype(relid, attno))),
				 errhint("Epoch numbers can be read into a timestamptz column with time_unit.")));
}

/* Returns the types of the columns of event_id, an array. */
static Datum
id_types(Oid relid, List *columns, const char *stream)
{
	Datum	   *types = palloc(sizeof(Datum) * list_length(columns));
	ListCell   *lc;

	foreach(lc, columns)
	{
		AttrNumber	attno = get_attnum(relid, lfirst(lc));

		if (attno <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("event id column \"%s\" of stream \"%s\" does not exist", (char *) lfirst(lc), stream)));
		types[foreach_current_index(lc)] = ObjectIdGetDatum(get_atttype(relid, attno));
	}
	return PointerGetDatum(construct_array(types, list_length(columns), REGTYPEOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* Makes what remembers event ids; sets the fields of the catalogue that say so, and returns their number. */
static int
make_ids(FunctionCallInfo fcinfo, Oid relid, const char *stream, WeirStreamField *fields)
{
	List	   *columns;

	if (PG_ARGISNULL(C_EVENT_ID))
		return 0;
	columns = array_words(rules[C_EVENT_ID].name, PG_GETARG_DATUM(C_EVENT_ID));
	if (columns == NIL || list_length(columns) > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"event_id\" must name 1 to %d columns", INDEX_MAX_KEYS)));
	fields[0] = (WeirStreamField) {rules[C_EVENT_ID].name, TEXTARRAYOID, PG_GETARG_DATUM(C_EVENT_ID), false};
	fields[1] = (WeirStreamField) {"id_types", REGTYPEARRAYOID, id_types(relid, columns, stream), false};
	fields[2] = (WeirStreamField) {"ids", REGCLASSOID, ObjectIdGetDatum(weir_catalog_create_ids(relid)), false};
	return 3;
}

/* Writes the stream's row of the catalogue. */
static void
record_stream(FunctionCallInfo fcinfo, Oid relid)
{
	static const int stored[] = {
		C_SERVER, C_TOPIC, C_FORMAT, C_KEY_FORMAT, C_EVENT_TIME, C_DISORDER, C_MAX_FUTURE,
		C_IDLE_TIMEOUT, C_RETENTION, C_PATHS, C_TIME_UNIT, C_COLUMN_OPTIONS,
		C_METADATA, C_TOMBSTONES, C_ISOLATION, C_DATA_LOSS, C_PARALLELISM,
		C_BATCH_ROWS, C_BATCH_BYTES, C_BATCH_INTERVAL, C_COMMIT_TO_GROUP, C_KEY_COLUMNS,
		C_DEDUP_TTL
	};
	WeirStreamField fields[lengthof(stored) + 5];
	int			n = make_ids(fcinfo, relid, get_rel_name(relid), fields);
	char	   *start_from = weir_startpoint_canonical(arg_string(fcinfo, C_START_FROM));

	for (int i = 0; i < lengthof(stored); i++)
	{
		const OptionRule *rule = &rules[stored[i]];

		if (PG_ARGISNULL(stored[i]))
			continue;
		fields[n++] = (WeirStreamField) {rule->name, rule->type, PG_GETARG_DATUM(stored[i]), false};
	}
	fields[n++] = (WeirStreamField) {"start_from", TEXTOID, CStringGetTextDatum(start_from), false};
	fields[n++] = (WeirStreamField) {"search_path", TEXTOID,
		CStringGetTextDatum(GetConfigOption("search_path", false, false)), false};
	weir_catalog_insert_stream(relid, n, fields);
	weir_catalog_mark_staging(relid);
}

/* Registers the partitions 0 … n−1 of a stream without Kafka. */
static void
register_partitions(Oid relid, int n)
{
	int32	   *partitions = palloc(sizeof(int32) * n);
	int64	   *offsets = palloc0(sizeof(int64) * n);

	for (int i = 0; i < n; i++)
		partitions[i] = i;
	weir_catalog_add_partitions(relid, n, partitions, offsets);
}

/* Returns the schema that a stream of that name is to be in. */
static Oid
choose_namespace(RangeVar *name)
{
	Oid			namespace = RangeVarGetCreationNamespace(name);

	if (isAnyTempNamespace(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stream \"%s\" cannot be temporary", name->relname),
				 errhint("Give a schema that other sessions see too.")));
	return namespace;
}

/* Handles a name that is taken: true if the stream is there and that is fine. */
static bool
exists_already(RangeVar *name, Oid namespace, bool if_not_exists)
{
	Oid			relid = get_relname_relid(name->relname, namespace);

	if (!OidIsValid(relid))
		return false;
	if (!if_not_exists || weir_catalog_load_stream(relid, true) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name->relname)));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("stream \"%s\" already exists, skipping", name->relname)));
	return true;
}

/* weir.create_stream */
Datum
weir_create_stream(PG_FUNCTION_ARGS)
{
	RangeVar   *name;
	Oid			namespace;
	Oid			relid;
	Oid			serverid = InvalidOid;

	weir_arg_check_server(fcinfo);
	check_arguments(fcinfo);
	name = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(C_NAME)));
	namespace = choose_namespace(name);
	if (exists_already(name, namespace, PG_GETARG_BOOL(C_IF_NOT_EXISTS)))
		PG_RETURN_OID(get_relname_relid(name->relname, namespace));
	if (!PG_ARGISNULL(C_SERVER))
		serverid = weir_kafka_server_for(arg_string(fcinfo, C_SERVER), GetUserId());

	relid = create_table(fcinfo, name, namespace);
	check_event_time(relid, name->relname, arg_string(fcinfo, C_EVENT_TIME));
	weir_chunk_guard(relid);
	record_stream(fcinfo, relid);
	if (OidIsValid(serverid))
		weir_arg_depend_on_server(relid, serverid);
	else
		register_partitions(relid, PG_GETARG_INT32(C_PARTITIONS));
	CommandCounterIncrement();
	(void) weir_runtime_get(relid); /* makes the first child; finds what is wrong with paths and the like */
	PG_RETURN_OID(relid);
}

/* Refuses a time to remember event ids for, where there are none. */
static void
check_ttl(const WeirStream *stream)
{
	if (stream->event_id == NIL)
		refuse("parameter \"dedup_ttl\" is for streams with event_id",
			   "What tells duplicates is given to weir.create_stream.");
}

/* Returns the field for a group's name: an empty one stands for none. */
static WeirStreamField
group_field(const WeirStream *stream, Datum value)
{
	char	   *name = TextDatumGetCString(value);

	if (stream->topic == NULL)
		refuse("parameter \"commit_to_group\" is for streams that read from Kafka",
			   "This one has no offsets of Kafka's.");
	if (name[0] != '\0')
		check_group(stream->relid, stream->server, stream->topic, name);
	return (WeirStreamField) {rules[C_COMMIT_TO_GROUP].name, TEXTOID, value, name[0] == '\0'};
}

/* weir.alter_stream */
Datum
weir_alter_stream(PG_FUNCTION_ARGS)
{
	WeirStreamField fields[lengthof(alterable)];
	int			n = 0;
	WeirStream *stream = weir_arg_own_stream(fcinfo);
	Oid			relid = stream->relid;

	for (int i = 0; i < lengthof(alterable); i++)
	{
		const OptionRule *rule = &rules[alterable[i]];

		if (PG_ARGISNULL(i + 1))
			continue;
		check_option(rule, PG_GETARG_DATUM(i + 1));
		if (alterable[i] == C_TOMBSTONES &&
			(strcmp(TextDatumGetCString(PG_GETARG_DATUM(i + 1)), "row") == 0) !=
			(stream->tombstones == WEIR_TOMBSTONE_ROW))
			refuse("parameter \"tombstones\" cannot change to or from 'row'",
				   "That changes the columns of the stream; create another one.");
		if (alterable[i] == C_DEDUP_TTL)
			check_ttl(stream);
		fields[n++] = alterable[i] == C_COMMIT_TO_GROUP ? group_field(stream, PG_GETARG_DATUM(i + 1)) :
			(WeirStreamField) {rule->name, rule->type, PG_GETARG_DATUM(i + 1), false};
	}
	weir_fence_exclusive(relid);
	weir_catalog_update_stream(relid, n, fields);
	weir_catalog_touch(relid);
	weir_wake_at_commit(relid);
	CommandCounterIncrement();
	(void) weir_runtime_get(relid);
	PG_RETURN_VOID();
}

/* weir.drop_stream */
Datum
weir_drop_stream(PG_FUNCTION_ARGS)
{
	WeirStream *stream = weir_arg_own_stream(fcinfo);

	weir_fence_cancel(stream->relid);	/* nobody will see what those batches bring */
	run(psprintf("DROP TABLE %s%s", quote_qualified_identifier(stream->schema, stream->name),
				 !PG_ARGISNULL(1) && PG_GETARG_BOOL(1) ? " CASCADE" : ""));
	PG_RETURN_VOID();
}
