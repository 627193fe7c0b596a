-- Chains: aggregates and transforms over the table of a transform, all in the transaction of the batch.
SET TimeZone = 'UTC';
CREATE SCHEMA ch;
SET search_path = ch;

SELECT weir.create_stream('orders', 'order_id int, shop text, items jsonb, ts timestamptz',
    event_time => 'ts', max_out_of_orderness => '5 seconds', partitions => 2);
CREATE TABLE shops (shop text PRIMARY KEY, country text);
INSERT INTO shops VALUES ('a', 'DE'), ('b', 'FR'), ('c', 'DE');

-- clean, enrich, explode, aggregate
SELECT weir.create_transform('clean', $$ SELECT order_id, lower(shop) AS shop, items, ts FROM orders WHERE items IS NOT NULL $$);
SELECT weir.create_transform('items', $$
    SELECT c.order_id, s.country, i->>'sku' AS sku, (i->>'price')::numeric AS price, c.ts
    FROM clean c JOIN shops s USING (shop), jsonb_array_elements(c.items) i $$);
SELECT weir.create_continuous_aggregate('revenue',
    'SELECT country, sum(price) AS revenue, count(DISTINCT order_id) AS orders FROM items GROUP BY country',
    weir.tumble('1 minute'), allowed_lateness => '10 seconds');
SELECT weir.create_continuous_aggregate('total', 'SELECT sum(price) AS revenue, count(*) AS items FROM items');
SELECT object, kind, stream, source FROM weir.derived ORDER BY object;

SELECT * FROM weir.ingest('orders', ARRAY[
    '{"order_id": 1, "shop": "A", "items": [{"sku": "x", "price": 2.5}, {"sku": "y", "price": 1}], "ts": "2026-01-01T00:00:10Z"}',
    '{"order_id": 2, "shop": "b", "items": [{"sku": "x", "price": 4}], "ts": "2026-01-01T00:00:20Z"}',
    '{"order_id": 3, "shop": "unknown", "items": [{"sku": "x", "price": 8}], "ts": "2026-01-01T00:00:30Z"}',
    '{"order_id": 4, "shop": "c", "ts": "2026-01-01T00:00:40Z"}']);
SELECT * FROM revenue ORDER BY country;
SELECT * FROM total;

-- The watermark is the stream's, and comes along with each row: late is who is late in the stream.
SELECT accepted FROM weir.ingest('orders', '{"order_id": 5, "shop": "a", "items": [{"sku": "y", "price": 3}], "ts": "2026-01-01T00:01:20Z"}', partition => 0);
SELECT accepted FROM weir.ingest('orders', '{"order_id": 6, "shop": "a", "items": [{"sku": "y", "price": 5}, {"sku": "z", "price": 6}], "ts": "2026-01-01T00:00:59Z"}', partition => 0);
SELECT accepted FROM weir.ingest('orders', '{"order_id": 7, "shop": "a", "items": [{"sku": "y", "price": 10}], "ts": "2026-01-01T00:00:50Z"}', partition => 1);
SELECT country, revenue, orders, is_final FROM revenue ORDER BY window_start, country;
SELECT stream, aggregate, partition, kafka_offset, window_start FROM weir.late_events;
-- both partitions are past it
SELECT accepted FROM weir.ingest('orders', '{"order_id": 8, "shop": "b", "items": [{"sku": "y", "price": 7}], "ts": "2026-01-01T00:01:15Z"}', partition => 1);
SELECT country, revenue, orders, is_final FROM revenue ORDER BY window_start, country;
SELECT * FROM total;
SELECT * FROM weir.verify('clean');
SELECT * FROM weir.verify('items');
SELECT * FROM weir.verify('revenue');
SELECT * FROM weir.verify('total');

-- An error anywhere in the chain makes its event a dead letter, applied nowhere: object_name is the one that refused it.
SELECT * FROM weir.ingest('orders', ARRAY[
    '{"order_id": 9, "shop": "a", "items": [{"sku": "z", "price": 1}], "ts": "2026-01-01T00:01:30Z"}',
    '{"order_id": 10, "shop": "a", "items": [{"sku": "z", "price": "cheap"}], "ts": "2026-01-01T00:01:31Z"}',
    '{"order_id": 11, "shop": "a", "items": {}, "ts": "2026-01-01T00:01:32Z"}']);
SELECT kafka_offset, message, object_name FROM weir.dead_letters ORDER BY id;
SELECT count(*) FROM clean WHERE order_id >= 9;
SELECT weir.create_continuous_aggregate('inverse', 'SELECT sum(1 / (order_id - 12)) AS s FROM items');
SELECT dead_lettered FROM weir.ingest('orders', '{"order_id": 12, "shop": "a", "items": [{"price": 1}], "ts": "2026-01-01T00:01:33Z"}');
SELECT kafka_offset, message, object_name FROM weir.dead_letters ORDER BY id DESC LIMIT 1;
SELECT * FROM total;

-- The latest row of each key, too.
SELECT weir.create_upsert('latest', 'SELECT shop, order_id, ts FROM clean', key => '{shop}');
SELECT accepted FROM weir.ingest('orders', ARRAY[
    '{"order_id": 121, "shop": "b", "items": [], "ts": "2026-01-01T00:01:34Z"}',
    '{"order_id": 120, "shop": "B", "items": [], "ts": "2026-01-01T00:01:33Z"}']);
SELECT shop, order_id FROM latest ORDER BY shop;
SELECT * FROM weir.verify('latest');

-- What begins later begins with the rows that are there.
SELECT weir.create_continuous_aggregate('skus', 'SELECT sku, count(*) AS n FROM items GROUP BY sku', weir.hop('2 minutes', '1 minute'));
SELECT window_start, sku, n, is_final FROM skus ORDER BY 1, 2;
SELECT * FROM weir.verify('skus');
-- While it begins an error names the event.
\set SHOW_CONTEXT always
SELECT weir.create_continuous_aggregate('wrong', 'SELECT sum(1 / (order_id - 6)) AS s FROM items');
\set SHOW_CONTEXT errors

-- Which windows a table covers, the stream's event time says.
SELECT weir.create_transform('hours', $$ SELECT order_id, date_trunc('hour', ts) AS hour FROM orders $$, event_time => 'hour');
SELECT weir.create_continuous_aggregate('per_hour', 'SELECT count(*) AS n FROM hours', weir.tumble('1 hour'));
SELECT accepted FROM weir.ingest('orders', '{"order_id": 13, "ts": "2026-01-01T00:01:34Z"}');
SELECT * FROM per_hour;
SELECT * FROM weir.verify('per_hour');
SELECT weir.create_transform('late_hours', $$ SELECT order_id, date_trunc('hour', ts) AS hour FROM orders $$, event_time => 'hour',
    backfill => false);
SELECT weir.create_continuous_aggregate('per_late_hour', 'SELECT count(*) AS n FROM late_hours', weir.tumble('1 hour'));
SELECT weir.create_transform('late_orders', $$ SELECT order_id, ts FROM orders $$, backfill => false);
SELECT weir.create_continuous_aggregate('late_total', 'SELECT count(*) AS n FROM late_orders');
SELECT weir.create_continuous_aggregate('per_minute', 'SELECT count(*) AS n FROM late_orders', weir.tumble('1 minute'));
SELECT accepted FROM weir.ingest('orders', ARRAY['{"order_id": 14, "ts": "2026-01-01T00:01:35Z"}',
    '{"order_id": 15, "ts": "2026-01-01T00:02:35Z"}']);
SELECT * FROM per_minute;
SELECT * FROM weir.verify('per_minute');
-- An event time of one's own must be there.
SELECT weir.create_transform('due', $$ SELECT order_id, (items->0->>'due')::timestamptz AS due FROM orders $$, event_time => 'due',
    backfill => false);
SELECT * FROM weir.ingest('orders', ARRAY['{"order_id": 16, "ts": "2026-01-01T00:02:36Z"}',
    '{"order_id": 17, "items": [{"due": "2026-02-01Z"}], "shop": "?", "ts": "2026-01-01T00:02:36Z"}']);
SELECT message, object_name FROM weir.dead_letters ORDER BY id DESC LIMIT 1;
SELECT weir.drop('due');
-- Rows leave, and windows that would miss them are not begun.
SELECT weir.create_transform('brief', 'SELECT order_id, ts FROM orders', retention => '30 seconds');
SELECT accepted FROM weir.ingest('orders', ARRAY['{"order_id": 18, "ts": "2026-01-01T00:05:00Z"}'], partition => 1);
SELECT accepted FROM weir.ingest('orders', ARRAY['{"order_id": 19, "ts": "2026-01-01T00:05:00Z"}'], partition => 0);
SELECT accepted FROM weir.ingest('orders', ARRAY['{"order_id": 20, "ts": "2026-01-01T00:05:00Z"}'], partition => 0);
SELECT count(*) FROM brief;
SELECT weir.create_continuous_aggregate('per_brief', 'SELECT count(*) AS n FROM brief', weir.tumble('1 minute'));
SELECT * FROM per_brief;

-- One's own table is no source, nor is a table twice in the query.
CREATE TABLE own (order_id int);
SELECT weir.create_transform('to_own', 'SELECT order_id FROM clean', into_table => 'own');
SELECT weir.create_continuous_aggregate('x', 'SELECT count(*) FROM own');
SELECT weir.create_transform('x', 'SELECT a.order_id FROM clean a JOIN clean b USING (order_id)');
-- A disabled trigger would miss rows.
ALTER TABLE clean DISABLE TRIGGER ALL;
SELECT * FROM weir.ingest('orders', '{"order_id": 21, "items": [], "ts": "2026-01-01T00:05:00Z"}'::text);
ALTER TABLE clean ENABLE TRIGGER ALL;
SELECT tgenabled, count(*) FROM pg_trigger WHERE tgrelid = 'clean'::regclass GROUP BY 1;
DO $$ DECLARE t name; BEGIN
    FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'clean'::regclass LOOP
        EXECUTE format('ALTER TABLE clean ENABLE ALWAYS TRIGGER %I', t);
    END LOOP;
END $$;

-- With dependents it is not dropped, but with CASCADE.
\set VERBOSITY terse
SELECT weir.drop('clean');
DROP TABLE items;
SET client_min_messages = warning;
DROP TABLE items CASCADE;
SELECT object, source FROM weir.derived ORDER BY object;
SELECT accepted FROM weir.ingest('orders', '{"order_id": 22, "items": [], "shop": "a", "ts": "2026-01-01T00:05:00Z"}');
DROP TABLE clean CASCADE;
SELECT object, source FROM weir.derived ORDER BY object;
SELECT weir.drop_stream('orders', cascade => true);
SELECT object, source FROM weir.derived ORDER BY object;
SELECT count(*) AS left_behind FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname ~ '^(transform|aggregate)_\d+';
DROP SCHEMA ch CASCADE;
