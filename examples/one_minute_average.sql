-- The average of a minute, for readings that come up to five seconds out of
-- order: what a windowed query in a stream processor does, as a view.

DROP SCHEMA IF EXISTS one_minute_average CASCADE;
CREATE SCHEMA one_minute_average;
SET search_path = one_minute_average;
SET timezone = 'UTC';

SELECT weir.create_stream('sensors', 'sensor_id int, temp float8, ts timestamptz',
    event_time => 'ts', max_out_of_orderness => '5 seconds');

SELECT weir.create_continuous_aggregate('sensor_1m',
    $$ SELECT sensor_id, avg(temp) AS avg_temp, count(*) AS readings FROM sensors GROUP BY sensor_id $$,
    time_window => weir.tumble('1 minute'));

-- The view is as fresh as the last commit.
SELECT accepted FROM weir.ingest('sensors', ARRAY[
    '{"sensor_id": 1, "temp": 20, "ts": "2026-01-05T12:00:10Z"}',
    '{"sensor_id": 1, "temp": 30, "ts": "2026-01-05T12:00:50Z"}']);
SELECT * FROM sensor_1m;

-- A reading at 64.999 s leaves the first minute open: one that is older by up
-- to five seconds may still come.
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 1, "temp": 22, "ts": "2026-01-05T12:01:04.999Z"}'::text);
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 1, "temp": 40, "ts": "2026-01-05T12:00:59.999Z"}'::text);
SELECT * FROM sensor_1m ORDER BY window_start;

-- One at 65 s closes it, and what is older comes too late.  Nothing is dropped
-- in silence.
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 1, "temp": 22, "ts": "2026-01-05T12:01:05Z"}'::text);
SELECT accepted FROM weir.ingest('sensors', '{"sensor_id": 1, "temp": 99, "ts": "2026-01-05T12:00:59.999Z"}'::text);
SELECT * FROM sensor_1m ORDER BY window_start;
SELECT aggregate, partition, kafka_offset, window_start, window_end FROM weir.late_events WHERE stream_schema = 'one_minute_average';

-- Closed windows are rows of a table that may be indexed and replicated.
SELECT window_start, sensor_id, avg_temp, readings FROM sensor_1m_results;
