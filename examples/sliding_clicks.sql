-- Clicks of the last hour, every ten minutes, for clicks that come up to five
-- minutes out of order.

DROP SCHEMA IF EXISTS sliding_clicks CASCADE;
CREATE SCHEMA sliding_clicks;
SET search_path = sliding_clicks;
SET timezone = 'UTC';

SELECT weir.create_stream('clicks', 'page text, ts timestamptz',
    event_time => 'ts', max_out_of_orderness => '5 minutes');

SELECT weir.create_continuous_aggregate('clicks_1h',
    $$ SELECT page, count(*) AS clicks FROM clicks GROUP BY page $$,
    time_window => weir.hop(size => '1 hour', slide => '10 minutes'));

-- A click at 12:34 counts in six windows.
SELECT accepted FROM weir.ingest('clicks', '{"page": "/", "ts": "2026-01-05T12:34:00Z"}'::text);
SELECT to_char(window_start, 'HH24:MI') AS "from", to_char(window_end, 'HH24:MI') AS "to", page, clicks
FROM clicks_1h ORDER BY window_start;

-- Another one at 12:34 that comes after one at 12:46 is late for 11:40 to
-- 12:40, and counts in the other five.
SELECT accepted FROM weir.ingest('clicks', ARRAY[
    '{"page": "/", "ts": "2026-01-05T12:46:00Z"}',
    '{"page": "/pricing", "ts": "2026-01-05T12:34:00Z"}']);
SELECT to_char(window_start, 'HH24:MI') AS "from", to_char(window_end, 'HH24:MI') AS "to", page, clicks, is_final
FROM clicks_1h WHERE page = '/pricing' ORDER BY window_start;
SELECT to_char(window_start, 'HH24:MI') AS "from", to_char(window_end, 'HH24:MI') AS "to", kafka_offset
FROM weir.late_events WHERE stream_schema = 'sliding_clicks';
