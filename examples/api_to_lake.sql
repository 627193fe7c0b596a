-- From an API to a lake: what it answers is fetched, cleaned, and kept once,
-- however often that is run.

SET client_min_messages = error;
SELECT weir.drop_task(name, if_exists => true) FROM unnest('{api_to_lake clean,api_to_lake fetch}'::text[]) name;
DROP SCHEMA IF EXISTS api_to_lake CASCADE;
RESET client_min_messages;
CREATE SCHEMA api_to_lake;
SET search_path = api_to_lake;

-- Stands for the API: in life, a foreign table, an HTTP extension, COPY FROM
-- PROGRAM.
CREATE FUNCTION api(day date) RETURNS jsonb LANGUAGE sql AS $$
    SELECT '[{"id": 1, "value": 10}, {"id": 1, "value": 10}, {"id": 2, "value": null}]'::jsonb
$$;

CREATE TABLE raw (day date PRIMARY KEY, answer jsonb);
CREATE TABLE lake (id int, value numeric NOT NULL, day date, PRIMARY KEY (id, day));

SELECT weir.create_task('api_to_lake fetch', $$
    INSERT INTO api_to_lake.raw SELECT d, api_to_lake.api(d) FROM (SELECT (:interval_start AT TIME ZONE 'UTC')::date) x (d)
    ON CONFLICT (day) DO UPDATE SET answer = excluded.answer $$,
    schedule => '@daily', retries => 3, retry_delay => '1 minute', backoff => 2, execution_timeout => '10 minutes');
SELECT weir.create_task('api_to_lake clean', $$
    INSERT INTO api_to_lake.lake
    SELECT DISTINCT (e->>'id')::int, coalesce((e->>'value')::numeric, 0), r.day
    FROM api_to_lake.raw r, jsonb_array_elements(r.answer) e
    WHERE r.day = (:interval_start AT TIME ZONE 'UTC')::date
    ON CONFLICT (id, day) DO UPDATE SET value = excluded.value $$,
    after => '{api_to_lake fetch}');

-- Without catchup, only the last interval is run, whenever that is.
SELECT name, schedule, catchup, state FROM weir.tasks WHERE name LIKE 'api\_to\_lake %' ORDER BY name DESC;
SELECT weir.run_task('api_to_lake fetch') AS run \gset
SELECT weir.wait_run(:run);
SELECT task, state, interval_end - interval_start AS long, interval_end = date_trunc('day', now(), 'UTC') AS is_last
FROM weir.task_runs WHERE flow = :run ORDER BY run_id;
SELECT id, value, day = (date_trunc('day', now(), 'UTC') AT TIME ZONE 'UTC')::date - 1 AS is_yesterday FROM lake ORDER BY id;

-- Running it again changes nothing.
SELECT weir.run_task('api_to_lake fetch') AS run \gset
SELECT weir.wait_run(:run);
SELECT id, value FROM lake ORDER BY id;

-- Earlier days are a backfill: here, two.
SELECT weir.backfill('api_to_lake fetch', '2026-01-05Z', '2026-01-07Z') AS backfill \gset
SELECT weir.wait_run(max(run_id)) FROM weir.task_runs WHERE backfill = :backfill;
SELECT task, state, interval_start FROM weir.task_runs WHERE backfill = :backfill ORDER BY run_id;
SELECT day, count(*), sum(value) FROM lake WHERE day < '2026-02-01' GROUP BY day ORDER BY day;
