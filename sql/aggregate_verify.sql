-- weir.verify compares what is maintained with what the query gives over the
-- staged rows; weir.explain shows what runs on a batch.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE SCHEMA av;
SET search_path = av, public;

CREATE TABLE sites (id int PRIMARY KEY, name text);
INSERT INTO sites SELECT i, 's' || i FROM generate_series(0, 9) i;
SELECT weir.create_stream('e', 'ts timestamptz, gone text, site int, v float8, n int', event_time => 'ts',
    max_out_of_orderness => '5 seconds', partitions => 2);
ALTER TABLE e DROP COLUMN gone;

-- Every kind of window, joins, expressions and whole rows.
SELECT weir.create_continuous_aggregate('tumbling',
    'SELECT site, count(*) AS c, sum(v) AS s, avg(n) AS a, max(ts) AS last FROM e GROUP BY site', weir.tumble('1 minute'));
SELECT weir.create_continuous_aggregate('hopping',
    'SELECT name, count(*) AS c, sum(v) + 1 AS s, count(e) AS w FROM e JOIN sites ON id = site
     WHERE n % 7 <> 0 GROUP BY name HAVING count(*) > 1', weir.hop('1 minute', '25 seconds'), '10 seconds');
SELECT weir.create_continuous_aggregate('sessions',
    'SELECT site % 4 AS k, count(*) AS c, sum(v) AS s, min(name) AS m, count(e.*) AS w FROM e JOIN sites ON id = site
     GROUP BY site % 4', weir.session('4 seconds'));
SELECT weir.create_continuous_aggregate('hidden_key',
    'SELECT site, count(*) AS c FROM e GROUP BY site, n % 2 HAVING max(n) > 3', weir.session('4 seconds'));
SELECT weir.create_continuous_aggregate('totals', 'SELECT count(*) AS c, sum(n) AS s, count(DISTINCT site) AS d FROM e');
SELECT weir.create_continuous_aggregate('grouped', 'SELECT site, stddev(v) AS d FROM e GROUP BY site');
SELECT weir.create_continuous_aggregate(name, $$
    WITH d AS (SELECT id, name FROM sites WHERE id < 5)
    SELECT coalesce(d.name, 'none') AS name, count(*) AS c, count(x) FILTER (WHERE v > 3) AS x,
           count((SELECT 1 FROM sites y WHERE y.id = e.site AND y.id % 2 = 0)) AS even
    FROM e LEFT JOIN d ON d.id = e.site LEFT JOIN (SELECT site, count(*) AS x FROM (VALUES (1), (2), (2)) l (site) GROUP BY site) j USING (site)
    GROUP BY coalesce(d.name, 'none')$$, spec)
FROM (VALUES ('left_tumbling', weir.tumble('1 minute')), ('left_sessions', weir.session('2 seconds'))) v (name, spec);
CREATE VIEW differences AS
SELECT a::text, (SELECT count(*) FROM weir.verify(a)) AS n
FROM unnest(ARRAY['tumbling', 'hopping', 'sessions', 'hidden_key', 'totals', 'grouped', 'left_tumbling', 'left_sessions']::regclass[]) a;

-- nothing yet
SELECT * FROM differences;

-- events out of order, many of them late; batch by batch, in two partitions
CREATE FUNCTION fill(first int, last int) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(r.accepted) FROM (
        SELECT array_agg(jsonb_build_object(
            'ts', timestamptz '2026-01-01 00:00Z' + (i * 0.7 - (i * 7919 % 13)) * interval '1 second',
            'site', i * 31 % 17 % 10, 'v', i * 0.1, 'n', i % 11)) AS events, i / 100 AS batch
        FROM generate_series(first, last) i GROUP BY batch ORDER BY batch) b, weir.ingest('e', events, partition => batch % 2) r
$$;
SELECT fill(0, 1999);
SELECT * FROM differences;
SELECT count(*) > 100 AS late FROM weir.late_events;
SELECT count(*) > 0 AS open, count(*) FILTER (WHERE is_final) > 0 AS closed FROM hopping;

-- in the transaction that has just brought events
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT fill(2000, 2099);
SELECT * FROM differences;
COMMIT;

-- settings of the session that looks change nothing; those of the creation count
SET TimeZone = 'America/New_York';
SELECT weir.create_continuous_aggregate('days', $$SELECT date_trunc('day', ts) AS day, ts::text LIKE '%-05' AS here, count(*) AS c
    FROM e GROUP BY 1, 2$$);
SET TimeZone = 'UTC';
SET DateStyle = 'German';
SELECT fill(2100, 2199);
SELECT * FROM weir.verify('days');
SET DateStyle = 'ISO';
SELECT * FROM days;

-- Planted damage is found.  A result that is wrong:
SELECT window_start AS w, site AS k FROM tumbling_results ORDER BY 1, 2 LIMIT 1 \gset
UPDATE tumbling_results SET c = c + 1 WHERE window_start = :'w' AND site = :k;
SELECT * FROM weir.verify('tumbling');
UPDATE tumbling_results SET c = c - 1, s = s * (1 + 1e-7) WHERE window_start = :'w' AND site = :k;
SELECT count(*) FROM weir.verify('tumbling');
-- rounding is none
UPDATE tumbling_results SET s = s / (1 + 1e-7) * (1 + 1e-13) WHERE window_start = :'w' AND site = :k;
SELECT count(*) FROM weir.verify('tumbling');
-- one that is not there
DELETE FROM sessions_results WHERE ctid = (SELECT min(ctid) FROM sessions_results);
SELECT side, count(*) FROM weir.verify('sessions') GROUP BY side;
-- one too many
INSERT INTO hopping_results SELECT window_start - interval '1 hour', window_end - interval '1 hour', name, c, s, w, _key, _having, _error
FROM hopping_results WHERE name = 's1' AND _having ORDER BY window_start LIMIT 1;
SELECT side, data->>'name' AS name, data->>'window_start' AS w FROM weir.verify('hopping');
-- states that are lost: of all sites, as one run has them all
SELECT store AS grouped_store FROM weir_internal.continuous_aggregate WHERE view = 'grouped'::regclass \gset
DELETE FROM :grouped_store;
SELECT side, count(*) FROM weir.verify('grouped') GROUP BY side;
-- a lookup table that is not what it was
UPDATE sites SET name = 'new' WHERE id = 5;
SELECT side, data->>'name' AS name, count(*) > 0 AS found FROM weir.verify('hopping') WHERE data->>'name' <> 's1' GROUP BY 1, 2 ORDER BY 1;

-- Only what staging covers is compared: running totals need everything.
SELECT weir.create_continuous_aggregate('from_now', 'SELECT count(*) AS c FROM e', backfill => false);
SELECT * FROM weir.verify('from_now');
SELECT weir.create_continuous_aggregate('windows_from_now', 'SELECT site, count(*) AS c FROM e GROUP BY site',
    weir.tumble('1 minute'), backfill => false);
SELECT fill(2200, 2499);
SELECT count(*) FROM weir.verify('windows_from_now');
SELECT count(DISTINCT window_start) AS windows FROM windows_from_now;

-- Past retention there are no results to compare with.
SELECT weir.create_continuous_aggregate('short', 'SELECT site, count(*) AS c FROM e GROUP BY site',
    weir.tumble('1 minute'), retention => '3 minutes');
SELECT fill(2500, 2999);
SELECT count(*) FROM weir.verify('short');
SELECT count(DISTINCT window_start) AS windows FROM short;

-- Old results go where nothing closes any more, too: no event passes the WHERE.
SELECT weir.create_continuous_aggregate('silent_' || name, $$SELECT count(*) AS c FROM e WHERE ts < '2026-01-01 00:36Z'$$,
    spec, retention => '3 minutes') FROM (VALUES ('tumbling', weir.tumble('1 minute')), ('sessions', weir.session('2 seconds'))) v (name, spec);
SELECT fill(3000, 3199);
SELECT count(*) > 0 AS kept FROM silent_tumbling_results;
SELECT fill(3200, 3599);
SELECT count(*) FROM silent_tumbling_results;
SELECT count(*) FROM silent_sessions_results;
SELECT (SELECT count(*) FROM weir.verify('silent_tumbling')) + (SELECT count(*) FROM weir.verify('silent_sessions')) AS differences;

-- A dead letter that is replayed may be of a later time than all events so
-- far. When its row has left, its window is not covered.
SELECT weir.create_stream('r', 'ts timestamptz, n int CHECK (n > 0)', event_time => 'ts', retention => '1 hour');
SELECT weir.create_continuous_aggregate('before', 'SELECT count(*) AS c FROM r', weir.tumble('1 minute'));
CREATE FUNCTION send(at text, n int) RETURNS bigint LANGUAGE sql AS
$$ SELECT accepted FROM weir.ingest('r', jsonb_build_object('ts', '2026-01-01 ' || at || 'Z', 'n', n)) $$;
SELECT send('00:00:10', 1), send('00:10:10', -1);
SELECT applied FROM weir.replay_dead_letters('r', transform => $$replace(convert_from(value, 'UTF8'), '-1', '1')$$);
UPDATE weir_internal.chunk SET created_at = created_at - interval '8 minutes' WHERE stream = 'r'::regclass;
SELECT send('00:00:20', 1);
SELECT send('00:00:30', 1);
UPDATE weir_internal.chunk SET created_at = created_at - interval '62 minutes', closed_at = closed_at - interval '62 minutes'
    WHERE stream = 'r'::regclass AND closed_at IS NOT NULL;
SELECT send('00:10:20', 1);
SELECT send('00:11:20', 1);
SELECT ts::time FROM r ORDER BY _offset;
SELECT weir.create_continuous_aggregate('after', 'SELECT count(*) AS c FROM r', weir.tumble('1 minute'));
SELECT window_start::time, c FROM before ORDER BY 1;
SELECT window_start::time, c FROM after ORDER BY 1;
SELECT * FROM weir.verify('before');
SELECT * FROM weir.verify('after');
DROP FUNCTION send;

-- Kafka's time where the stream has no other, or the message no columns.
SELECT weir.create_stream('k', 'n int, id text', key_format => 'text', key_columns => '{id}', tombstones => 'row');
SELECT weir.create_continuous_aggregate('by_kafka', 'SELECT count(*) AS c, sum(n) AS s FROM k', weir.tumble('10 seconds'));
SELECT count(*) FROM generate_series(1, 30) i,
    weir.ingest('k', CASE WHEN i % 4 > 0 THEN format('{"n": %s}', i) END, key => 'a', kafka_timestamp => timestamptz '2026-01-01 00:00Z' + i * interval '1 second');
SELECT c, s, is_final FROM by_kafka ORDER BY window_start;
SELECT * FROM weir.verify('by_kafka');

-- As if a crash had emptied staging: there is nothing to compare with.
BEGIN;
UPDATE tumbling_results SET c = c + 1;
SELECT count(*) > 10 AS found FROM weir.verify('tumbling');
DELETE FROM weir_internal.staging_marker WHERE stream = 'e'::regclass;
SELECT count(*) FROM weir.verify('tumbling');
SELECT * FROM weir.verify('totals');
ROLLBACK;

-- Who may not read it may not verify it.
CREATE ROLE av_other;
GRANT USAGE ON SCHEMA av TO av_other;
SET ROLE av_other;
SELECT * FROM weir.verify('tumbling');
RESET ROLE;
GRANT SELECT ON tumbling TO av_other;
SET ROLE av_other;
SELECT * FROM weir.verify('tumbling');
RESET ROLE;
GRANT SELECT ON e TO av_other;
SET ROLE av_other;
SELECT * FROM weir.verify('tumbling');
SELECT count(*) > 3 AS explained FROM weir.explain('tumbling');
RESET ROLE;
SELECT * FROM weir.verify('sites');
SELECT * FROM weir.verify(NULL);
SELECT * FROM weir.verify('e');

-- What runs on a batch.
SELECT explain FROM weir.explain('hopping') WITH ORDINALITY e (explain, n) WHERE n <= 9;
SELECT substring(explain, 'Partial|Named Tuplestore Scan on .*|Named Tuplestore Scan') AS plan FROM weir.explain('sessions')
WHERE explain ~ 'Partial|Tuplestore';

DROP OWNED BY av_other;
DROP ROLE av_other;
DROP SCHEMA av CASCADE;
