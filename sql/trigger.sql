-- Attach your own PL/pgSQL to a stream: statement triggers with a transition table.
SELECT weir.create_stream('orders', 'id int, customer text, amount numeric(10,2), ts timestamptz DEFAULT ''2026-01-01Z''',
    event_time => 'ts', partitions => 2);
CREATE TABLE totals (customer text PRIMARY KEY, orders bigint NOT NULL, amount numeric NOT NULL);
CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% of % on % with % rows', TG_WHEN, TG_OP, TG_TABLE_NAME, (SELECT count(*) FROM new_orders);
    INSERT INTO totals AS t
    SELECT customer, count(*), sum(amount) FROM new_orders GROUP BY customer
    ON CONFLICT (customer) DO UPDATE SET orders = t.orders + excluded.orders, amount = t.amount + excluded.amount;
    RETURN NULL;
END
$$;
CREATE TRIGGER add_up AFTER INSERT ON orders
    REFERENCING NEW TABLE AS new_orders FOR EACH STATEMENT EXECUTE FUNCTION add_up();
CREATE VIEW wrong_totals AS
SELECT customer, t.orders, t.amount, q.orders AS query_orders, q.amount AS query_amount FROM totals t FULL JOIN
    (SELECT customer, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY customer) q USING (customer)
WHERE (t.orders, t.amount) IS DISTINCT FROM (q.orders, q.amount);

-- It fires once for every batch, over the batch.
SELECT * FROM weir.ingest('orders', ARRAY['{"id": 1, "customer": "ann", "amount": 10}', '{"id": 2, "customer": "bob", "amount": 5.5}',
    '{"id": 3, "customer": "ann", "amount": 2.25}']);
SELECT * FROM weir.ingest('orders', '{"id": 4, "customer": "ann", "amount": 1}'::text, partition => 1);
SELECT * FROM totals ORDER BY customer;
TABLE wrong_totals;
-- not where nothing was staged
SELECT * FROM weir.ingest('orders', 'broken'::text);
-- a batch larger than one lot
SELECT * FROM weir.ingest('orders', (SELECT array_agg(jsonb_build_object('id', n, 'customer', 'c' || n % 3, 'amount', 1)) FROM generate_series(1, 2500) n));
TABLE wrong_totals;

-- Several triggers fire by name, BEFORE ones too; WHEN and other arguments work; those of other operations do not fire.
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % % %: %', TG_NAME, TG_WHEN, TG_OP, TG_LEVEL, TG_ARGV;
    RETURN NULL;
END
$$;
CREATE TRIGGER a_first AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION say('one', 'two');
CREATE TRIGGER before BEFORE INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER never AFTER INSERT ON orders FOR EACH STATEMENT WHEN (1 = 0) EXECUTE FUNCTION say();
CREATE TRIGGER not_this AFTER DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION say();
SELECT * FROM weir.ingest('orders', '{"id": 5, "customer": "eve", "amount": 1}'::text);
-- one that is disabled does not fire: it is the user's own
ALTER TABLE orders DISABLE TRIGGER a_first;
SELECT * FROM weir.ingest('orders', '{"id": 6, "customer": "eve", "amount": 1}'::text);
DROP TRIGGER a_first ON orders;
DROP TRIGGER before ON orders;
DROP TRIGGER never ON orders;
DROP TRIGGER not_this ON orders;

-- An error that one event raises is its own: it becomes a dead letter, the others are applied once.
CREATE OR REPLACE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO totals AS t
    SELECT customer, count(*), sum(amount) FROM new_orders GROUP BY customer
    ON CONFLICT (customer) DO UPDATE SET orders = t.orders + excluded.orders, amount = t.amount + excluded.amount;
    IF EXISTS (SELECT FROM new_orders WHERE amount < 0) THEN
        RAISE EXCEPTION 'negative amount' USING DETAIL = 'orders only go up', COLUMN = 'amount', CONSTRAINT = 'up';
    END IF;
    PERFORM 1 / nullif(id - 3107, 0) + 1 / (id - 3108) FROM new_orders;
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('orders', (SELECT array_agg(jsonb_build_object('id', n, 'customer', 'd', 'amount',
    CASE WHEN n IN (3101, 3102, 3110, 3116) THEN -1 ELSE 1 END) ORDER BY n) FROM generate_series(3101, 3116) n));
SELECT convert_from(value, 'UTF8')::jsonb ->> 'id' AS id, error_stage, sqlstate, message, detail, column_name, constraint_name, object_name
FROM weir.dead_letters WHERE stream = 'orders' AND error_stage = 'trigger' ORDER BY kafka_offset;
SELECT id FROM orders WHERE id BETWEEN 3101 AND 3116 ORDER BY id;
SELECT * FROM totals WHERE customer = 'd';
TABLE wrong_totals;
SELECT * FROM weir.audit('orders');
-- the watermark is moved by those that were applied alone
SELECT weir.create_stream('moved', 'ok boolean, ts timestamptz', event_time => 'ts');
CREATE FUNCTION only_ok() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ASSERT (SELECT bool_and(ok) FROM n), 'not ok';
    RETURN NULL;
END
$$;
CREATE TRIGGER only_ok AFTER INSERT ON moved REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION only_ok();
SELECT * FROM weir.ingest('moved', ARRAY['{"ok": true, "ts": "2026-01-01T00:00:01Z"}', '{"ok": false, "ts": "2026-01-01T00:00:09Z"}',
    '{"ok": true, "ts": "2026-01-01T00:00:02Z"}', '{"ok": true, "ts": "2026-01-01T00:00:03Z"}']);
SELECT _offset, ts AT TIME ZONE 'UTC' AS ts, _watermark AT TIME ZONE 'UTC' AS watermark FROM moved ORDER BY _offset;
SELECT watermark AT TIME ZONE 'UTC' AS watermark FROM weir.stream_stats WHERE stream = 'moved';

-- Errors of the environment and of the definition are no event's: they come out, and nothing is applied.
CREATE OR REPLACE FUNCTION only_ok() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = current_setting('test.errcode'), MESSAGE = 'as you wish';
END
$$;
CREATE FUNCTION outcome(code text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM set_config('test.errcode', code, false);
    SELECT dead_lettered INTO n FROM weir.ingest('moved', ARRAY['{"ts": "2026-01-01T00:00:03Z"}', '{"ts": "2026-01-01T00:00:03Z"}']);
    RETURN n || ' dead letters';
EXCEPTION WHEN OTHERS OR query_canceled THEN
    RETURN 'raised ' || SQLSTATE || ': ' || SQLERRM;
END
$$;
SELECT code, outcome(code) FROM unnest('{21000,22012,23505,44000,54000,P0001,P0002,08006,40001,40P01,53100,53200,55P03,57014,58030,42P01,42501,0A000,2F003,3F000,XX000,ZZ999}'::text[]) code;
SELECT * FROM weir.audit('moved');

-- A hundred events refused alike with none accepted: the trigger's fault, not theirs.
CREATE OR REPLACE FUNCTION only_ok() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nothing is good enough';
END
$$;
DO $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM weir.ingest('moved', (SELECT array_agg('{"ts": "2026-01-01T00:00:03Z"}'::text) FROM generate_series(1, 150)));
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RAISE NOTICE E'%: %\n%\n%', SQLSTATE, SQLERRM, detail, hint;
END
$$;
SELECT * FROM weir.audit('moved');
-- 99 are not enough
SELECT * FROM weir.ingest('moved', (SELECT array_agg('{"ts": "2026-01-01T00:00:03Z"}'::text) FROM generate_series(1, 99)));
SELECT * FROM weir.audit('moved');
-- corrected, it goes on
CREATE OR REPLACE FUNCTION only_ok() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT * FROM weir.ingest('moved', (SELECT array_agg('{"ts": "2026-01-01T00:00:03Z"}'::text) FROM generate_series(1, 150)));

-- An error of a deferred constraint trigger is found within the batch.
CREATE TABLE checked (customer text PRIMARY KEY);
ALTER TABLE totals ADD CONSTRAINT known FOREIGN KEY (customer) REFERENCES checked DEFERRABLE INITIALLY DEFERRED NOT VALID;
INSERT INTO checked VALUES ('known');
SELECT * FROM weir.ingest('orders', ARRAY['{"id": 201, "customer": "known", "amount": 1}', '{"id": 202, "customer": "unknown", "amount": 1}']);
SELECT error_stage, sqlstate, message, constraint_name FROM weir.dead_letters WHERE stream = 'orders' ORDER BY id DESC LIMIT 1;
SELECT * FROM totals WHERE customer IN ('known', 'unknown');
TABLE wrong_totals;
ALTER TABLE totals DROP CONSTRAINT known;

-- A trigger sees the columns of the stream, whatever the children's numbers are.
SELECT weir.create_stream('numbered', 'junk1 text, a int, junk2 text, b text, ts timestamptz DEFAULT ''2026-01-01Z''', event_time => 'ts');
ALTER TABLE numbered DROP COLUMN junk1;
CREATE TABLE copies (LIKE numbered);
CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO copies SELECT * FROM n;
    RETURN NULL;
END
$$;
CREATE TRIGGER copy AFTER INSERT ON numbered REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION copy();
SELECT accepted FROM weir.ingest('numbered', '{"a": 1, "junk2": "j", "b": "bee"}'::text);
-- a new child has no dropped columns
SELECT inhrelid::regclass AS chunk FROM pg_inherits WHERE inhparent = 'numbered'::regclass \gset
DROP TABLE :chunk;
SELECT accepted FROM weir.ingest('numbered', '{"a": 2, "junk2": "k", "b": "boo"}'::text);
ALTER TABLE numbered DROP COLUMN junk2, ADD COLUMN c text DEFAULT 'sea';
ALTER TABLE copies DROP COLUMN junk2, ADD COLUMN c text;
CREATE INDEX ON numbered (b, a);
SELECT accepted FROM weir.ingest('numbered', ARRAY['{"a": 3, "b": "bat"}', '{"a": 4, "b": "bit", "c": "see", "x": 1}']);
SELECT p.attname, p.attnum AS of_parent, c.attnum AS of_child
FROM pg_attribute p JOIN pg_inherits i ON i.inhparent = p.attrelid JOIN pg_attribute c ON c.attrelid = i.inhrelid AND c.attname = p.attname
WHERE p.attrelid = 'numbered'::regclass AND p.attnum > 0 ORDER BY p.attnum;
SELECT a, b, c, _offset, _extra FROM numbered ORDER BY a;
SELECT a, b, c, _offset, _extra FROM copies ORDER BY a;

-- Not into a stream from its own triggers; into another one, yes.
CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM weir.ingest('numbered', '{"a": 5}'::text);
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('numbered', '{"a": 6, "b": "x"}'::text);
CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM weir.ingest('moved', array_agg(jsonb_build_object('ok', true, 'ts', ts))) FROM n;
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('numbered', ARRAY['{"a": 7, "b": "x"}', '{"a": 8, "b": "y"}']);
SELECT count(*) FROM numbered WHERE a >= 6;
-- even one that has changed the stream's definition meanwhile
CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    GRANT SELECT ON numbered TO PUBLIC;
    PERFORM weir.alter_stream('numbered', retention => '2 hours');
    BEGIN
        PERFORM weir.ingest('numbered', '{"a": 5}'::text);
    EXCEPTION WHEN feature_not_supported THEN
        RAISE NOTICE '%', SQLERRM;
    END;
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('numbered', (SELECT array_agg('{"a": 10, "b": "x"}'::text) FROM generate_series(1, 2000)));
SELECT * FROM weir.ingest('numbered', '{"a": 10, "b": "x"}'::text);
SELECT retention FROM weir.catalog WHERE stream = 'numbered';
-- nor is a stream altered or dropped from there
CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE numbered ADD COLUMN z int;
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('numbered', '{"a": 11, "b": "x"}'::text);
CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM weir.drop_stream('numbered');
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('numbered', '{"a": 11, "b": "x"}'::text);
-- nor does a trigger write into the stream by itself
CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO numbered (a) VALUES (1);
    RETURN NULL;
END
$$;
SELECT * FROM weir.ingest('numbered', '{"a": 9, "b": "x"}'::text);
DROP TRIGGER copy ON numbered;

-- Row triggers would never fire, and are refused; so are BEFORE ones.
\set SHOW_CONTEXT never
CREATE TRIGGER each_row AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER each_row BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION say();
CREATE CONSTRAINT TRIGGER each_row AFTER INSERT ON orders DEFERRABLE FOR EACH ROW EXECUTE FUNCTION say();

-- A stream whose guard is off refuses to go on.
ALTER TABLE orders DISABLE TRIGGER weir_guard;
SELECT * FROM weir.ingest('orders', '{"id": 7, "customer": "eve", "amount": 1}'::text);
ALTER TABLE orders DISABLE TRIGGER ALL;
SELECT * FROM weir.ingest('orders', '{"id": 7, "customer": "eve", "amount": 1}'::text);
ALTER TABLE orders ENABLE REPLICA TRIGGER weir_guard;
SELECT * FROM weir.ingest('orders', '{"id": 7, "customer": "eve", "amount": 1}'::text);
ALTER TABLE orders ENABLE TRIGGER ALL;
SELECT * FROM weir.ingest('orders', '{"id": 7, "customer": "eve", "amount": 1}'::text);
-- nor do triggers stay silent in a session that asks for it
SET session_replication_role = replica;
SELECT * FROM weir.ingest('orders', '{"id": 8, "customer": "eve", "amount": 1}'::text);
RESET session_replication_role;
TABLE wrong_totals;
\set SHOW_CONTEXT never
DROP TRIGGER weir_guard ON orders;
-- event triggers do not see everything
SET session_replication_role = replica;
DROP TRIGGER weir_guard ON orders;
RESET session_replication_role;
SELECT * FROM weir.ingest('orders', '{"id": 9, "customer": "eve", "amount": 1}'::text);

SELECT s.stream, a.* FROM unnest('{orders,moved,numbered}'::text[]) s (stream), LATERAL weir.audit(s.stream::regclass) a;
DROP TABLE orders, moved, numbered, totals, checked, copies CASCADE;
DROP FUNCTION add_up, say, only_ok, outcome, copy;
