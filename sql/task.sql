-- Tasks: SQL on a schedule or after other SQL.  What runs them is in
-- test/t/210_tasks.pl; this is what they are.
SET timezone = 'UTC';
\set SHOW_CONTEXT never
SET client_min_messages = error;        -- pg_cron is in another database, which is said once below

-- Cron expressions: minute, hour, day, month, weekday.
SELECT e, weir.cron_next(e, '2024-01-31 10:30:15Z') AS next, weir.cron_previous(e, '2024-01-31 10:30:15Z') AS previous
FROM unnest('{* * * * *,*/15 * * * *,0 * * * *,30 10 * * *,31 10 * * *,0 0 1 * *,0 0 31 * *,0 0 30 2-3 *,0 0 29 2 *,0 12 * * mon-fri,0 0 * * 7,0 0 * * sun,
    5-20/5 * * * *,7/20 * * * *,"0,30 9-17 * jan,JUL 1",0 0 13 * fri,0 0 13 */2 fri,@hourly,@daily,@midnight,@weekly,@monthly,@yearly,@annually,@DAILY,  0   6  *	* * }'::text[]) e;
-- On the moment itself: the one after, the one before.
SELECT weir.cron_next('@daily', '2024-02-29'), weir.cron_previous('@daily', '2024-02-29');
SELECT weir.cron_next('@daily', '2024-02-29 00:00:00+00'::timestamptz - interval '1 us'), weir.cron_previous('@daily', '2024-02-29 00:00:00+00'::timestamptz + interval '1 us');
-- By another wall clock.
SELECT weir.cron_next('0 9 * * *', '2024-01-31Z', 'Asia/Kolkata'), weir.cron_next('0 9 * * *', '2024-01-31Z', 'America/New_York');
-- Where the clock is put forward or back: a time of day that is left out comes when the clock is put forward, one that comes twice comes the first time; every hour is every hour.
SELECT e, array_agg(t AT TIME ZONE 'UTC' ORDER BY t) AS forward
FROM unnest('{30 2 * * *,*/30 2 * * *,15 * * * *,0 */2 * * *}'::text[]) e,
LATERAL (WITH RECURSIVE r AS (SELECT weir.cron_next(e, '2024-03-30 23:00Z', 'Europe/Berlin') AS t
    UNION ALL SELECT weir.cron_next(e, t, 'Europe/Berlin') FROM r WHERE t < '2024-03-31 04:00Z') SELECT t FROM r WHERE t < '2024-03-31 04:00Z') r GROUP BY e ORDER BY e;
SELECT e, array_agg(t AT TIME ZONE 'UTC' ORDER BY t) AS back
FROM unnest('{30 2 * * *,*/30 2 * * *,15 * * * *,0 */2 * * *}'::text[]) e,
LATERAL (WITH RECURSIVE r AS (SELECT weir.cron_next(e, '2024-10-26 22:00Z', 'Europe/Berlin') AS t
    UNION ALL SELECT weir.cron_next(e, t, 'Europe/Berlin') FROM r WHERE t < '2024-10-27 04:00Z') SELECT t FROM r WHERE t < '2024-10-27 04:00Z') r GROUP BY e ORDER BY e;
-- No expressions.
\set VERBOSITY terse
SELECT weir.cron_next('');
SELECT weir.cron_next('* * * *');
SELECT weir.cron_next('* * * * * *');
SELECT weir.cron_next('60 * * * *');
SELECT weir.cron_next('* 24 * * *');
SELECT weir.cron_next('* * 0 * *');
SELECT weir.cron_next('* * * 13 *');
SELECT weir.cron_next('* * * * 8');
SELECT weir.cron_next('*/0 * * * *');
SELECT weir.cron_next('5-1 * * * *');
SELECT weir.cron_next('1, * * * *');
SELECT weir.cron_next('a * * * *');
SELECT weir.cron_next('@reboot');
SELECT weir.cron_next('0 0 31 2 *');
SELECT weir.cron_next('* * * * *', 'infinity');
SELECT weir.cron_next('* * * * *', now(), 'Mars/Olympus');
SELECT weir.cron_next('@yearly', '294276-12-31 23:00Z');
\set VERBOSITY default
SELECT weir.cron_next('0 25 * * *');

-- The same by looking at every minute: does its wall clock match?
CREATE FUNCTION field_matches(field text, value int, low int, high int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT bool_or(value BETWEEN f.a AND f.b AND (value - f.a) % f.step = 0)
    FROM regexp_split_to_table(field, ',') i,
    LATERAL (SELECT split_part(i, '/', 1) AS range, coalesce(nullif(split_part(i, '/', 2), '')::int, 1) AS step) p,
    LATERAL (SELECT step, CASE WHEN range = '*' THEN low ELSE split_part(range, '-', 1)::int END AS a,
        CASE WHEN range = '*' THEN high WHEN range ~ '-' THEN split_part(range, '-', 2)::int WHEN i ~ '/' THEN high ELSE range::int END AS b) f $$;
CREATE FUNCTION wall_matches(e text[], w timestamp) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT field_matches(e[1], extract(minute FROM w)::int, 0, 59) AND field_matches(e[2], extract(hour FROM w)::int, 0, 23)
       AND field_matches(e[4], extract(month FROM w)::int, 1, 12)
       AND CASE WHEN e[3] ~ '^\*' OR e[5] ~ '^\*' THEN field_matches(e[3], extract(day FROM w)::int, 1, 31) AND field_matches(e[5], extract(dow FROM w)::int, 0, 6)
           ELSE field_matches(e[3], extract(day FROM w)::int, 1, 31) OR field_matches(e[5], extract(dow FROM w)::int, 0, 6) END $$;
CREATE FUNCTION by_minutes(e text[], zone text, a timestamptz, b timestamptz) RETURNS SETOF timestamptz LANGUAGE sql AS $$
    WITH m AS (SELECT t, t AT TIME ZONE zone AS wall, (t - interval '1 minute') AT TIME ZONE zone AS before
        FROM generate_series(a - interval '3 hours', b, '1 minute') t)
    SELECT DISTINCT m.t FROM m
    WHERE m.t > a AND (
        wall_matches(e, m.wall) AND (e[2] = '*' OR NOT EXISTS (SELECT FROM m x WHERE x.wall = m.wall AND x.t < m.t))
        OR e[2] <> '*' AND m.wall > m.before + interval '1 minute' AND EXISTS (
            SELECT FROM generate_series(m.before + interval '1 minute', m.wall - interval '1 minute', '1 minute') gap WHERE wall_matches(e, gap)))
    ORDER BY 1 $$;
CREATE FUNCTION by_cron(e text, zone text, a timestamptz, b timestamptz) RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        a := weir.cron_next(e, a, zone);
        EXIT WHEN a > b;
        RETURN NEXT a;
    END LOOP;
END $$;
DO $$
DECLARE
    seed float8 := extract(epoch FROM clock_timestamp())::int % 100000 / 100000.0;
    e text[];
    zone text;
    a timestamptz;
    other record;
BEGIN
    RAISE LOG 'cron expressions: seed %', seed;
    PERFORM setseed(seed);
    FOR i IN 1..60 LOOP
        e := ARRAY[(ARRAY['*/7', '0,30', '15', '*/20', '50-59/3'])[1 + floor(random() * 5)], (ARRAY['*', '1-3', '*/2', '0', '2', '23,0'])[1 + floor(random() * 6)],
            (ARRAY['*', '*/2', '25-31', '1'])[1 + floor(random() * 4)], (ARRAY['*', '1-11', '3,10,4'])[1 + floor(random() * 3)], (ARRAY['*', '0', '1-5', '*/3'])[1 + floor(random() * 4)]];
        zone := (ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'America/Sao_Paulo', 'Asia/Kathmandu', 'Pacific/Apia'])[1 + floor(random() * 7)];
        -- around a change of that zone's clock, or anywhere
        a := date_trunc('minute', (ARRAY['2024-03-30', '2024-10-26', '2024-03-09', '2024-11-02', '2017-10-14', '2018-02-17', '2024-04-06', '2011-12-29', '2024-10-05', '2024-02-28'])[1 + floor(random() * 10)]::timestamptz
            + random() * interval '1 day');
        SELECT m AS minutes, c AS cron INTO other FROM by_minutes(e, zone, a, a + interval '3 days') m
            FULL JOIN by_cron(array_to_string(e, ' '), zone, a, a + interval '3 days') c ON c = m WHERE m IS NULL OR c IS NULL LIMIT 1;
        IF FOUND THEN
            RAISE 'seed %: % in % after %: % by minutes, % by cron_next', seed, e, zone, a, other.minutes, other.cron;
        END IF;
        IF EXISTS (SELECT FROM by_cron(array_to_string(e, ' '), zone, a, a + interval '3 days') WITH ORDINALITY c (t, n)
            JOIN by_cron(array_to_string(e, ' '), zone, a, a + interval '3 days') WITH ORDINALITY d (t, n) ON d.n = c.n + 1
            WHERE weir.cron_previous(array_to_string(e, ' '), d.t, zone) <> c.t) THEN
            RAISE 'seed %: % in % after %: cron_previous is not the other way round', seed, e, zone, a;
        END IF;
    END LOOP;
END $$;

-- A DAG.
SELECT weir.create_task('extract', 'SELECT 1', '@hourly', enabled => false);
SELECT weir.create_task('clean', 'SELECT 2', after => '{extract}');
SELECT weir.create_task('count', 'SELECT 3', after => '{extract}', trigger_rule => 'all_done');
SELECT weir.create_task('load "all"', 'SELECT 4', after => '{clean,count}');
SELECT * FROM weir.task_graph();
SELECT * FROM weir.task_graph('mermaid');
SELECT * FROM weir.task_graph('graphviz');
SELECT * FROM weir.task_graph('svg');
SELECT name, state, schedule, after, trigger_rule, next_interval_end = weir.cron_next('@hourly'), next_interval_end - next_interval_start AS long FROM weir.tasks ORDER BY name;

-- Cycles.
SELECT weir.create_task('self', 'SELECT 1', after => '{self}');
SELECT weir.alter_task('clean', after => '{"load \"all\""}');
SELECT weir.alter_task('extract', schedule => '', after => '{clean}');

-- A run makes those of the tasks after it, over the same interval.
BEGIN;
SELECT weir.run_task('extract') AS run \gset
SELECT task, state, attempt, interval_end - interval_start AS long, interval_end = date_trunc('hour', now()) AS is_last_hour, trigger, run_id = :run AS asked_for
FROM weir.task_runs ORDER BY run_id;
SELECT weir.cancel_run(:run), weir.cancel_run(:run);
SELECT task, state FROM weir.task_runs ORDER BY run_id;
SELECT weir.retry_run(:run);
SELECT weir.retry_run(:run);
ROLLBACK;
SELECT count(*) FROM weir.task_runs;
BEGIN;
SELECT weir.run_task('clean', '2024-01-01', '2024-01-02', downstream => false) IS NOT NULL AS run;
SELECT task, interval_start, interval_end FROM weir.task_runs;
ROLLBACK;
BEGIN;
SELECT weir.backfill('extract', '2024-01-01 00:10', '2024-01-01 03:59', max_active => 2) AS id \gset
SELECT task, interval_start, interval_end, backfill = :id AS of_it FROM weir.task_runs WHERE task = 'extract' ORDER BY run_id;
SET LOCAL client_min_messages = notice;
SELECT weir.backfill('extract', '2024-01-01 00:10', '2024-01-01 04:00') IS NOT NULL AS again;
SELECT count(*) FROM weir.task_runs WHERE task = 'extract';
SELECT weir.backfill('extract', '2024-01-01 00:10', '2024-01-01 00:50') IS NOT NULL AS nothing;
ROLLBACK;

-- Of a backfill no more intervals are under way than it says; the next one begins when one is over with all its runs.
BEGIN;
SELECT weir.backfill('extract', '2024-01-01 00:00', '2024-01-01 05:00', max_active => 2) AS id \gset
CREATE FUNCTION step(of bigint, finish text, how text) RETURNS TABLE (hour numeric, states text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE weir_internal.task_run r SET state = how WHERE r.backfill = of AND r.state = 'queued' AND r.task = ANY (finish::text[]);
    PERFORM weir_internal.task_step();
    RETURN QUERY SELECT extract(hour FROM r.interval_start), string_agg(r.task || ' ' || r.state, ', ' ORDER BY r.run_id) FROM weir_internal.task_run r
        WHERE r.backfill = of AND r.state NOT IN ('scheduled', 'success', 'upstream_failed') GROUP BY 1 ORDER BY 1;
END $$;
SELECT * FROM step(:id, '{}', NULL);
SELECT task, state, note FROM weir.task_runs WHERE backfill = :id AND interval_start = '2024-01-01 02:00' ORDER BY run_id;
SELECT * FROM step(:id, '{extract}', 'success');
SELECT * FROM step(:id, '{clean}', 'success');
-- What waits is looked at again for a rule that is changed.
SELECT weir.alter_task('load "all"', trigger_rule => 'one_success');
SELECT * FROM step(:id, '{}', NULL);
SELECT * FROM step(:id, '{count}', 'failed');
SELECT * FROM step(:id, '{"load \"all\""}', 'success');
SELECT * FROM step(:id, '{extract}', 'upstream_failed');
ROLLBACK;
-- A stream that is waited for is dropped.
BEGIN;
SELECT weir.create_stream('awaited', 'ts timestamptz', event_time => 'ts');
SELECT weir.create_task('waits', 'SELECT 1', wait_for => 'awaited', retries => 3);
SELECT weir.run_task('waits') AS run \gset
SELECT weir_internal.task_step() IS NULL AS is_null;
SELECT state, note FROM weir.task_runs WHERE run_id = :run;
DROP TABLE awaited;
UPDATE weir_internal.task_run SET due_at = '-infinity' WHERE run_id = :run;
SELECT weir_internal.task_step() IS NULL AS is_null;
SELECT state, sqlstate, error FROM weir.task_runs WHERE run_id = :run;
SELECT severity, message LIKE 'run % of task "waits" failed: the stream %' AS says FROM weir.alerts WHERE source = 'task_failed' AND what = 'waits';
ROLLBACK;

-- What a trigger rule says of three tasks before it, so many of which succeeded, failed, were skipped.
SELECT rule, string_agg(coalesce(weir_internal.trigger_verdict(rule, 3, ok, bad, skipped), '-'), ' ' ORDER BY n) AS "0/0/0 1/0/0 0/1/0 0/0/1 3/0/0 0/3/0 0/0/3 2/1/0 2/0/1 1/1/1"
FROM unnest('{all_success,all_done,one_failed,one_success,none_failed,all_failed}'::text[]) WITH ORDINALITY r (rule, o),
    (VALUES (1, 0, 0, 0), (2, 1, 0, 0), (3, 0, 1, 0), (4, 0, 0, 1), (5, 3, 0, 0), (6, 0, 3, 0), (7, 0, 0, 3), (8, 2, 1, 0), (9, 2, 0, 1), (10, 1, 1, 1)) v (n, ok, bad, skipped)
GROUP BY rule, o ORDER BY o;

-- Delays grow by backoff, up to max_retry_delay; then it has failed.
BEGIN;
SELECT weir.create_task('backs off', 'SELECT 1', retries => 4, retry_delay => '1 minute', backoff => 3, max_retry_delay => '10 minutes', on_failure => 'SELECT 2');
SELECT weir.run_task('backs off') AS run \gset
CREATE FUNCTION attempts(run bigint) RETURNS TABLE (attempt int, state text, delay interval, on_failure boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..5 LOOP
        UPDATE weir_internal.task_run r SET state = 'running', activity = 'command', attempt = i WHERE r.run_id = run;
        PERFORM weir_internal.task_break(run, 'command', i, '22012', 'division by zero');
        RETURN QUERY SELECT r.attempt, r.state, r.due_at - r.ended_at, r.failure_due FROM weir_internal.task_run r WHERE r.run_id = run;
    END LOOP;
END $$;
SELECT * FROM attempts(:run);
ROLLBACK;

-- What is refused.
SELECT weir.create_task('extract', 'SELECT 1');
SELECT weir.create_task(NULL, 'SELECT 1');
SELECT weir.create_task('x', NULL);
SELECT weir.create_task('x', '');
SELECT weir.create_task('x', 'SELEC 1');
SELECT weir.create_task('x', 'SELECT :interval_begin');
SELECT weir.create_task('x', 'SELECT 1', 'daily');
SELECT weir.create_task('x', 'SELECT 1', '@daily', after => '{extract}');
SELECT weir.create_task('x', 'SELECT 1', '@daily', time_zone => 'Nowhere');
SELECT weir.create_task('x', 'SELECT 1', after => '{nobody}');
SELECT weir.create_task('x', 'SELECT 1', retries => -1);
SELECT weir.create_task('x', 'SELECT 1', backoff => 0.5);
SELECT weir.create_task('x', 'SELECT 1', execution_timeout => '0');
SELECT weir.create_task('x', 'SELECT 1', execution_timeout => '25 days');
SELECT weir.create_task('x', 'SELECT 1', retry_delay => '-1 s');
SELECT weir.create_task('x', 'SELECT 1', max_retry_delay => '101 years');
SELECT weir.create_task('x', 'SELECT 1', start_timeout => '0');
SELECT weir.create_task('x', 'SELECT 1', sla => '5000 years -1799990 days');
SELECT weir.create_task('x', 'SELECT 1', enabled => NULL);
SELECT weir.create_task('x', 'SELECT 1', trigger_rule => 'some');
SELECT weir.create_task('x', 'SELECT 1', start_when => 'now(');
SELECT weir.create_task('x', 'SELECT 1', start_when => 'true); SELECT (true');
SELECT weir.create_task('x', 'SELECT 1', start_when => 'true, -- two', on_failure => '-- nothing');
SELECT weir.create_task('x', 'SELECT 1', on_failure => 'INSERT');
SELECT weir.create_task('x', 'SELECT 1', wait_for => 'pg_class');
SELECT weir.run_task('nobody');
SELECT weir.cancel_run(-1);
SELECT weir.backfill('extract', '2024-01-02', '2024-01-01');
SELECT weir.backfill('extract', '2024-01-01', '2024-01-02', max_active => 0);
SELECT weir.backfill('extract', '2024-01-01', 'infinity');
SELECT weir.run_task('clean', '2024-01-01', '294276-01-01');
SELECT weir.drop_task('clean');
SELECT weir.drop_task('nobody');
SET client_min_messages = notice;
SELECT weir.drop_task('nobody', if_exists => true);
SELECT weir.create_task('extract', 'SELECT 1', if_not_exists => true);
SET client_min_messages = error;

-- Changes.
SELECT weir.alter_task('clean', command => 'SELECT :interval_start, ''it''''s :interval_end'' -- :x', retries => 2, backoff => 3, execution_timeout => '1 minute');
SELECT weir.alter_task('clean', execution_timeout => '0', start_when => 'true');
SELECT weir.pause_task('clean');
SELECT name, state, command, retries, backoff, execution_timeout, start_when FROM weir.tasks WHERE name = 'clean';
BEGIN;
SELECT weir.run_task('extract') > 0 AS run;
SELECT task, state, note FROM weir.task_runs ORDER BY run_id;
ROLLBACK;
SELECT weir.resume_task('clean');
SELECT weir.alter_task('extract', schedule => '@daily', time_zone => 'Asia/Kolkata');
SELECT schedule, time_zone, next_interval_end AT TIME ZONE 'Asia/Kolkata' = date_trunc('day', now() AT TIME ZONE 'Asia/Kolkata') + interval '1 day' FROM weir.tasks WHERE name = 'extract';

-- Rights: whose tasks they are.
CREATE ROLE regress_weir_task LOGIN;
CREATE ROLE regress_weir_task_mute;
SET SESSION AUTHORIZATION regress_weir_task;
SELECT count(*) FROM weir.tasks;
SELECT weir.run_task('extract');
SELECT weir.create_task('mine', 'SELECT 1', after => '{extract}');
SELECT weir.create_task('mine', 'SELECT 1');
SELECT name, owner FROM weir.tasks;
SELECT weir.alter_task('mine', owner => 'postgres');
SELECT * FROM weir_internal.task;
SELECT weir_internal.create_task(10, '', 'x', 'SELECT 1', NULL, '{}', 0, '0', 1, '0', NULL, NULL, false, false, 'UTC', true, false, 'all_success', NULL, NULL, '1 h', NULL);
RESET SESSION AUTHORIZATION;
-- A function of another's makes tasks for him, not for whoever calls it.
CREATE FUNCTION make_task() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT weir.create_task('of the function''s owner', 'SELECT 1') $$;
ALTER FUNCTION make_task OWNER TO regress_weir_task;
SELECT make_task();
SELECT name, owner FROM weir.tasks WHERE name LIKE 'of%';
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_weir_task_mute;
SELECT weir.create_task('mute', 'SELECT 1');
RESET SESSION AUTHORIZATION;
-- Without pg_cron nothing ticks.
\set VERBOSITY terse
BEGIN;
SELECT weir.create_task('waits', 'SELECT 1', '@hourly');
ROLLBACK;
SET client_min_messages = error;
\set VERBOSITY default
-- Inside of no run.
SELECT * FROM weir.current_run();

-- The house's own tasks.
BEGIN;
SELECT weir.schedule(), weir.schedule();
SELECT name, schedule, state, execution_timeout FROM weir.tasks WHERE name LIKE 'weir%' ORDER BY name;
SELECT weir.unschedule(), weir.unschedule();
COMMIT;
SET SESSION AUTHORIZATION regress_weir_task;
SELECT weir.schedule();
RESET SESSION AUTHORIZATION;
-- They stand still here.
SET client_min_messages = warning;
\set VERBOSITY terse
BEGIN;
SELECT weir.schedule();
SELECT weir.pause_task(name) FROM weir.tasks WHERE name ~ '^weir_';
COMMIT;
\set VERBOSITY default
-- Checks on a schedule: what has come due is run, as the check's owner, and what was missed once.
CREATE SCHEMA regress_weir_task AUTHORIZATION regress_weir_task;
SET SESSION AUTHORIZATION regress_weir_task;
CREATE TABLE regress_weir_task.seen (x int);
INSERT INTO regress_weir_task.seen VALUES (1), (NULL);
SELECT weir.create_check('every_day', 'regress_weir_task.seen', 'not_null', '{"column": "x"}', schedule => '@daily');
SELECT weir.create_check('every_year', 'regress_weir_task.seen', 'not_null', '{"column": "x"}', schedule => '@yearly');
SELECT weir.create_check('by_hand', 'regress_weir_task.seen', 'not_null', '{"column": "x"}');
SELECT weir.create_check('off', 'regress_weir_task.seen', 'not_null', '{"column": "x"}', schedule => '@daily', enabled => false);
SELECT weir.create_check('gone', 'regress_weir_task.seen', 'custom_sql', '{"sql": "SELECT x AS y FROM regress_weir_task.seen"}', schedule => '@daily');
ALTER TABLE regress_weir_task.seen RENAME x TO z;
SELECT weir.create_check('wrong', 'regress_weir_task.seen', 'row_count', '{"min": 1}', schedule => 'daily');
CALL weir_internal.run_due_checks();
RESET SESSION AUTHORIZATION;
CALL weir_internal.run_due_checks();
SELECT count(*) FROM weir.check_results WHERE check_name IN ('every_day', 'every_year', 'by_hand', 'off', 'gone');
ALTER TABLE regress_weir_task.seen RENAME z TO x;
UPDATE weir_internal.check_definition SET scheduled_at = scheduled_at - interval '3 days' WHERE name IN ('every_day', 'off', 'gone', 'by_hand');
ALTER TABLE regress_weir_task.seen RENAME x TO z;
CALL weir_internal.run_due_checks();
CALL weir_internal.run_due_checks();
SELECT check_name, status, sqlstate FROM weir.check_results WHERE check_name IN ('every_day', 'every_year', 'by_hand', 'off', 'gone') ORDER BY check_name;
ALTER TABLE regress_weir_task.seen RENAME z TO x;
UPDATE weir_internal.check_definition SET scheduled_at = scheduled_at - interval '1 day' WHERE name = 'every_day';
CALL weir_internal.run_due_checks();
SELECT check_name, status, failed_rows, count(*) FROM weir.check_results WHERE check_name = 'every_day' GROUP BY 1, 2, 3 ORDER BY 2;
SELECT severity, message FROM weir.alerts WHERE what = 'every_day' AND resolved_at IS NULL;
SELECT weir.unschedule();
SET SESSION AUTHORIZATION regress_weir_task;
SELECT weir.create_check('waits', 'regress_weir_task.seen', 'row_count', '{"min": 1}', schedule => '@daily');
-- Dead letters of a stream.
SET client_min_messages = error;
SELECT weir.create_stream('regress_weir_task.s', 'id int CHECK (id > 0), note text');
SELECT weir.schedule(replay => 'regress_weir_task.s', filter => 'message ~ $$it''s :x$$'), weir.schedule('regress_weir_task.s');
SELECT name, owner, command, schedule FROM weir.tasks WHERE name ~ 'replay';
SELECT weir.schedule('regress_weir_task.seen');
SELECT weir.drop_task('weir_replay regress_weir_task.s');
SELECT weir.schedule('regress_weir_task.s', '*/5 * * * *');
SELECT command, schedule FROM weir.tasks WHERE name ~ 'replay';
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_weir_task_other LOGIN;
GRANT USAGE ON SCHEMA regress_weir_task TO regress_weir_task_other;
SET SESSION AUTHORIZATION regress_weir_task_other;
SELECT weir.schedule('regress_weir_task.s');
SELECT weir.unschedule('regress_weir_task.s');
SET SESSION AUTHORIZATION regress_weir_task;
SELECT weir.unschedule('regress_weir_task.s'), weir.unschedule('regress_weir_task.s');
SELECT weir.schedule('regress_weir_task.s');
DROP TABLE regress_weir_task.s;
SELECT count(*) FROM weir.tasks WHERE name ~ 'replay';
RESET SESSION AUTHORIZATION;
DROP SCHEMA regress_weir_task CASCADE;
DELETE FROM weir_internal.alert WHERE key IN ('every_day', 'gone');
DROP ROLE regress_weir_task_other;


SELECT weir.drop_task(n) FROM unnest('{"load \"all\"",clean,count,extract,mine,mute,of the function''s owner}'::text[]) n;
SELECT count(*) FROM weir.tasks;
DROP FUNCTION make_task, by_cron, by_minutes, wall_matches, field_matches;
DROP ROLE regress_weir_task, regress_weir_task_mute;
