-- One look at the demo's stream, for demo/run.
\pset footer off
\pset border 0
\pset null ''

INSERT INTO demo_sample (consumed)
SELECT coalesce(sum(consumed), 0) FROM weir.stream_stats WHERE stream = 'sensors'
ON CONFLICT DO NOTHING;
DELETE FROM demo_sample WHERE at < now() - interval '6 seconds';

\echo STREAM sensors
SELECT s.state,
       (SELECT round((max(consumed) - min(consumed)) / nullif(extract(epoch FROM max(at) - min(at)), 0))
        FROM demo_sample) AS "messages/s",
       s.lag,
       s.consumed,
       (SELECT sum(staged) FROM weir.stream_stats WHERE stream = 'sensors') AS staged,
       s.dead_lettered,
       to_char(s.watermark, 'HH24:MI:SS.MS') AS watermark,
       s.last_error
FROM weir.status s WHERE s.stream = 'sensors';

\echo NEWEST ROWS: SELECT * FROM sensors ORDER BY _timestamp DESC
SELECT to_char(ts, 'HH24:MI:SS.MS') AS ts, sensor_id, temp, humidity, event_id,
       _partition AS p, _offset AS "offset"
FROM sensors ORDER BY _timestamp DESC LIMIT 3;

\echo DEAD LETTERS: SELECT * FROM weir.dead_letters
SELECT count(*), error_stage AS stage, sqlstate, left(min(message), 58) AS "message, for example"
FROM weir.dead_letters WHERE stream = 'sensors'
GROUP BY error_stage, sqlstate, column_name ORDER BY count(*) DESC LIMIT 7;

\echo OF THE LAST 10 SECONDS
SELECT count(*) AS rows, count(*) - count(DISTINCT event_id) AS "sent twice",
       count(*) FILTER (WHERE ts < _watermark) AS "later than 5 s"
FROM sensors WHERE _timestamp > now() - interval '10 seconds';

\echo LIVE WINDOWS: SELECT * FROM readings_10s
SELECT to_char(window_start, 'HH24:MI:SS') AS "from", to_char(window_end, 'HH24:MI:SS') AS "to", readings, sensors,
       round(avg_temp::numeric, 3) AS avg_temp, max_temp, CASE WHEN is_final THEN 'final' ELSE '' END AS " "
FROM readings_10s ORDER BY window_start DESC LIMIT 4;
