-- Watermarks: what a partition had seen before each event.
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- seconds of 2026-01-01 as events
CREATE FUNCTION events(VARIADIC seconds float8[]) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(CASE WHEN s IS NOT NULL THEN jsonb_build_object('ts', '2026-01-01Z'::timestamptz + s * interval '1 s') ELSE '{}' END::text ORDER BY i)
    FROM unnest(seconds) WITH ORDINALITY u (s, i)
$$;
CREATE FUNCTION s(timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN isfinite($1) THEN round(extract(epoch FROM $1 - '2026-01-01Z'::timestamptz), 3)::text ELSE $1::text END
$$;

-- _watermark = the greatest event time before it, less max_out_of_orderness; -infinity for the first.
SELECT weir.create_stream('w', 'ts timestamptz', event_time => 'ts', max_out_of_orderness => '4 seconds', partitions => 2);
SELECT accepted FROM weir.ingest('w', events(10, 7, 13.999, 14, 2, 14.001));
SELECT _offset, s(ts) AS t, s(_watermark) AS watermark FROM w ORDER BY _offset;
-- it goes on over batches and never back
SELECT accepted FROM weir.ingest('w', events(1));
SELECT accepted FROM weir.ingest('w', events(20));
SELECT accepted FROM weir.ingest('w', events(20));
SELECT _offset, s(ts) AS t, s(_watermark) AS watermark FROM w WHERE _offset >= 6 ORDER BY _offset;

-- Each partition has its own; the stream's is the least of them, held back by those without any event.
SELECT partition, s(watermark) FROM weir.stream_stats WHERE stream = 'w' ORDER BY 1;
SELECT s(watermark) AS watermark, held_back_by FROM weir.status WHERE stream = 'w';
SELECT accepted FROM weir.ingest('w', events(5, 12), partition => 1);
SELECT _offset, s(ts) AS t, s(_watermark) AS watermark FROM w WHERE _partition = 1 ORDER BY _offset;
SELECT partition, s(watermark) FROM weir.stream_stats WHERE stream = 'w' ORDER BY 1;
SELECT s(watermark) AS watermark, held_back_by FROM weir.status WHERE stream = 'w';

-- Event times that are no times are dead letters and move nothing; nor do other dead letters.
SELECT * FROM weir.ingest('w', ARRAY['{"ts": null}', '{}', '{"ts": "infinity"}', '{"ts": "-infinity"}',
    '{"ts": "2026-01-01T00:00:59Z"', '{"ts": "nonsense"}', NULL, '{"ts": "2026-01-01T00:00:13Z"}'], partition => 1);
SELECT kafka_offset, error_stage, sqlstate, message, column_name FROM weir.dead_letters WHERE stream = 'w' ORDER BY id;
SELECT _offset, s(ts) AS t, s(_watermark) AS watermark FROM w WHERE _partition = 1 ORDER BY _offset;
SELECT s(watermark) FROM weir.stream_stats WHERE stream = 'w' AND partition = 1;

-- max_future: so far ahead of the clock an event may be.
SELECT weir.create_stream('f', 'ts timestamptz', event_time => 'ts', max_future => '1 hour');
SELECT * FROM weir.ingest('f', ARRAY[
    jsonb_build_object('ts', clock_timestamp() + interval '59 minutes'),
    jsonb_build_object('ts', clock_timestamp() + interval '61 minutes'),
    jsonb_build_object('ts', '0044-03-15 00:00:00Z BC'),
    jsonb_build_object('ts', '294276-12-31 00:00:00Z')]);
-- Kafka's own timestamp is the device's word, not the broker's: it judges nobody
SELECT * FROM weir.ingest('f', '{"ts": "2100-01-01T00:00:00Z"}'::text, kafka_timestamp => '2100-01-01Z');
SELECT kafka_offset, error_stage, sqlstate, message, detail, column_name FROM weir.dead_letters WHERE stream = 'f' ORDER BY id;
SELECT watermark BETWEEN clock_timestamp() + interval '58 minutes' AND clock_timestamp() + interval '59 minutes' AS moved_by_the_first
FROM weir.stream_stats WHERE stream = 'f';
SELECT weir.alter_stream('f', max_future => '0');
SELECT * FROM weir.ingest('f', jsonb_build_object('ts', clock_timestamp() + interval '1 minute'));

-- Another max_out_of_orderness holds from the next event on, and lowers no watermark.
SELECT weir.create_stream('b', 'ts timestamptz', event_time => 'ts');
SELECT accepted FROM weir.ingest('b', events(10, 20));
SELECT weir.alter_stream('b', max_out_of_orderness => '15 seconds');
SELECT accepted FROM weir.ingest('b', events(30, 40, 40));
SELECT _offset, s(ts) AS t, s(_watermark) AS watermark FROM b ORDER BY _offset;

-- Without a declared event time it is Kafka's timestamp.
SELECT weir.create_stream('k', 'a int', max_out_of_orderness => '1 second');
SELECT accepted FROM weir.ingest('k', '{"a": 1}'::text, kafka_timestamp => '2026-01-01 00:00:10Z');
SELECT accepted FROM weir.ingest('k', '{"a": 2}'::text, kafka_timestamp => '2026-01-01 00:00:05Z');
SELECT accepted FROM weir.ingest('k', '{"a": 3}'::text, kafka_timestamp => '2026-01-01 00:00:20Z');
SELECT accepted FROM weir.ingest('k', '{"a": 4}'::text, kafka_timestamp => '2026-01-01 00:00:20Z');
SELECT accepted, dead_lettered FROM weir.ingest('k', '{"a": 5}'::text, kafka_timestamp => 'infinity');
SELECT accepted, dead_lettered FROM weir.ingest('k', '{"a": 6}'::text, kafka_timestamp => '2200-01-01Z');
SELECT accepted, dead_lettered FROM weir.ingest('k', '{"a": 7}'::text, kafka_timestamp => '1900-01-01Z');
SELECT a, s(_timestamp) AS t, s(_watermark) AS watermark FROM k ORDER BY _offset;
SELECT kafka_offset, error_stage, message, column_name FROM weir.dead_letters WHERE stream = 'k' ORDER BY id;

-- However events are split into batches and interleaved, watermarks come out the same.
SELECT weir.create_stream('one', 'n int, ts timestamptz', event_time => 'ts', max_out_of_orderness => '3 seconds', partitions => 3);
SELECT weir.create_stream('many', 'n int, ts timestamptz', event_time => 'ts', max_out_of_orderness => '3 seconds', partitions => 3);
CREATE TABLE source AS
SELECT n, n % 3 AS p, jsonb_build_object('n', n, 'ts', CASE WHEN n % 11 = 0 THEN NULL ELSE '2026-01-01Z'::timestamptz + interval '1 s' * (n * 7919 % 100) END) AS event
FROM generate_series(1, 300) n;
SELECT p, i.* FROM (SELECT p, array_agg(event ORDER BY n) AS events FROM source GROUP BY p) s,
    LATERAL weir.ingest('one', events, partition => p) i ORDER BY p;
SELECT sum(accepted), sum(dead_lettered)
FROM (SELECT * FROM source ORDER BY (n - 1) / 30, p, n) s, LATERAL weir.ingest('many', event, partition => p);
SELECT count(*) FROM one;
(TABLE one EXCEPT TABLE many) UNION ALL (TABLE many EXCEPT TABLE one);
-- the rule, written in SQL
SELECT count(*) FROM (
    SELECT _watermark, coalesce(max(ts) OVER (PARTITION BY _partition ORDER BY _offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        - interval '3 s', '-infinity') AS expected FROM one) x
WHERE _watermark IS DISTINCT FROM expected;

SELECT s.stream, a.* FROM unnest('{w,f,b,k,one,many}'::text[]) s (stream), LATERAL weir.audit(s.stream::regclass) a;
DROP TABLE w, f, b, k, one, many, source;
DROP FUNCTION events, s;
