-- Each kind of checks as a plain function: for psql, pgTAP and CI.
--
-- They name what weir.try_check takes in params.  NULL leaves a key out.

CREATE FUNCTION weir.check_row_count(
    target regclass, min bigint DEFAULT NULL, max bigint DEFAULT NULL, same_as regclass DEFAULT NULL,
    filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'row_count', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'min', min, 'max', max, 'same_as', weir_internal.check_relation(same_as))), filter => filter) t);
COMMENT ON FUNCTION weir.check_row_count(regclass, bigint, bigint, regclass, text) IS
'The number of rows is between min and max, or that of same_as. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_freshness(
    target regclass, column_name text, warn_after interval DEFAULT NULL, error_after interval DEFAULT NULL,
    filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'freshness', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'warn_after', warn_after, 'error_after', error_after)), filter => filter) t);
COMMENT ON FUNCTION weir.check_freshness(regclass, text, interval, interval, text) IS
'The newest time in a column is no older than warn_after, error_after. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_unique(
    target regclass, VARIADIC column_names text[])
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'unique', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'columns', column_names))) t);
COMMENT ON FUNCTION weir.check_unique(regclass, VARIADIC text[]) IS
'No two rows have the same values in the columns (rows with a NULL there do not count). Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_not_null(
    target regclass, column_name text, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'not_null', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name)), filter => filter) t);
COMMENT ON FUNCTION weir.check_not_null(regclass, text, text) IS
'A column has no NULLs. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_completeness(
    target regclass, column_name text, mostly float8 DEFAULT NULL, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'completeness', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name)), filter => filter, mostly => mostly) t);
COMMENT ON FUNCTION weir.check_completeness(regclass, text, float8, text) IS
'A column has neither NULLs nor blank texts, in a share of mostly of the rows. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_accepted_values(
    target regclass, column_name text, VARIADIC accepted text[])
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'accepted_values', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'values', accepted))) t);
COMMENT ON FUNCTION weir.check_accepted_values(regclass, text, VARIADIC text[]) IS
'A column has no other values (but NULLs). Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_accepted_range(
    target regclass, column_name text, min text DEFAULT NULL, max text DEFAULT NULL, inclusive boolean DEFAULT true,
    filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'accepted_range', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'min', min, 'max', max, 'inclusive', inclusive)), filter => filter) t);
COMMENT ON FUNCTION weir.check_accepted_range(regclass, text, text, text, boolean, text) IS
'A column is within bounds, which are read as its type, or NULL. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_regex(
    target regclass, column_name text, pattern text, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'regex', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'pattern', pattern)), filter => filter) t);
COMMENT ON FUNCTION weir.check_regex(regclass, text, text, text) IS
'A column matches a regular expression, or is NULL. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_relationships(
    target regclass, column_name text, to_table regclass, field text, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'relationships', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'to', weir_internal.check_relation(to_table), 'field', field)), filter => filter) t);
COMMENT ON FUNCTION weir.check_relationships(regclass, text, regclass, text, text) IS
'Every value of a column is found in a field of another table. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_schema(
    target regclass, required text[] DEFAULT NULL, forbidden text[] DEFAULT NULL, types jsonb DEFAULT NULL,
    ordered boolean DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'schema', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'required', required, 'forbidden', forbidden, 'types', types, 'ordered', ordered))) t);
COMMENT ON FUNCTION weir.check_schema(regclass, text[], text[], jsonb, boolean) IS
'Columns are there, in that order, are not there, are of types. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_schema_changes(
    target regclass, baseline jsonb)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'schema_changes', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'baseline', baseline))) t);
COMMENT ON FUNCTION weir.check_schema_changes(regclass, jsonb) IS
'The columns and their types are those of the baseline, {"column": "type"}. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_aggregate(
    target regclass, function text, column_name text, min text DEFAULT NULL, max text DEFAULT NULL,
    filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'aggregate', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'function', function, 'column', column_name, 'min', min, 'max', max)), filter => filter) t);
COMMENT ON FUNCTION weir.check_aggregate(regclass, text, text, text, text, text) IS
'An aggregate of a column (avg, median, p99 ...) is within bounds. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_cardinality(
    target regclass, column_name text, min bigint DEFAULT NULL, max bigint DEFAULT NULL, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'cardinality', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'min', min, 'max', max)), filter => filter) t);
COMMENT ON FUNCTION weir.check_cardinality(regclass, text, bigint, bigint, text) IS
'The number of different values of a column is within bounds. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_sequence_gaps(
    target regclass, column_name text, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'sequence_gaps', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name)), filter => filter) t);
COMMENT ON FUNCTION weir.check_sequence_gaps(regclass, text, text) IS
'No whole number between the least and the greatest of a column is missing. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_reconcile(
    target regclass, with_table regclass DEFAULT NULL, column_names text[] DEFAULT NULL, stream regclass DEFAULT NULL,
    audit boolean DEFAULT NULL, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'reconcile', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'with', weir_internal.check_relation(with_table), 'columns', column_names, 'stream', weir_internal.check_relation(stream), 'audit', audit)), filter => filter) t);
COMMENT ON FUNCTION weir.check_reconcile(regclass, regclass, text[], regclass, boolean, text) IS
'Two tables have the same rows; a table has a row for each event of a stream; a stream''s own accounts balance. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_volume(
    target regclass, column_name text, drop_by float8 DEFAULT NULL, spike_by float8 DEFAULT NULL,
    bucket interval DEFAULT NULL, against text DEFAULT NULL, within interval DEFAULT NULL, as_of timestamptz DEFAULT NULL,
    filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'volume', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'drop', drop_by, 'spike', spike_by, 'bucket', bucket, 'against', against, 'window', within, 'as_of', as_of)), filter => filter) t);
COMMENT ON FUNCTION weir.check_volume(regclass, text, float8, float8, interval, text, interval, timestamptz, text) IS
'The last bucket of time has not fewer rows than usual, or more, by so many percent. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_anomaly(
    target regclass, timestamp_column text, metric text DEFAULT 'row_count', column_name text DEFAULT NULL,
    bucket interval DEFAULT NULL, sensitivity float8 DEFAULT NULL, direction text DEFAULT NULL,
    training_period interval DEFAULT NULL, min_training_set int DEFAULT NULL, seasonality text DEFAULT NULL,
    as_of timestamptz DEFAULT NULL, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'anomaly', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'timestamp_column', timestamp_column, 'metric', metric, 'column', column_name, 'bucket', bucket, 'sensitivity', sensitivity, 'direction', direction,
    'training_period', training_period, 'min_training_set', min_training_set, 'seasonality', seasonality, 'as_of', as_of)), filter => filter) t);
COMMENT ON FUNCTION weir.check_anomaly(regclass, text, text, text, interval, float8, text, interval, int, text, timestamptz, text) IS
'A metric over the last bucket of time is within so many standard deviations of what it was. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_drift(
    target regclass, column_name text, baseline regclass DEFAULT NULL, method text DEFAULT NULL,
    threshold float8 DEFAULT NULL, bins int DEFAULT NULL, min_rows int DEFAULT NULL, timestamp_column text DEFAULT NULL,
    period interval DEFAULT NULL, as_of timestamptz DEFAULT NULL, filter text DEFAULT NULL)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'drift', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'column', column_name, 'baseline', weir_internal.check_relation(baseline), 'method', method, 'threshold', threshold, 'bins', bins,
    'min_rows', min_rows, 'timestamp_column', timestamp_column, 'period', period, 'as_of', as_of)), filter => filter) t);
COMMENT ON FUNCTION weir.check_drift(regclass, text, regclass, text, float8, int, int, text, interval, timestamptz, text) IS
'A column is distributed as in the baseline. Runs that as the caller, and returns the result without keeping it.';

CREATE FUNCTION weir.check_custom_sql(
    target regclass, query text)
RETURNS weir.check_results LANGUAGE sql VOLATILE
RETURN (SELECT t FROM weir.try_check(target, 'custom_sql', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'sql', query))) t);
COMMENT ON FUNCTION weir.check_custom_sql(regclass, text) IS
'A query returns no rows. Runs that as the caller, and returns the result without keeping it.';
