/*
 * errors.c
 *	  What to do about an error, judged by its SQLSTATE, and what it means.
 */
#include "postgres.h"

#include "access/xact.h"
#include "errors.h"
#include "utils/resowner.h"

#define START_AGAIN "then start the stream again with weir.start()."

/* Fates and remedies by SQLSTATE class, and by whole SQLSTATE where a class is mixed. */
static const struct
{
	const char *code;			/* two characters: a class; five: one SQLSTATE */
	WeirFate	fate;
	const char *hint;			/* NULL: none but to wait */
}			fates[] =
{
	/* whole SQLSTATEs first */
	{"55P03", WEIR_FATE_ENVIRONMENT,	/* lock_not_available */
	"Another session holds a lock. While the worker waits for it, waits_for and blocked_by in weir.status tell which and whose."},
	{"55006", WEIR_FATE_ENVIRONMENT, NULL}, /* object_in_use */
	{"25006", WEIR_FATE_ENVIRONMENT, NULL}, /* read_only_sql_transaction: a standby */
	{"42501", WEIR_FATE_DEFINITION, /* insufficient_privilege */
	"Grant the right to the owner of the stream, " START_AGAIN},
	{"53100", WEIR_FATE_ENVIRONMENT,	/* disk_full */
	"Free disk space. The stream goes on by itself; weir.start() makes it try at once."},
	{"53200", WEIR_FATE_ENVIRONMENT,	/* out_of_memory */
	"Give the server more memory, or the stream smaller batches (batch_rows)."},
	{"57014", WEIR_FATE_ENVIRONMENT,	/* query_canceled */
	"The batch is tried again. weir.stop() with cancel_batch => true stops the stream."},
	{"HV00N", WEIR_FATE_ENVIRONMENT, NULL}, /* fdw_unable_to_establish_connection */
	{"P0001", WEIR_FATE_DATA, NULL},	/* raise_exception */
	{"P0002", WEIR_FATE_DATA, NULL},	/* no_data_found: INTO STRICT */
	{"P0003", WEIR_FATE_DATA, NULL},	/* too_many_rows */
	{"P0004", WEIR_FATE_DATA, NULL},	/* assert_failure */
	{"XX000", WEIR_FATE_ENVIRONMENT,	/* internal_error: "tuple concurrently updated", "File too large" */
	"The server log says more."},
	/* classes */
	{"08", WEIR_FATE_ENVIRONMENT, NULL},	/* connection exception */
	{"40", WEIR_FATE_ENVIRONMENT, NULL},	/* transaction rollback */
	{"53", WEIR_FATE_ENVIRONMENT, NULL},	/* insufficient resources */
	{"57", WEIR_FATE_ENVIRONMENT, NULL},	/* operator intervention */
	{"58", WEIR_FATE_ENVIRONMENT, "The server log says more."}, /* system error */
	{"21", WEIR_FATE_DATA, NULL},	/* cardinality violation */
	{"22", WEIR_FATE_DATA, NULL},	/* data exception */
	{"23", WEIR_FATE_DATA, NULL},	/* integrity constraint violation */
	{"44", WEIR_FATE_DATA, NULL},	/* WITH CHECK OPTION violation */
	{"54", WEIR_FATE_DATA, NULL},	/* program limit exceeded */
	/* what the table does not know is the definition's fault */
	{"", WEIR_FATE_DEFINITION, "Correct the definition of the stream or its triggers, " START_AGAIN}
};

/* Returns the entry for an error. */
static int
find_entry(int sqlstate)
{
	const char *code = unpack_sql_state(sqlstate);
	int			i = 0;

	while (strncmp(code, fates[i].code, strlen(fates[i].code)) != 0)
		i++;
	return i;
}

/* Returns the fate of an error. */
WeirFate
weir_error_fate(int sqlstate)
{
	return fates[find_entry(sqlstate)].fate;
}

/* Returns what to do about an error, or NULL. */
const char *
weir_error_hint(int sqlstate)
{
	return fates[find_entry(sqlstate)].hint;
}

/*
 * Returns the function that an error came out of, read off its context: the
 * last line is the outermost call, "PL/pgSQL function f() line 1 at RAISE".
 * NULL if the context does not say.
 */
const char *
weir_error_function(const char *context)
{
	static const char *const marks[] = {"PL/pgSQL function ", "SQL function ", "PL/Python function "};
	const char *found = NULL;
	const char *end;

	if (context == NULL)
		return NULL;
	for (int i = 0; i < lengthof(marks); i++)
	{
		for (const char *p = strstr(context, marks[i]); p != NULL; p = strstr(p, marks[i]))
		{
			p += strlen(marks[i]);
			found = found == NULL || p > found ? p : found;
		}
	}
	if (found == NULL)
		return NULL;
	end = found + strcspn(found, " \n");
	return pnstrdup(found, end - found);
}

/* Returns the innermost derived object, or alert, of a context: the first line that names one. */
static const char *
derived_object(const char *context)
{
	static const char *const labels[] = {"continuous aggregate \"", "upsert \"", "transform \"", "alert \""};

	for (const char *line = context; line != NULL && line[0] != '\0'; line += line[0] == '\n')
	{
		const char *end = line + strcspn(line, "\n");

		for (int i = 0; i < lengthof(labels); i++)
		{
			Size		len = strlen(labels[i]);

			if (strncmp(line, labels[i], len) == 0 && end[-1] == '"' && end - 1 > line + len)
				return pnstrdup(line + len, end - 1 - line - len);
		}
		line = end;
	}
	return NULL;
}

/* Returns the object at fault. */
const char *
weir_error_object(const char *context)
{
	const char *object = derived_object(context);

	return object != NULL ? object : weir_error_function(context);
}

/*
 * Makes an error of PostgreSQL's own say what it means to a stream: it calls
 * what has been given up a statement, and does not name the trigger.
 */
void
weir_error_explain(ErrorData *error)
{
	const char *function = weir_error_function(error->context);
	const char *id = error->message_id;
	const char *in = function ? psprintf(", in %s", function) : "";

	if (id == NULL)
		return;
	if (strcmp(id, "canceling statement due to lock timeout") == 0)
		error->message = function ? psprintf("a lock that %s needs was not free in time", function) :
			pstrdup("the stream was locked for too long");
	else if (strcmp(id, "canceling statement due to statement timeout") == 0)
		error->message = psprintf("the batch took longer than weir.batch_timeout%s", in);
	else if (strcmp(id, "canceling statement due to user request") == 0)
		error->message = psprintf("the batch was canceled%s", in);
}

/* Tries something in a subtransaction, which costs next to nothing where nothing is written. */
ErrorData *
weir_try_any(void (*action) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		action(arg);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	return error;
}

/* Tries something, and lets errors that are not of data through. */
ErrorData *
weir_try(void (*action) (void *), void *arg)
{
	ErrorData  *error = weir_try_any(action, arg);

	if (error != NULL && weir_error_fate(error->sqlerrcode) != WEIR_FATE_DATA)
		ReThrowError(error);
	return error;
}
