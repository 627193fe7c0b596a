-- Expectations: conditions on each event, on the way in.

CREATE FUNCTION weir.expect(
    stream regclass,
    name text,
    expression text,
    on_violation text DEFAULT 'dead_letter',
    if_not_exists boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_expect';
COMMENT ON FUNCTION weir.expect(regclass, text, text, text, boolean) IS
'Makes a stream judge each event by a boolean SQL expression over its columns; NULL counts as satisfied, as in CHECK. on_violation: keep (the event stays, its column _violations names the expectation), drop, dead_letter, stop (the stream fails at that event). An event for which the expression raises an error is a dead letter. Names are folded as in CREATE TABLE. Waits for the running batch; holds from the next one on. For the stream''s owner, as whom the expression is evaluated. Errors: 42710 the name is taken, 0A000 a subquery or a function whose results change by themselves, 42804 not boolean, 22023 an unknown on_violation.';

CREATE FUNCTION weir.alter_expectation(
    stream regclass,
    name text,
    expression text DEFAULT NULL,
    on_violation text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_alter_expectation';
COMMENT ON FUNCTION weir.alter_expectation(regclass, text, text, text) IS
'Changes an expectation; NULL leaves what it is. Its counts go on. Waits for the running batch and for readers of the stream. Errors as for weir.expect; 42704 there is no such expectation.';

CREATE FUNCTION weir.drop_expectation(stream regclass, name text) RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_drop_expectation';
COMMENT ON FUNCTION weir.drop_expectation(regclass, text) IS
'Drops an expectation with its counts; the column _violations stays. Waits for the running batch and for readers of the stream. Error: 42704 there is no such expectation.';

CREATE VIEW weir.expectation_stats WITH (security_barrier) AS
WITH p AS (
    SELECT stream, sum(staged + duplicate)::bigint AS judged FROM weir_internal.stream_partition GROUP BY stream
), f AS (
    SELECT stream, name, sum(failed)::bigint AS failed, sum(kept)::bigint AS kept, max(last_failed_at) AS last_failed_at
    FROM weir_internal.expectation_failure GROUP BY stream, name
)
SELECT n.nspname AS stream_schema, c.relname AS stream, e.name,
       pg_catalog.pg_get_expr(k.conbin, k.conrelid) AS expression, e.on_violation,
       greatest(coalesce(p.judged, 0) - e.judged_before - coalesce(f.kept, 0), 0) AS passed,
       coalesce(f.failed, 0) AS failed,
       f.last_failed_at, l.partition AS last_failed_partition, l.last_failed_offset, e.created_at
FROM weir_internal.expectation e
JOIN pg_catalog.pg_class c ON c.oid = e.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.conname = e.name AND k.contype = 'c'
LEFT JOIN p ON p.stream = e.stream
LEFT JOIN f ON f.stream = e.stream AND f.name = e.name
LEFT JOIN LATERAL (
    SELECT x.partition, x.last_failed_offset FROM weir_internal.expectation_failure x
    WHERE x.stream = e.stream AND x.name = e.name ORDER BY x.last_failed_at DESC, x.last_failed_offset DESC LIMIT 1) l ON true
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.expectation_stats IS
'The expectations of streams whose owner''s rights the reader has, and how often they were met. passed: events accepted since created_at that satisfy it; failed: those that do not, or raise an error, and when and where the last one was. Replays are not counted; neither is what stops a stream, as its batch is not applied. An event that one expectation refuses is not judged by the others: the order is stop, dead_letter, drop, keep, then by name. A seek with reset starts the counts anew.';

CREATE VIEW weir.expectation_changes WITH (security_barrier) AS
SELECT n.nspname AS stream_schema, c.relname AS stream, x.name, x.change, x.expression, x.on_violation,
       x.offsets, x.changed_at, x.changed_by
FROM weir_internal.expectation_change x
JOIN pg_catalog.pg_class c ON c.oid = x.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.expectation_changes IS
'When expectations were created, altered and dropped, by which session user, and up to which offset of each partition (offsets: partition to offset) events had been judged by then.';

-- Ready-made conditions: each returns the text of an expression, to be read,
-- joined with others by AND, and given to weir.expect.

CREATE FUNCTION weir.is_valid_format(value text, format text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_is_valid_format';
COMMENT ON FUNCTION weir.is_valid_format(text, text) IS
'Is the value an email address (as HTML forms take it), a url (with a scheme and a host), a uuid (with hyphens), an ip address (version 4 or 6, no mask), or an iso8601 date or date and time? Error: 22023 another format.';

CREATE FUNCTION weir.json_schema_valid(schema jsonb, value jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_json_schema_valid';
COMMENT ON FUNCTION weir.json_schema_valid(jsonb, jsonb) IS
'Is the value valid by a JSON Schema (2020-12, and an array in items as before it)? format and unknown keywords are annotations and ignored; $ref leads within the schema; patterns are PostgreSQL''s regular expressions. Errors: 22023 not a schema, 0A000 $dynamicRef, $recursiveRef, dependencies, dependentSchemas, unevaluatedItems, unevaluatedProperties, or a $ref out of the schema.';

CREATE FUNCTION weir_internal.literal(value anyelement) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN value::text ~ '^-?[0-9]+(\.[0-9]+)?$' AND pg_typeof(value)::oid = ANY ('{20,21,23,700,701,1700}')
              THEN value::text ELSE quote_literal(value::text) END $$;
COMMENT ON FUNCTION weir_internal.literal(anyelement) IS 'a value as SQL: a number as it is, others in quotes';

CREATE FUNCTION weir_internal.need(parameter text, given boolean, what_not text DEFAULT 'must not be null') RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF given IS NOT TRUE THEN
        RAISE null_value_not_allowed USING MESSAGE = format('parameter "%s" %s', parameter, what_not);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION weir_internal.need(text, boolean, text) IS 'raises an error for a parameter that is not given';

CREATE FUNCTION weir_internal.need_operator(operator text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF operator IN ('<', '<=', '=', '<>', '>=', '>') THEN
        RETURN true;
    END IF;
    RAISE invalid_parameter_value USING MESSAGE = format('invalid value for parameter "operator": %L', operator),
        HINT = 'It must be <, <=, =, <>, >= or >.';
END
$$;
COMMENT ON FUNCTION weir_internal.need_operator(text) IS 'raises an error for what is no comparison';

CREATE FUNCTION weir.not_null(column_name name) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%I IS NOT NULL', column_name) WHERE weir_internal.need('column_name', column_name IS NOT NULL) $$;
COMMENT ON FUNCTION weir.not_null(name) IS 'Condition for weir.expect: the column is not NULL.';

CREATE FUNCTION weir.not_missing(column_name name, missing_values text[] DEFAULT '{}') RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%1$I IS NOT NULL AND btrim(%1$I::text) <> ALL (%2$L::text[])', column_name, array_append(missing_values, ''))
      WHERE weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('missing_values', missing_values IS NOT NULL) $$;
COMMENT ON FUNCTION weir.not_missing(name, text[]) IS
'Condition for weir.expect: the column is not NULL, not empty or blank, and none of missing_values (such as N/A).';

CREATE FUNCTION weir.accepted_values(column_name name, accepted text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%I IN (%s)', column_name, string_agg(quote_literal(v), ', ' ORDER BY i)) FROM unnest(accepted) WITH ORDINALITY u (v, i)
      HAVING weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('accepted', count(v) > 0 AND count(v) = count(*), 'must have values, and no NULL') $$;
COMMENT ON FUNCTION weir.accepted_values(name, text[]) IS
'Condition for weir.expect: the column has one of these values, or is NULL. Error: 22004 no value, or NULL among them.';

CREATE FUNCTION weir.accepted_range(column_name name, min_value anycompatible, max_value anycompatible, inclusive boolean DEFAULT true)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT string_agg(format('%I %s%s %s', column_name, sign, CASE WHEN inclusive THEN '=' END, bound), ' AND ' ORDER BY sign DESC)
      FROM (VALUES ('>', weir_internal.literal(min_value)), ('<', weir_internal.literal(max_value))) v (sign, bound)
      WHERE bound IS NOT NULL
      HAVING weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('inclusive', inclusive IS NOT NULL)
         AND weir_internal.need('min_value', count(*) > 0, 'must not be null where "max_value" is') $$;
COMMENT ON FUNCTION weir.accepted_range(name, anycompatible, anycompatible, boolean) IS
'Condition for weir.expect: the column is from min_value to max_value (one of them may be NULL), or between them without inclusive, or NULL.';

CREATE FUNCTION weir.matches_regex(column_name name, pattern text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%I ~ %L', column_name, pattern)
      WHERE weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('pattern', pattern IS NOT NULL) $$;
COMMENT ON FUNCTION weir.matches_regex(name, text) IS
'Condition for weir.expect: the text matches a regular expression of PostgreSQL''s somewhere (anchor it with ^ and $), or is NULL.';

CREATE FUNCTION weir.value_length(column_name name, min_length int DEFAULT NULL, max_length int DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT string_agg(format('char_length(%I) %s %s', column_name, sign, bound), ' AND ' ORDER BY sign DESC)
      FROM (VALUES ('>=', min_length), ('<=', max_length)) v (sign, bound)
      WHERE bound IS NOT NULL
      HAVING weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('min_length', count(*) > 0, 'must not be null where "max_length" is') $$;
COMMENT ON FUNCTION weir.value_length(name, int, int) IS
'Condition for weir.expect: the text has from min_length to max_length characters (one of them may be NULL), or is NULL.';

CREATE FUNCTION weir.valid_format(column_name name, format text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('weir.is_valid_format(%I, %L)', column_name, valid_format.format)
      WHERE weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('format', valid_format.format IS NOT NULL)
        AND weir.is_valid_format('', valid_format.format) IS NOT NULL $$;
COMMENT ON FUNCTION weir.valid_format(name, text) IS
'Condition for weir.expect: the text is an email, url, uuid, ip or iso8601 (weir.is_valid_format says what these are), or NULL. Error: 22023 another format.';

CREATE FUNCTION weir.json_schema(column_name name, schema jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('weir.json_schema_valid(%L::pg_catalog.jsonb, %I::pg_catalog.jsonb)', schema, column_name)
      WHERE weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('schema', schema IS NOT NULL)
        AND weir.json_schema_valid(schema, 'null') IS NOT NULL $$;
COMMENT ON FUNCTION weir.json_schema(name, jsonb) IS
'Condition for weir.expect: the JSON is as a JSON Schema says, or NULL. Errors as for weir.json_schema_valid.';

CREATE FUNCTION weir.column_pair(column_a name, operator text, column_b name) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%I %s %I', column_a, operator, column_b)
      WHERE weir_internal.need('column_a', column_a IS NOT NULL) AND weir_internal.need('column_b', column_b IS NOT NULL)
        AND weir_internal.need_operator(operator) $$;
COMMENT ON FUNCTION weir.column_pair(name, text, name) IS
'Condition for weir.expect: two columns compare as the operator says (<, <=, =, <>, >=, >), or one is NULL. Error: 22023 another operator.';

CREATE FUNCTION weir.event_time_bounds(column_name name, max_age interval DEFAULT NULL, max_future interval DEFAULT NULL, reference name DEFAULT '_timestamp')
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT string_agg(format('%I %s %I %s %L::pg_catalog.interval', column_name, sign, reference, direction, bound), ' AND ' ORDER BY sign DESC)
      FROM (VALUES ('>=', '-', max_age), ('<=', '+', max_future)) v (sign, direction, bound)
      WHERE bound IS NOT NULL
      HAVING weir_internal.need('column_name', column_name IS NOT NULL) AND weir_internal.need('reference', reference IS NOT NULL)
         AND weir_internal.need('max_age', count(*) > 0, 'must not be null where "max_future" is') $$;
COMMENT ON FUNCTION weir.event_time_bounds(name, interval, interval, name) IS
'Condition for weir.expect: the time is at most max_age before and at most max_future after the column reference, by default Kafka''s timestamp (one of them may be NULL), or one of the columns is NULL.';

CREATE FUNCTION weir.expression(expression text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format(E'(%s\n)', expression) $$;
COMMENT ON FUNCTION weir.expression(text) IS 'Condition for weir.expect: any SQL boolean, in parentheses.';
