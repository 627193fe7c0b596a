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
