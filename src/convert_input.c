/*
 * convert_input.c
 *	  The general way into a column: through its type's own functions.
 *
 * A scalar's text goes to the type's input function.  A JSON object or array
 * for an array, a composite, or a domain over one of them becomes what
 * jsonb_populate_record() makes of it.  Both may throw, run a user's code,
 * and depend on settings such as DateStyle, which the caller has pinned.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "convert_input.h"
#include "json_build.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

/* What the general way needs of a column. */
typedef struct WeirInput
{
	FmgrInfo	function;		/* of the type */
	Oid			parameter;
	FmgrInfo	populate;		/* jsonb_populate_record, if it may be needed */
	TupleDesc	tupdesc;
	AttrNumber	attno;
	Datum		empty_row;		/* all NULL, of the table's row type */
} WeirInput;

static void prepare_populate(WeirInput *input);
static bool is_structured(Oid typid);

/* Looks up the functions of a column's type. */
void
weir_input_prepare(WeirConverter *converter, TupleDesc tupdesc, AttrNumber attno)
{
	WeirInput  *input = palloc0(sizeof(WeirInput));
	Oid			function;

	getTypeInputInfo(converter->typid, &function, &input->parameter);
	fmgr_info(function, &input->function);
	input->tupdesc = tupdesc;
	input->attno = attno;

	converter->input = input;
	converter->may_throw = true;
	converter->is_domain = get_typtype(converter->typid) == TYPTYPE_DOMAIN;
	converter->from_text = weir_convert_input;
	if (is_structured(getBaseType(converter->typid)))
	{
		prepare_populate(input);
		converter->from_container = weir_convert_populate;
	}
}

/* Does jsonb_populate_record() look into JSON containers for this type? */
static bool
is_structured(Oid typid)
{
	return OidIsValid(get_element_type(typid)) || type_is_rowtype(typid);
}

/*
 * Gets jsonb_populate_record() ready.
 *
 * It learns the row type from its expression, so it is given one.  The row to
 * start from is not NULL: otherwise it would check the domains of all other
 * columns too.
 */
static void
prepare_populate(WeirInput *input)
{
	TupleDesc	tupdesc = input->tupdesc;
	Datum	   *values = palloc0(tupdesc->natts * sizeof(Datum));
	bool	   *isnull = palloc(tupdesc->natts * sizeof(bool));
	Node	   *row;
	Node	   *json;

	memset(isnull, true, tupdesc->natts * sizeof(bool));
	input->empty_row = HeapTupleGetDatum(heap_form_tuple(tupdesc, values, isnull));

	row = (Node *) makeNullConst(tupdesc->tdtypeid, -1, InvalidOid);
	json = (Node *) makeNullConst(JSONBOID, -1, InvalidOid);
	fmgr_info(F_JSONB_POPULATE_RECORD, &input->populate);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, tupdesc->tdtypeid,
											 list_make2(row, json), InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &input->populate);
}

/* Gives a text to the type's input function. */
bool
weir_convert_input(const WeirConverter *converter, const char *text, Size len,
				   Datum *result, WeirFault *fault)
{
	WeirInput  *input = converter->input;
	char	   *copy = palloc(len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	*result = InputFunctionCall(&input->function, copy, input->parameter, converter->typmod);
	return true;
}

/*
 * Converts an object or array as jsonb_populate_record() does for this column
 * of the table.
 */
bool
weir_convert_populate(const WeirConverter *converter, const WeirJsonValue *value,
					  Datum *result, WeirFault *fault)
{
	WeirInput  *input = converter->input;
	WeirJsonBuild build;
	HeapTupleHeader row;
	HeapTupleData tuple;
	bool		isnull;

	weir_json_build_begin(&build);
	if (!weir_json_build_open(&build) ||
		!weir_json_build_name(&build, converter->column, strlen(converter->column)) ||
		!weir_json_build_value(&build, value))
		return weir_fault(fault, WEIR_STAGE_CONVERT, build.sqlstate, converter->column,
						  "%s", build.problem);
	weir_json_build_close(&build);

	row = DatumGetHeapTupleHeader(FunctionCall2(&input->populate, input->empty_row,
												JsonbPGetDatum(weir_json_build_finish(&build))));
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	*result = heap_getattr(&tuple, input->attno, input->tupdesc, &isnull);
	if (isnull)
		elog(ERROR, "JSON container became NULL");
	return true;
}

/* Checks NULL against the constraints of the column's domain. */
void
weir_input_check_null(const WeirConverter *converter)
{
	WeirInput  *input = converter->input;

	InputFunctionCall(&input->function, NULL, input->parameter, converter->typmod);
}
