-- Each event once, however often it is sent: what dropDuplicates over a
-- watermark does in a stream processor.

DROP SCHEMA IF EXISTS drop_duplicates CASCADE;
CREATE SCHEMA drop_duplicates;
SET search_path = drop_duplicates;
SET timezone = 'UTC';

-- An id is remembered for a day of event time, on disk, with the event itself.
SELECT weir.create_stream('events', 'event_id text, amount numeric, ts timestamptz',
    event_time => 'ts', max_out_of_orderness => '10 minutes',
    event_id => '{event_id}', dedup_ttl => '1 day');

CREATE TABLE orders (event_id text PRIMARY KEY, amount numeric, processed_at timestamptz NOT NULL DEFAULT now());
CREATE FUNCTION store_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- no ON CONFLICT: nothing comes twice
    INSERT INTO orders (event_id, amount) SELECT event_id, amount FROM new_events;
    RETURN NULL;
END
$$;
CREATE TRIGGER store_orders AFTER INSERT ON events REFERENCING NEW TABLE AS new_events
    FOR EACH STATEMENT EXECUTE FUNCTION store_orders();
SELECT weir.create_continuous_aggregate('totals', $$ SELECT count(*) AS orders, sum(amount) AS amount FROM events $$);

-- A producer that got no answer sends a again.
SELECT * FROM weir.ingest('events', ARRAY[
    '{"event_id": "a", "amount": 10, "ts": "2026-01-05T12:00:00Z"}',
    '{"event_id": "b", "amount": 20, "ts": "2026-01-05T12:00:01Z"}',
    '{"event_id": "a", "amount": 10, "ts": "2026-01-05T12:00:00Z"}']);
SELECT event_id, amount FROM orders ORDER BY event_id;
SELECT * FROM totals;

-- Somebody sends the whole day once more: nothing changes, not even the time
-- at which an order was processed.
CREATE TEMP TABLE before AS SELECT * FROM orders;
SELECT * FROM weir.ingest('events', ARRAY[
    '{"event_id": "a", "amount": 10, "ts": "2026-01-05T12:00:00Z"}',
    '{"event_id": "b", "amount": 20, "ts": "2026-01-05T12:00:01Z"}',
    '{"event_id": "a", "amount": 10, "ts": "2026-01-05T12:00:00Z"}']);
SELECT count(*) AS changed FROM (TABLE orders EXCEPT TABLE before) o;
SELECT * FROM totals;

-- What was rolled back was never there: the next one counts.
BEGIN;
SELECT * FROM weir.ingest('events', '{"event_id": "c", "amount": 30, "ts": "2026-01-05T12:00:02Z"}'::text);
ROLLBACK;
SELECT * FROM weir.ingest('events', '{"event_id": "c", "amount": 30, "ts": "2026-01-05T12:00:02Z"}'::text);

-- Each message is accounted for.
SELECT consumed, staged, duplicate, balanced FROM weir.audit('events');

-- A day later, by the events' own clock, an id is a new one.
SELECT * FROM weir.ingest('events', ARRAY[
    '{"event_id": "d", "amount": 40, "ts": "2026-01-06T15:10:00Z"}',
    '{"event_id": "d", "amount": 40, "ts": "2026-01-06T15:10:00Z"}']);
DROP TRIGGER store_orders ON events;
SELECT * FROM weir.ingest('events', '{"event_id": "a", "amount": 10, "ts": "2026-01-06T15:10:00Z"}'::text);
