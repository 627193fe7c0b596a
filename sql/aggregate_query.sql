-- What the queries of continuous aggregates may be, and what becomes of them.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE point3 AS (x int, y float8, z text);
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
SELECT weir.create_stream('events', $$ a int, b int, name text, label text COLLATE nocase, num numeric, f float8, m mood, p percent, pos point3,
    tags text[], ci citext, doc jsonb, ts timestamptz $$, event_time => 'ts');
CREATE TABLE kinds (a int PRIMARY KEY, kind text);
INSERT INTO kinds VALUES (1, 'one'), (2, 'two');
-- Sends events one by one, each with a time of its own.
CREATE TABLE clock AS SELECT '2026-01-01Z'::timestamptz AS at;
CREATE PROCEDURE send(VARIADIC events text[]) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. array_length(events, 1) LOOP
        UPDATE clock SET at = at + interval '1 s';
        PERFORM weir.ingest('events', events[i]::jsonb || jsonb_build_object('ts', clock.at)) FROM clock;
    END LOOP;
END
$$;

--
-- What cannot be maintained is refused, with the way out
--
SELECT weir.create_continuous_aggregate('x', 'SELECT a, b FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT a, row_number() OVER () FROM events GROUP BY a');
SELECT weir.create_continuous_aggregate('x', 'SELECT a FROM events GROUP BY a UNION SELECT a FROM kinds');
SELECT weir.create_continuous_aggregate('x', 'SELECT a, count(*) FROM events GROUP BY a LIMIT 3');
SELECT weir.create_continuous_aggregate('x', 'SELECT a, count(*) FROM events GROUP BY a OFFSET 3');
SELECT weir.create_continuous_aggregate('x', 'SELECT a, count(*) FROM events GROUP BY a ORDER BY a');
SELECT weir.create_continuous_aggregate('x', 'SELECT DISTINCT a, count(*) FROM events GROUP BY a');
SELECT weir.create_continuous_aggregate('x', 'SELECT a, count(*) FROM events GROUP BY ROLLUP (a)');
SELECT weir.create_continuous_aggregate('x', 'SELECT unnest(tags), count(*) FROM events GROUP BY 1');
SELECT weir.create_continuous_aggregate('x', 'SELECT a FROM events GROUP BY a FOR UPDATE');
SELECT weir.create_continuous_aggregate('x', 'WITH RECURSIVE r AS (SELECT 1 AS i UNION SELECT i + 1 FROM r WHERE i < 3) SELECT count(*) FROM events, r');
SELECT weir.create_continuous_aggregate('x', 'WITH d AS (DELETE FROM kinds RETURNING a) SELECT count(*) FROM events JOIN d USING (a)');
SELECT weir.create_continuous_aggregate('x', 'DELETE FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events; SELECT count(*) FROM events');
SELECT weir.create_continuous_aggregate('x', '');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(* FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM kinds');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(nothing) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) INTO y FROM events');
-- where the stream stands
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events e JOIN events f USING (a)');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events WHERE a IN (SELECT a FROM events)');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM (SELECT * FROM events) e');
SELECT weir.create_continuous_aggregate('x', 'WITH e AS (SELECT * FROM events) SELECT count(*) FROM e');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM kinds WHERE a IN (SELECT a FROM events)');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM kinds LEFT JOIN events USING (a)');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events RIGHT JOIN kinds USING (a)');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events FULL JOIN kinds USING (a)');
CREATE VIEW a_view AS SELECT * FROM events;
CREATE VIEW another AS SELECT * FROM a_view;
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM another');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events JOIN another USING (a)');
DROP VIEW a_view, another;
CREATE FUNCTION total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM events';
SELECT weir.create_continuous_aggregate('x', 'SELECT a, count(*) FROM events WHERE total() > 2 GROUP BY a');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events, total()');
DROP FUNCTION total;
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events TABLESAMPLE system (10)');
SELECT weir.create_continuous_aggregate('x', 'SELECT max(ctid) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT tableoid, count(*) FROM events GROUP BY tableoid');
-- what replaying would give otherwise
SELECT weir.create_continuous_aggregate('x', 'SELECT sum(random()) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events WHERE ts > now()');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events WHERE ts > current_timestamp');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FILTER (WHERE ts < clock_timestamp()) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events GROUP BY current_setting(''TimeZone'')');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events WHERE a IN (SELECT (random() * 10)::int)');
-- aggregates that cannot be combined
SELECT weir.create_continuous_aggregate('x', 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY f) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT mode() WITHIN GROUP (ORDER BY a) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT rank(1) WITHIN GROUP (ORDER BY a) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT string_agg(name, '','' ORDER BY a) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT jsonb_agg(a) FROM events');
CREATE AGGREGATE last_of(int) (sfunc = int4larger, stype = int);
SELECT weir.create_continuous_aggregate('x', 'SELECT last_of(a) FROM events');
DROP AGGREGATE last_of(int);
-- columns
SELECT weir.create_continuous_aggregate('x', 'SELECT b + 1, count(*) FROM events GROUP BY a');
SELECT weir.create_continuous_aggregate('x', 'SELECT a, (SELECT max(k.a) FROM kinds k), count(*) FROM events GROUP BY a');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*), count(a) FROM events');
SELECT weir.create_continuous_aggregate('x', 'SELECT doc::json, count(*) FROM events GROUP BY doc::json');
-- parameters
SELECT weir.create_continuous_aggregate(NULL, 'SELECT count(*) FROM events');
SELECT weir.create_continuous_aggregate('x', NULL);
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', allowed_lateness => NULL);
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', weir.tumble('1 s'), allowed_lateness => '-1 s');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', weir.tumble('1 s'), allowed_lateness => '1 month');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', weir.tumble('1 s'), retention => '-1 s');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', allowed_lateness => '1 s');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', retention => '1 day');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM events', ROW('tumble', '-1 s', NULL, NULL, NULL, NULL));
SELECT weir.create_continuous_aggregate('no_schema.x', 'SELECT count(*) FROM events');
SELECT weir.create_continuous_aggregate('kinds', 'SELECT count(*) FROM events');
-- all of it left nothing behind
SELECT count(*) FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname ~ '^aggregate_\d';
SELECT count(*) FROM weir_internal.continuous_aggregate;

--
-- Names
--
CREATE SCHEMA "Other Place";
SELECT weir.create_continuous_aggregate('n_schema', 'SELECT count(*) FROM public.events');
SELECT weir.create_continuous_aggregate('n_only', 'SELECT count(*) FROM ONLY events');
SELECT weir.create_continuous_aggregate('n_alias', 'SELECT count(e.a), max("E"."A") FROM events AS e, LATERAL (SELECT e.a AS "A") "E"');
SELECT weir.create_continuous_aggregate('"Other Place"."N Quoted"', 'SELECT "e v".a AS "A b", count(*) AS "Count" FROM "events" "e v" GROUP BY "e v".a', weir.tumble('1 day'));
SELECT weir.create_continuous_aggregate('n_cte', 'WITH events2 AS (SELECT a AS x FROM kinds) SELECT x, count(*) FROM events JOIN events2 ON x = a GROUP BY x');
SELECT weir.create_continuous_aggregate('n_using', 'SELECT a, kind, count(*) FROM kinds JOIN events USING (a) GROUP BY a, kind');
SELECT weir.create_continuous_aggregate('n_left', 'SELECT k.kind, count(*) FROM events e LEFT JOIN kinds k ON k.a = e.a GROUP BY k.kind');
SELECT weir.create_continuous_aggregate('n_right', 'SELECT k.kind, count(*) FROM kinds k RIGHT JOIN events e ON k.a = e.a GROUP BY k.kind');
SELECT weir.create_continuous_aggregate('n_sub', 'SELECT count(*) FROM events WHERE a IN (SELECT a FROM kinds) AND NOT EXISTS (SELECT FROM kinds k WHERE k.a = events.b)');
SELECT weir.create_continuous_aggregate('n_lateral', 'SELECT t, count(*) FROM events, unnest(tags) t GROUP BY t');
SELECT weir.create_continuous_aggregate('n_row', 'SELECT count(e) AS n, count(e.*), max(e.ts) FROM events e WHERE e IS NOT NULL OR true');
CREATE FUNCTION shown() RETURNS TABLE (what text, value text) LANGUAGE sql AS $$
    SELECT 'schema', n::text FROM n_schema n UNION ALL
    SELECT 'only', n::text FROM n_only n UNION ALL
    SELECT 'alias', n::text FROM n_alias n UNION ALL
    SELECT 'quoted', n::text FROM "Other Place"."N Quoted" n UNION ALL
    SELECT 'cte', n::text FROM n_cte n UNION ALL
    SELECT 'using', n::text FROM n_using n UNION ALL
    SELECT 'left', n::text FROM n_left n UNION ALL
    SELECT 'right', n::text FROM n_right n UNION ALL
    SELECT 'sub', n::text FROM n_sub n UNION ALL
    SELECT 'lateral', n::text FROM n_lateral n UNION ALL
    SELECT 'row', n::text FROM n_row n ORDER BY 1, 2
$$;
CALL send('{"a": 1, "b": 5, "tags": ["x", "y"]}', '{"a": 1, "b": 1}', '{"a": 3, "tags": ["x"]}');
SELECT * FROM shown();
-- in the view, conditions on all group columns and on windows find the same rows
SELECT * FROM "Other Place"."N Quoted" WHERE "A b" = 3;
SELECT * FROM "Other Place"."N Quoted" WHERE "A b" = 3 AND window_start = '2026-01-01Z';
SELECT * FROM "Other Place"."N Quoted" WHERE "A b" = 3 AND window_start > '2026-01-01Z';
SELECT * FROM n_using WHERE a = 1 AND kind = 'one';
-- everything is renamed and moved
ALTER TABLE events RENAME TO happenings;
ALTER TABLE happenings RENAME COLUMN a TO alpha;
ALTER TABLE kinds RENAME TO sorts;
ALTER TABLE sorts RENAME COLUMN a TO s;
ALTER TABLE happenings SET SCHEMA "Other Place";
ALTER TABLE sorts SET SCHEMA "Other Place";
ALTER VIEW n_schema SET SCHEMA "Other Place";
ALTER VIEW "Other Place".n_schema RENAME TO n_moved;
ALTER VIEW "Other Place".n_moved RENAME COLUMN count TO number;
ALTER TABLE "Other Place"."N Quoted_results" RENAME TO closed;
ALTER TABLE "Other Place".happenings ADD COLUMN further int DEFAULT 7;
ALTER TABLE "Other Place".happenings DROP COLUMN doc;
SET search_path = '';
SELECT accepted FROM weir.ingest('"Other Place".happenings', ARRAY['{"alpha": 2, "b": 9, "tags": ["y"], "ts": "2026-01-03T00:00:00Z"}']);
SELECT accepted FROM weir.ingest('"Other Place".happenings', ARRAY['{"alpha": 2, "b": 9, "ts": "2026-01-04T00:00:00Z"}']);
RESET search_path;
SELECT * FROM "Other Place".n_moved;
CREATE OR REPLACE VIEW n_schema AS SELECT number AS count FROM "Other Place".n_moved;
SELECT * FROM shown();
DROP VIEW n_schema;
-- a temporary table of the same name changes nothing
CREATE TEMP TABLE happenings (alpha int);
SELECT accepted FROM weir.ingest('"Other Place".happenings', ARRAY['{"alpha": 4, "ts": "2026-01-05T00:00:00Z"}']);
SELECT * FROM "Other Place".n_moved;
DROP TABLE happenings;
ALTER TABLE "Other Place".happenings SET SCHEMA public;
ALTER TABLE "Other Place".sorts SET SCHEMA public;
ALTER TABLE happenings RENAME TO events;
ALTER TABLE events RENAME COLUMN alpha TO a;

--
-- Drops
--
-- (names inside have numbers)
\set VERBOSITY terse
DROP TABLE events;
DROP TABLE sorts;
ALTER TABLE events DROP COLUMN tags;
ALTER TABLE events ALTER COLUMN a TYPE bigint;
ALTER TABLE events DROP COLUMN tags CASCADE;
SELECT to_regclass('n_lateral') IS NULL AS gone;
CREATE VIEW on_top AS SELECT * FROM n_using;
SELECT weir.drop('n_using');
DROP VIEW n_using CASCADE;
SELECT to_regclass('on_top') IS NULL AS gone;
DROP TABLE sorts CASCADE;
DROP SCHEMA "Other Place" CASCADE;
SELECT relname FROM pg_class WHERE relname ~ '^n_' ORDER BY relname;
SELECT count(*) FROM weir_internal.continuous_aggregate;
BEGIN;
DROP VIEW n_only;
SELECT send FROM (SELECT accepted AS send FROM weir.ingest('events', '{"a": 1, "ts": "2026-01-06T00:00:00Z"}'::text)) s;
ROLLBACK;
SELECT * FROM n_only;
SELECT weir.drop('n_only');
DROP TABLE events CASCADE;
SELECT count(*) FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname ~ '^aggregate_\d';

--
-- Expressions
--
SELECT weir.create_stream('events', $$ a int, b int, name text, label text COLLATE nocase, num numeric, f float8, m mood, p percent, pos point3,
    tags text[], ci citext, doc jsonb, ts timestamptz $$, event_time => 'ts');
SELECT weir.create_continuous_aggregate('e_expressions',
    'SELECT a % 2 AS odd, (a % 2) * 10 AS ten, upper(name) || ''!'' AS loud, count(*), sum(b) FILTER (WHERE b > 1) AS big,
        CASE WHEN count(b) > 1 THEN max(b) - min(b) END AS span, coalesce(sum(b), 0)::float8 / count(*) AS mean
    FROM events GROUP BY a % 2, upper(name)');
SELECT weir.create_continuous_aggregate('e_no_aggregate', 'SELECT a FROM events GROUP BY a');
SELECT weir.create_continuous_aggregate('e_constant', 'SELECT 1 AS one, count(*) FROM events GROUP BY 1');
SELECT weir.create_continuous_aggregate('e_hidden_key', 'SELECT count(*) FROM events GROUP BY a');
SELECT weir.create_continuous_aggregate('e_having', 'SELECT a, sum(b) FROM events GROUP BY a HAVING sum(b) > 2', weir.tumble('1 day'));
SELECT weir.create_continuous_aggregate('e_nothing', 'SELECT count(*) FROM events WHERE false');
CALL send('{"a": 1, "b": 1, "name": "x"}', '{"a": 3, "b": 2, "name": "X"}', '{"a": 2, "name": null}', '{"b": 4}', '{"a": 1, "b": 2}');
SELECT * FROM e_expressions ORDER BY 1, 3;
SELECT * FROM e_no_aggregate ORDER BY a;
SELECT * FROM e_constant;
SELECT * FROM e_hidden_key ORDER BY 1;
SELECT a, sum FROM e_having ORDER BY a;
SELECT * FROM e_nothing;
-- HAVING is applied on reading, in closed windows too: NULL is not true
SELECT accepted FROM weir.ingest('events', '{"a": 9, "b": 9, "ts": "2026-01-02T00:00:00Z"}'::text);
SELECT a, sum, is_final FROM e_having ORDER BY a;
SELECT count(*) FROM e_having_results;
DROP VIEW e_expressions, e_no_aggregate, e_constant, e_hidden_key, e_having, e_nothing;

--
-- Keys of all kinds
--
UPDATE clock SET at = '2026-02-01Z';
SELECT weir.create_continuous_aggregate('k_' || k, format('SELECT %s AS k, count(*) FROM events GROUP BY 1', e), weir.tumble('1 day'), backfill => false)
FROM (VALUES ('num', 'num'), ('label', 'label'), ('mood', 'm'), ('domain', 'p'), ('row', 'pos'), ('array', 'tags'), ('citext', 'ci'), ('jsonb', 'doc'),
    ('float', 'f'), ('range', 'tstzrange(date_trunc(''hour'', ts), NULL)'), ('interval', 'make_interval(hours => a)'), ('moods', 'ARRAY[m]'),
    ('char', 'name::char(3)'), ('none', 'NULL::int')) v (k, e);
CALL send('{"num": 1, "label": "Ann", "m": "ok", "p": 1, "pos": "(1,0.1,z)", "tags": ["a", null], "ci": "X", "doc": {"a": 1, "b": [2]}, "f": 0, "a": 24, "name": "a"}',
    '{"num": "1.00", "label": "ANN", "m": "ok", "p": 1, "pos": "(1,0.1,z)", "tags": ["a", null], "ci": "x", "doc": {"b": [2.0], "a": 1.0}, "f": "-0", "a": 24, "name": "a  "}',
    '{"num": "NaN", "label": "bob", "m": "happy", "p": 2, "pos": "(1,0.30000000000000004,)", "tags": [], "ci": "y", "doc": null, "f": "NaN", "a": 25, "name": "b"}',
    '{"num": "NaN", "label": "bob", "f": "NaN", "pos": "(1,0.30000000000000004,)", "tags": []}',
    '{}');
CREATE FUNCTION keys() RETURNS TABLE (what text, k text, count bigint, is_final boolean) LANGUAGE plpgsql AS $$
DECLARE
    v name;
BEGIN
    FOR v IN SELECT relname FROM pg_class WHERE relname ~ '^k_' AND relkind = 'v' ORDER BY relname LOOP
        RETURN QUERY EXECUTE format('SELECT %L, k::text, count, is_final FROM %I ORDER BY k', v, v);
    END LOOP;
END
$$;
SELECT * FROM keys();
-- settings of who sends and who reads do not matter to what is kept
SET extra_float_digits = -3;
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET timezone = 'Asia/Kolkata';
CALL send('{"pos": "(1,0.30000000000000004,)", "a": -25}');
RESET extra_float_digits;
SET datestyle = 'SQL, MDY';
SET timezone = 'UTC';
SELECT * FROM k_range ORDER BY k;
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SELECT k, count FROM k_row ORDER BY k;
SELECT k, count FROM k_interval ORDER BY k;
-- conditions find groups by what is equal, under whichever collation
SELECT k, count FROM k_num WHERE k = 1.000;
SELECT k, count FROM k_label WHERE k = 'aNN';
SELECT k, count FROM k_label WHERE k = 'aNN' COLLATE "C";
SELECT k, count FROM k_citext WHERE k = 'x';
SELECT k, count FROM k_float WHERE k = '-0';
SELECT k, count FROM k_mood WHERE k = 'happy';
SELECT k, count FROM k_row WHERE k = ROW(1, 0.1, 'z')::point3;
SELECT k, count FROM k_domain WHERE k = 2;
SELECT weir.create_continuous_aggregate('by_name', 'SELECT name, count(*) FROM events GROUP BY name');
SELECT * FROM by_name WHERE name = 'B' COLLATE nocase;
SELECT * FROM by_name WHERE name = 'B';
SELECT * FROM by_name WHERE name = 'b';
SELECT * FROM by_name WHERE name IS NULL;
-- values may be added to a type
ALTER TYPE mood ADD VALUE 'wild';
CALL send('{"m": "ok"}', '{"m": "wild"}');
SELECT k, count FROM k_mood ORDER BY k;
-- keys longer than an index takes
SELECT weir.create_continuous_aggregate('long_keys', 'SELECT name, count(*) FROM events WHERE length(name) > 99 GROUP BY name', weir.tumble('1 day'));
CREATE TABLE long AS SELECT string_agg(md5(i::text), '') AS name FROM generate_series(1, 400) i;
SELECT sum(accepted) FROM (SELECT name FROM long UNION ALL SELECT name || 'x' FROM long UNION ALL SELECT name FROM long) l,
    weir.ingest('events', jsonb_build_object('name', name, 'ts', '2026-02-01 12:00:00Z'::timestamptz));
SELECT length(name), count, is_final FROM long_keys ORDER BY 1;
-- all of it in closed windows
SELECT accepted FROM weir.ingest('events', '{"a": 9, "ts": "2026-02-02T00:00:00Z"}'::text);
SELECT length(name), count, is_final FROM long_keys ORDER BY 1;
SELECT * FROM keys() WHERE is_final;
DROP TABLE events CASCADE;
DROP TABLE long;

--
-- Rights
--
CREATE ROLE weir_maker;
CREATE ROLE weir_reader;
GRANT CREATE, USAGE ON SCHEMA public TO weir_maker;
GRANT USAGE ON SCHEMA public TO weir_reader;
SET ROLE weir_maker;
SELECT weir.create_stream('mine', 'a int, ts timestamptz', event_time => 'ts');
SELECT weir.create_continuous_aggregate('mine_1m', 'SELECT a, count(*) FROM mine GROUP BY a', weir.tumble('1 minute'));
SELECT accepted FROM weir.ingest('mine', ARRAY['{"a": 1, "ts": "2026-01-01T00:00:00Z"}', '{"a": 1, "ts": "2026-01-01T00:01:00Z"}', '{"a": 1, "ts": "2026-01-01T00:00:01Z"}']);
SELECT * FROM mine_1m ORDER BY window_start;
SELECT aggregate, kafka_offset FROM weir.late_events;
SET ROLE weir_reader;
SELECT * FROM mine_1m;
SELECT * FROM mine_1m_results;
SELECT aggregate, kafka_offset FROM weir.late_events;
SELECT weir.drop('mine_1m');
SELECT weir.create_continuous_aggregate('pg_temp.theirs', 'SELECT count(*) FROM mine');
SELECT weir_internal.bin(now(), now(), now(), 0, 0);
RESET ROLE;
GRANT SELECT ON mine_1m TO weir_reader;
GRANT SELECT ON mine TO weir_reader;
GRANT CREATE ON SCHEMA public TO weir_reader;
SET ROLE weir_reader;
SELECT * FROM mine_1m ORDER BY window_start;
SELECT weir.create_continuous_aggregate('theirs', 'SELECT count(*) FROM mine');
SELECT weir.create_continuous_aggregate('weir_internal.theirs', 'SELECT count(*) FROM mine');
RESET ROLE;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname ~ '^mine' AND relkind IN ('r', 'v') ORDER BY relname;
DROP TABLE mine CASCADE;
REVOKE ALL ON SCHEMA public FROM weir_maker, weir_reader;
DROP ROLE weir_maker, weir_reader;
DROP PROCEDURE send;
DROP FUNCTION shown, keys;
DROP TABLE clock;
DROP TYPE mood, point3, percent;
DROP COLLATION nocase;
DROP EXTENSION citext;

-- A table of results may get columns, and keeps its own.
SELECT weir.create_stream('kept', 'id int, ts timestamptz', event_time => 'ts');
SELECT weir.create_continuous_aggregate('kept_1m', 'SELECT count(*) AS n FROM kept', time_window => weir.tumble('1 minute'));
ALTER TABLE kept_1m_results ADD COLUMN remark text DEFAULT 'checked';
ALTER TABLE kept_1m_results RENAME COLUMN n TO readings;
ALTER TABLE kept_1m_results ADD COLUMN more int;
ALTER TABLE kept_1m_results DROP COLUMN more;
SELECT accepted FROM weir.ingest('kept', ARRAY['{"id": 1, "ts": "2026-01-01T00:00:01Z"}', '{"id": 2, "ts": "2026-01-01T00:01:01Z"}']);
SELECT n, remark FROM kept_1m_results;

-- Views in the query are as steady as the query.
CREATE VIEW unsteady AS SELECT now() AS t;
SELECT weir.create_continuous_aggregate('refused', 'SELECT count(*) FROM kept, unsteady WHERE ts < t');

-- Windows that overlap a thousand times over.
SELECT weir.create_continuous_aggregate('kept_hop', 'SELECT count(*) AS n FROM kept', time_window => weir.hop('1 hour', '3 s'));
SELECT n, count(*) FROM kept_hop GROUP BY n ORDER BY n;
SELECT weir.hop('1 day', '1 s');
DROP VIEW unsteady;
DROP TABLE kept CASCADE;

\set VERBOSITY default
-- Types whose values are kept stay as they are.
CREATE TYPE shade AS ENUM ('light', 'dark');
CREATE TYPE spot AS (x int, hue shade);
CREATE DOMAIN level AS int;
CREATE TABLE lookup (id int PRIMARY KEY, note text);
INSERT INTO lookup VALUES (1, 'one');
SELECT weir.create_stream('kept', 'id int, s shade, p spot, l level, ls level[], ts timestamptz', event_time => 'ts');
SELECT weir.create_continuous_aggregate('not_kept', 'SELECT count(s) AS s, count(p) AS p, bool_or(s = ''dark'') AS dark, count(lookup) AS l FROM kept JOIN lookup USING (id)');
ALTER TYPE shade RENAME VALUE 'dark' TO 'dim';
ALTER TYPE spot ADD ATTRIBUTE y int;
ALTER TABLE lookup ADD COLUMN more int;
SELECT accepted FROM weir.ingest('kept', '{"id": 1, "s": "dim", "p": "(1,dim,2)", "ts": "2026-01-01T00:00:01Z"}'::text);
SELECT * FROM not_kept;
SELECT weir.create_continuous_aggregate('by_spots', 'SELECT ARRAY[p] AS ps, count(*) FROM kept GROUP BY 1');
ALTER TYPE shade RENAME VALUE 'dim' TO 'dark';
ALTER TYPE shade ADD VALUE 'pale' BEFORE 'light';
ALTER TYPE spot ADD ATTRIBUTE z int;
ALTER TYPE spot DROP ATTRIBUTE y;
ALTER TYPE spot RENAME ATTRIBUTE y TO why;
SELECT accepted FROM weir.ingest('kept', '{"id": 1, "s": "pale", "p": "(1,dim,2)", "ts": "2026-01-01T00:00:01Z"}'::text);
SELECT * FROM by_spots;
SELECT weir.drop('by_spots');
ALTER TYPE shade RENAME VALUE 'dim' TO 'dark';
SELECT weir.create_continuous_aggregate('shades', 'SELECT count(DISTINCT s) FROM kept');
ALTER TYPE shade RENAME VALUE 'dark' TO 'dim';
ALTER TYPE spot ADD ATTRIBUTE z int;
SELECT weir.drop('shades');
SELECT weir.create_continuous_aggregate('shades', 'SELECT max(s) FROM kept');
ALTER TYPE shade RENAME VALUE 'dark' TO 'dim';
SELECT weir.drop('shades');
SELECT weir.create_continuous_aggregate('looked_up', 'SELECT lookup AS l, count(*) FROM kept JOIN lookup USING (id) GROUP BY lookup');
ALTER TABLE lookup DROP COLUMN more;
ALTER TABLE lookup ALTER COLUMN note SET NOT NULL;
SELECT * FROM looked_up;
-- a domain may become stricter: what is kept is of before
SELECT weir.create_continuous_aggregate('levels', 'SELECT l, max(l) FROM kept GROUP BY l');
SELECT accepted FROM weir.ingest('kept', '{"l": 5, "ts": "2026-01-01T00:00:01Z"}'::text);
ALTER DOMAIN level ADD CHECK (VALUE < 5) NOT VALID;
SELECT * FROM levels ORDER BY l;
DROP TABLE kept CASCADE;
DROP TABLE lookup;
DROP TYPE spot, shade, level;

-- Before the first event running totals are what the plain query gives.
CREATE SERVER nowhere FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
SELECT weir.create_stream('nothing', 'v int, n numeric, f float8, ts timestamptz', event_time => 'ts', server => 'nowhere', topic => 't');
CREATE TABLE plain (name text, query text);
INSERT INTO plain VALUES
    ('t_all', 'SELECT count(*), sum(v) AS s, avg(n) AS a, stddev(f) AS d, max(v) AS m, count(DISTINCT v) AS u, coalesce(sum(n), 0) + 1 AS e, bool_and(v > 1) AS b, corr(v, f) AS c FROM nothing'),
    ('t_having', 'SELECT sum(v) AS s FROM nothing HAVING count(*) > 0'),
    ('t_empty', 'SELECT count(v) AS s FROM nothing HAVING count(*) = 0'),
    ('t_grouped', 'SELECT v, count(*) FROM nothing GROUP BY v'),
    ('t_never', 'SELECT count(*), min(ts) FROM nothing WHERE v < 0');
SELECT weir.create_continuous_aggregate(name, query, backfill => name <> 't_never') FROM plain;
CREATE FUNCTION beside() RETURNS TABLE (name text, shown text, query text) LANGUAGE plpgsql AS $$
BEGIN
    FOR name, query IN SELECT * FROM plain p ORDER BY p.name LOOP
        EXECUTE format('SELECT (SELECT json_agg(r ORDER BY r::text) FROM %I r)::text, (SELECT json_agg(r ORDER BY r::text) FROM (%s) r)::text', name, query) INTO shown, query;
        RETURN NEXT;
    END LOOP;
END
$$;
SELECT * FROM beside();
SELECT p.name, v.* FROM plain p, weir.verify(name::regclass) v;
SELECT accepted FROM weir.ingest('nothing', ARRAY['{"v": 4, "n": 2.5, "f": 1, "ts": "2026-01-01T00:00:00Z"}', '{"v": 5, "n": 1, "f": 2, "ts": "2026-01-01T00:00:00Z"}']);
SELECT name, shown, shown IS NOT DISTINCT FROM query AS same FROM beside();
SELECT p.name, v.* FROM plain p, weir.verify(name::regclass) v;
SELECT weir.seek('nothing', 'earliest', reset => true);
SELECT name, shown, shown IS NOT DISTINCT FROM query AS same FROM beside();
DROP TABLE nothing CASCADE;
DROP SERVER nowhere;
DROP TABLE plain;
DROP FUNCTION beside;
