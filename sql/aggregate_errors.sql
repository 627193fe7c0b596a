-- Errors that no event is to blame for: the group's window becomes a row of
-- NULLs, weir.aggregate_errors has the error, all else goes on.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SCHEMA ae;
SET search_path = ae, public;

CREATE FUNCTION combine(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF $1 + $2 > 1000 THEN RAISE 'too much' USING ERRCODE = '22000'; END IF;
    RETURN $1 + $2;
END $$;
CREATE FUNCTION finish(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF $1 = 13 THEN RAISE 'unlucky'; END IF;
    RETURN $1;
END $$;
CREATE AGGREGATE fussy(int) (sfunc = int4pl, stype = int, initcond = '0', combinefunc = combine, finalfunc = finish);

SELECT weir.create_stream('e', 'ts timestamptz, g text, a float8, b int', event_time => 'ts', max_out_of_orderness => '5 seconds');
-- combining raises it, in the end and for all groups; coalesce must not hide it, nor must HAVING
SELECT weir.create_continuous_aggregate('overflow',
    'SELECT g, sum(a) AS s, count(*) AS c, coalesce(max(a), 0) AS m FROM e GROUP BY g HAVING sum(a) > 0', weir.tumble('1 minute'));
SELECT weir.create_continuous_aggregate('total', 'SELECT sum(a) AS s FROM e');
-- a combine function of the user's, and a final function
SELECT weir.create_continuous_aggregate('users', 'SELECT g, fussy(b) AS f, count(*) AS c FROM e GROUP BY g',
    weir.hop('1 minute', '30 seconds'));
-- an expression over aggregates: those that HAVING leaves out are not computed
SELECT weir.create_continuous_aggregate('ratio',
    'SELECT g, 12 / sum(b) AS r, count(*) AS c FROM e GROUP BY g HAVING max(b) < 8', weir.tumble('1 minute'));
-- one over the key alone, and a key that no column shows
SELECT weir.create_continuous_aggregate('of_key', 'SELECT 12 / b AS r, count(*) AS c FROM e GROUP BY b, upper(g)',
    weir.session('10 seconds'));

SELECT accepted, dead_lettered FROM weir.ingest('e', ARRAY[
    '{"ts": "2026-01-01T00:00:01Z", "g": "x", "a": 1e308, "b": 1}',
    '{"ts": "2026-01-01T00:00:02Z", "g": "y", "a": 1, "b": 600}',
    '{"ts": "2026-01-01T00:00:03Z", "g": "zero", "a": 1, "b": 0}',
    '{"ts": "2026-01-01T00:00:03Z", "g": "left out", "a": 1, "b": 8}']);
SELECT accepted, dead_lettered FROM weir.ingest('e', ARRAY[
    '{"ts": "2026-01-01T00:00:04Z", "g": "x", "a": 1e308, "b": 2}',
    '{"ts": "2026-01-01T00:00:04Z", "g": "y", "a": 5, "b": 601}',
    '{"ts": "2026-01-01T00:00:05Z", "g": "w", "a": 2, "b": 13}',
    '{"ts": "2026-01-01T00:00:05Z", "g": "left out", "a": -9, "b": -8}']);

-- Open windows show it.
SELECT g, s, c, m, is_final FROM overflow ORDER BY g;
SELECT s FROM total;
SELECT window_start, g, f, c FROM users ORDER BY 1, 2;
CREATE VIEW errors AS
SELECT aggregate, window_start, window_end, group_key, sqlstate, message, seen_at BETWEEN now() - interval '1 hour' AND clock_timestamp() AS seen
FROM weir.aggregate_errors WHERE aggregate_schema = 'ae' ORDER BY aggregate, window_start, group_key::text;
SELECT * FROM errors;
-- An expression over aggregates raises its error while its window is open, as the plain query does.
SELECT * FROM ratio;

-- Closing keeps it, and loses nothing.
SELECT accepted, dead_lettered FROM weir.ingest('e', ARRAY['{"ts": "2026-01-01T00:05:00Z", "g": "x", "a": 1, "b": 2}']);
SELECT count(*) FROM weir.dead_letters WHERE stream = 'e';
SELECT g, s, c, m, is_final FROM overflow ORDER BY window_start, g;
SELECT window_start, g, f, c, is_final FROM users ORDER BY 1, 2;
SELECT g, r, c, is_final FROM ratio ORDER BY window_start, g;
SELECT window_start, r, c, is_final FROM of_key ORDER BY window_start, r, c;
SELECT * FROM errors;

-- Groups in error are left out of what is verified; the others are right.
SELECT a::text, (SELECT count(*) FROM weir.verify(a)) AS differences
FROM unnest(ARRAY['overflow', 'total', 'users', 'ratio', 'of_key']::regclass[]) a;

-- An error stays with its window once states are merged, whatever comes later: what would be without it, nobody knows.
SELECT accepted FROM weir.ingest('e', ARRAY['{"ts": "2026-01-01T00:05:01Z", "g": "y", "a": 1, "b": 600}']);
SELECT accepted FROM weir.ingest('e', ARRAY['{"ts": "2026-01-01T00:05:02Z", "g": "y", "a": 1, "b": 600}']);
SELECT sum(accepted) FROM generate_series(1, 20) i, weir.ingest('e', format('{"ts": "2026-01-01T00:05:04Z", "g": "z", "a": %s, "b": 1}', i));
SELECT accepted FROM weir.ingest('e', ARRAY['{"ts": "2026-01-01T00:05:03Z", "g": "y", "a": 1, "b": -600}']);
SELECT window_start, g, f, c FROM users WHERE NOT is_final ORDER BY 1, 2;

-- Only the owner sees them.
CREATE ROLE ae_other;
SET ROLE ae_other;
SELECT count(*) FROM weir.aggregate_errors;
SELECT count(*) FROM weir_internal.errors_of('ae.overflow');
RESET ROLE;
GRANT USAGE ON SCHEMA ae TO ae_other;
SET ROLE ae_other;
SELECT count(*) FROM weir_internal.errors_of('ae.overflow');
RESET ROLE;
DROP OWNED BY ae_other;
DROP ROLE ae_other;

-- A stream goes to another owner: so does all that is derived from it.
CREATE ROLE ae_owner;
GRANT CREATE, USAGE ON SCHEMA ae TO ae_owner;
ALTER TABLE e OWNER TO ae_owner;
SELECT DISTINCT pg_get_userbyid(c.relowner) AS owner
FROM weir_internal.continuous_aggregate a, pg_class c
WHERE a.stream = 'e'::regclass AND c.oid IN (a.view, a.query, a.states, a.finish, a.results);
SET ROLE ae_owner;
SELECT accepted FROM weir.ingest('e', ARRAY['{"ts": "2026-01-01T00:07:00Z", "g": "x", "a": 1, "b": 2}']);
SELECT g, s, c, is_final FROM overflow WHERE window_start >= '2026-01-01 00:05Z' ORDER BY window_start, g;
SELECT count(*) FROM weir.aggregate_errors WHERE aggregate = 'overflow';
RESET ROLE;

-- A superuser makes one over the stream of another: it is the other's.
SELECT weir.create_continuous_aggregate('superusers', 'SELECT g, count(*) AS c FROM e GROUP BY g', weir.tumble('1 minute'));
SELECT DISTINCT pg_get_userbyid(c.relowner) AS owner
FROM weir_internal.continuous_aggregate a, pg_class c
WHERE a.view = 'superusers'::regclass AND c.oid IN (a.view, a.query, a.states, a.finish, a.results);
SET ROLE ae_owner;
SELECT accepted FROM weir.ingest('e', ARRAY['{"ts": "2026-01-01T00:08:10Z", "g": "x", "a": 1, "b": 2}']);
SELECT * FROM superusers WHERE window_start >= '2026-01-01 00:05Z' ORDER BY window_start, g;
RESET ROLE;

-- View, results and stream may be renamed and moved.
CREATE SCHEMA ae2;
GRANT USAGE ON SCHEMA ae2 TO ae_owner;
ALTER VIEW overflow RENAME TO "Over";
ALTER VIEW "Over" SET SCHEMA ae2;
ALTER TABLE overflow_results RENAME TO "over results";
ALTER TABLE "over results" SET SCHEMA ae2;
ALTER TABLE e RENAME TO "Events";
ALTER TABLE "Events" RENAME COLUMN a TO "The a";
ALTER TABLE "Events" SET SCHEMA ae2;
SELECT accepted FROM weir.ingest('ae2."Events"', ARRAY['{"ts": "2026-01-01T00:09:00Z", "g": "x", "The a": 1, "b": 2}']);
SELECT g, s, c, is_final FROM ae2."Over" WHERE window_start >= '2026-01-01 00:05Z' ORDER BY window_start, g;
SELECT aggregate_schema, aggregate, group_key FROM weir.aggregate_errors WHERE aggregate = 'Over';
SELECT * FROM weir.verify('ae2."Over"');

-- The name of the results is taken.
CREATE TABLE taken_results ();
SELECT weir.create_continuous_aggregate('taken', 'SELECT g, count(*) AS c FROM ae2."Events" GROUP BY g', weir.tumble('1 minute'));

-- While backfilling there is no dead letter to make: an error aborts the creation, and says which event is to blame.
SELECT weir.create_stream('divisions', 'a int, b int, ts timestamptz', event_time => 'ts');
SELECT accepted FROM weir.ingest('divisions', ARRAY(
    SELECT format('{"a": %s, "b": %s, "ts": "2026-01-01T00:00:00Z"}', i, (i <> 13)::int) FROM generate_series(0, 20) i));
SELECT weir.create_continuous_aggregate('quotients', 'SELECT sum(a / b) FROM divisions');

DROP SCHEMA ae, ae2 CASCADE;
DROP OWNED BY ae_owner;
DROP ROLE ae_owner;
