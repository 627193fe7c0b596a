-- Checks on tables: definitions, results, and what is said about both.

CREATE TABLE weir_internal.check_definition (
    name text PRIMARY KEY,
    owner regrole NOT NULL,                     -- whose rights it is run with
    target regclass NOT NULL,
    kind text NOT NULL,
    params jsonb NOT NULL,
    severity text NOT NULL,
    schedule text,                              -- cron expression, UTC
    filter text,
    group_by text[],
    mostly float8,
    warn_if text,
    error_if text,
    tags text[] NOT NULL,
    enabled boolean NOT NULL,
    search_path text NOT NULL,                  -- of when it was created
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    scheduled_at timestamptz NOT NULL DEFAULT clock_timestamp()     -- its schedule has been seen to up to then
);
CREATE INDEX ON weir_internal.check_definition (target);
COMMENT ON TABLE weir_internal.check_definition IS 'checks on tables';
-- Dumped: the user's definitions.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.check_definition', '');

CREATE SEQUENCE weir_internal.check_run;
COMMENT ON SEQUENCE weir_internal.check_run IS 'numbers of runs of checks';
-- Dumped: numbers that it gave are in use.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.check_run', '');

-- Rows come and are purged; none changes.
CREATE TABLE weir_internal.check_result (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint,
    check_name text,                            -- NULL, as run_id: tried, not stored
    owner regrole NOT NULL,
    target regclass NOT NULL,
    column_name text,
    status text NOT NULL,
    observed text,
    expected text,
    failed_rows bigint,
    total_rows bigint,
    sample jsonb,
    sample_of oid[] NOT NULL,                   -- relations that the sample's rows are of
    duration interval NOT NULL,
    run_at timestamptz NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL,
    group_key jsonb,
    sqlstate text,
    message text
);
CREATE INDEX ON weir_internal.check_result (check_name, id);
CREATE INDEX ON weir_internal.check_result (target);
CREATE INDEX ON weir_internal.check_result (run_at);
COMMENT ON TABLE weir_internal.check_result IS 'results of checks, of every run';
-- Dumped: the history; its sequence with it.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.check_result', '');
SELECT pg_catalog.pg_extension_config_dump('weir_internal.check_result_id_seq', '');

-- Asked of the reader, by the view.
CREATE FUNCTION weir_internal.visible_sample(sample jsonb, target oid, sample_of oid[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT bool_and(coalesce(has_table_privilege(o, 'SELECT'), false)) FROM unnest(sample_of) o) THEN
        RETURN sample;
    ELSIF sample_of <> ARRAY[target] THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT jsonb_agg(s.shown) FILTER (WHERE s.shown IS NOT NULL) FROM (
        SELECT (SELECT jsonb_object_agg(f.key, f.value) FROM jsonb_each(r) f
                JOIN pg_attribute a ON a.attrelid = target AND a.attname = f.key AND a.attnum > 0 AND NOT a.attisdropped
                WHERE has_column_privilege(target, a.attnum, 'SELECT')) AS shown
        FROM jsonb_array_elements(sample) r WHERE jsonb_typeof(r) = 'object') s);
END
$$;
COMMENT ON FUNCTION weir_internal.visible_sample(jsonb, oid, oid[]) IS
'what the caller may see of sampled rows: all of them with SELECT on the tables they are of, else the columns he may read';

CREATE VIEW weir.check_results WITH (security_barrier) AS
SELECT r.run_id, r.check_name, r.target, r.column_name, r.status,
       CASE WHEN v.inside THEN r.observed END AS observed, r.expected, r.failed_rows, r.total_rows,
       CASE WHEN v.inside THEN weir_internal.visible_sample(r.sample, r.target, r.sample_of) END AS sample,
       r.duration, r.run_at, r.kind, r.severity,
       CASE WHEN v.inside THEN r.group_key END AS group_key, r.sqlstate,
       CASE WHEN v.inside THEN r.message END AS message
FROM weir_internal.check_result r
CROSS JOIN LATERAL (
    -- The owner may see what he was shown.  Others: where they could have asked
    -- the same of the table, and no policy or view keeps rows from them.
    SELECT pg_catalog.pg_has_role(r.owner, 'USAGE')
        OR r.kind <> 'custom_sql' AND r.sqlstate IS NULL
           AND coalesce(pg_catalog.has_table_privilege(r.target, 'SELECT'), false)
           AND NOT pg_catalog.row_security_active(r.target)
           AND (SELECT c.relkind IN ('r', 'p', 'm') FROM pg_catalog.pg_class c WHERE c.oid = r.target::oid)
) v (inside)
WHERE pg_catalog.pg_has_role(r.owner, 'USAGE')
   OR coalesce(pg_catalog.has_any_column_privilege(r.target, 'SELECT'), false);
COMMENT ON VIEW weir.check_results IS
'Results of checks, of every run, one row a check and group: status (pass, warn, fail, error: it could not be run, skipped: there is too little to judge by); what was observed and expected; how many rows fail of how many; a sample of rows that fail; how long it took; the group with group_by; SQLSTATE and message of an error, or why it was skipped. Shown to those who have the rights of the check''s owner, or may read the target; values (observed, sample, group_key, message) to others than the owner only where he may read the whole table without row-level security; the sample never without SELECT on what it shows. Rows leave by weir.purge_check_results alone.';

CREATE VIEW weir.checks WITH (security_barrier) AS
SELECT d.name, d.owner, d.target, d.kind, d.params, d.severity, d.schedule, d.filter, d.group_by, d.mostly, d.warn_if,
       d.error_if, d.tags, d.enabled, d.created_at
FROM weir_internal.check_definition d
WHERE pg_catalog.pg_has_role(d.owner, 'USAGE');
COMMENT ON VIEW weir.checks IS 'The checks whose owner''s rights the reader has, as weir.create_check was told.';

-- A check with groups counts once, as the worst of them.
CREATE VIEW weir_internal.check_outcome AS
SELECT r.check_name, r.run_id, r.target, r.owner, max(r.run_at) AS run_at,
       CASE WHEN bool_or(r.status = 'error') THEN 'error' WHEN bool_or(r.status = 'fail') THEN 'fail'
            WHEN bool_or(r.status = 'warn') THEN 'warn' WHEN bool_or(r.status = 'pass') THEN 'pass' ELSE 'skipped' END AS status
FROM weir_internal.check_result r
GROUP BY r.check_name, r.run_id, r.target, r.owner;
COMMENT ON VIEW weir_internal.check_outcome IS 'what came of each check in each run, all groups together';

CREATE VIEW weir.quality WITH (security_barrier) AS
SELECT o.target, count(*) AS checks,
       count(*) FILTER (WHERE o.status = 'pass') AS passed, count(*) FILTER (WHERE o.status = 'warn') AS warned,
       count(*) FILTER (WHERE o.status = 'fail') AS failed, count(*) FILTER (WHERE o.status = 'error') AS errors,
       count(*) FILTER (WHERE o.status = 'skipped') AS skipped,
       round(100 * (count(*) FILTER (WHERE o.status = 'pass') + 0.5 * count(*) FILTER (WHERE o.status = 'warn'))
             / nullif(count(*) FILTER (WHERE o.status <> 'skipped'), 0), 1) AS score,
       array_agg(o.check_name ORDER BY o.check_name) FILTER (WHERE o.status IN ('warn', 'fail', 'error')) AS failing,
       max(o.run_at) AS last_run_at
FROM (SELECT DISTINCT ON (c.check_name) c.* FROM weir_internal.check_outcome c
      JOIN weir_internal.check_definition d ON d.name = c.check_name AND d.target = c.target AND d.enabled
      ORDER BY c.check_name, c.run_id DESC) o
WHERE pg_catalog.pg_has_role(o.owner, 'USAGE') OR coalesce(pg_catalog.has_any_column_privilege(o.target, 'SELECT'), false)
GROUP BY o.target;
COMMENT ON VIEW weir.quality IS
'The present state of each table with checks, as their last runs have it: how many passed, warned, failed, could not be run, were skipped; score: 100 if all pass, a warning counts half, what is skipped does not count; the names of those that did not pass. Shown to those who see the results.';

CREATE VIEW weir.quality_history WITH (security_barrier) AS
SELECT o.target, (o.run_at AT TIME ZONE 'UTC')::date AS day, count(*) AS runs,
       count(*) FILTER (WHERE o.status = 'pass') AS passed, count(*) FILTER (WHERE o.status = 'warn') AS warned,
       count(*) FILTER (WHERE o.status = 'fail') AS failed, count(*) FILTER (WHERE o.status = 'error') AS errors,
       round(100 * (count(*) FILTER (WHERE o.status = 'pass') + 0.5 * count(*) FILTER (WHERE o.status = 'warn'))
             / nullif(count(*) FILTER (WHERE o.status <> 'skipped'), 0), 1) AS score
FROM weir_internal.check_outcome o
WHERE pg_catalog.pg_has_role(o.owner, 'USAGE') OR coalesce(pg_catalog.has_any_column_privilege(o.target, 'SELECT'), false)
GROUP BY o.target, 2;
COMMENT ON VIEW weir.quality_history IS
'The same by day (of UTC), for trends: every run of every check counts.';

-- SQL texts of users: parsed, and run as one role.
CREATE FUNCTION weir_internal.sql_expression(parameter text, sql text) RETURNS text
LANGUAGE C IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'weir_sql_expression';
COMMENT ON FUNCTION weir_internal.sql_expression(text, text) IS 'an SQL expression within parentheses; 42601 if the text is more or less than that';

CREATE FUNCTION weir_internal.sql_select(parameter text, sql text) RETURNS text
LANGUAGE C IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'weir_sql_select';
COMMENT ON FUNCTION weir_internal.sql_select(text, text) IS 'one SELECT without what ends it; 42601 if the text is more or less than that';

CREATE FUNCTION weir_internal.parse_as(role oid, path text, sql text) RETURNS void
LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_parse_as';
COMMENT ON FUNCTION weir_internal.parse_as(oid, text, text) IS 'parses a query of a parameter, a jsonb, as a role would under a search_path; does not run it';

CREATE FUNCTION weir_internal.query_as(role oid, path text, sql text, params jsonb, OUT value jsonb, OUT sqlstate text, OUT message text)
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_query_as';
COMMENT ON FUNCTION weir_internal.query_as(oid, text, text, jsonb) IS
'runs a query that gives one jsonb, as a role, with pg_catalog before the search_path, for at most weir.check_timeout; an error is returned, and undone';
