-- Upserts: tables that keep the latest row of each key.
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';

SELECT weir.create_stream('sensors', 'sensor_id int, temp numeric, ts timestamptz', event_time => 'ts', partitions => 2);
-- One event, at a second of the day.
CREATE FUNCTION s(float8) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT '2026-01-01Z'::timestamptz + $1 * interval '1 s' $$;
CREATE FUNCTION event(sensor_id int, temp numeric, second float8) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('sensor_id', $1, 'temp', $2, 'ts', s($3))
$$;

-- What is staged already counts.
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(1, 20, 10), event(2, 21, 10), event(1, 22, 12), event(1, 21, 11)]);
SELECT weir.create_upsert('sensor_latest', 'SELECT sensor_id, temp, ts FROM sensors', key => '{sensor_id}', order_by => 'ts');
\d sensor_latest
SELECT sensor_id, temp, ts FROM sensor_latest ORDER BY 1;
-- The latest by order_by stays, in whatever batch and order events come; among
-- equal ones that of the greater partition and offset.
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(1, 19, 11.5), event(2, 22, 13), event(3, 30, 1)], partition => 1);
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(2, 23, 13), event(2, 24, 13)]);
SELECT * FROM sensor_latest ORDER BY 1;
SELECT accepted FROM weir.ingest('sensors', event(2, 25, 13), partition => 1);
SELECT * FROM sensor_latest WHERE sensor_id = 2;
SELECT * FROM weir.verify('sensor_latest');

-- Columns that say which row is later are the table's own; others may write
-- nothing, and add what they like.
INSERT INTO sensor_latest VALUES (9, 9, now(), 0, 0);
UPDATE sensor_latest SET temp = 0;
DELETE FROM sensor_latest;
TRUNCATE sensor_latest;
ALTER TABLE sensor_latest ADD COLUMN note text DEFAULT 'new';
CREATE INDEX ON sensor_latest (temp);
\set SHOW_CONTEXT never
ALTER TABLE sensor_latest RENAME COLUMN temp TO t;
ALTER TABLE sensor_latest DROP COLUMN _offset;
ALTER TABLE sensor_latest ALTER COLUMN temp TYPE text;
ALTER TABLE sensor_latest ALTER COLUMN _offset TYPE numeric;
ALTER TABLE sensor_latest DROP CONSTRAINT sensor_latest_pkey;
\set SHOW_CONTEXT errors
ALTER TABLE sensor_latest RENAME TO latest;
ALTER TABLE sensors RENAME COLUMN temp TO temperature;
SELECT accepted FROM weir.ingest('sensors', jsonb_build_object('sensor_id', 4, 'temperature', 1, 'ts', s(20)));
SELECT * FROM latest WHERE sensor_id = 4;
ALTER TABLE sensors RENAME COLUMN temperature TO temp;

-- Errors of one event make it a dead letter that names the table, and apply it nowhere.
SELECT accepted, dead_lettered FROM weir.ingest('sensors', ARRAY[event(NULL, 1, 30), event(5, 1, 30)]);
SELECT error_stage, sqlstate, message, column_name, object_name FROM weir.dead_letters;
SELECT sensor_id FROM latest ORDER BY 1;
SELECT sensor_id FROM sensors WHERE ts = s(30);

-- Without what is staged it begins with what comes.
SELECT weir.create_upsert('from_now', 'SELECT sensor_id FROM sensors', '{sensor_id}', backfill => false);
SELECT accepted FROM weir.ingest('sensors', event(6, 1, 31));
SELECT * FROM from_now;
SELECT * FROM weir.verify('from_now');
SELECT weir.create_upsert('from_now', 'SELECT 1', '{a}', if_not_exists => true);
SELECT weir.create_upsert('from_now', 'SELECT 1', '{a}');
SELECT weir.create_upsert('sensors', 'SELECT 1', '{a}', if_not_exists => true);
SELECT weir.explain('from_now');

-- weir.verify finds what is wrong.
SET session_replication_role = replica;
UPDATE latest SET temp = -1 WHERE sensor_id = 1;
DELETE FROM latest WHERE sensor_id = 3;
INSERT INTO latest VALUES (8, 8, s(8), 0, 2);
SELECT * FROM weir.verify('latest');
RESET session_replication_role;

SELECT weir.drop('from_now');
DROP TABLE latest;
SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relname LIKE 'upsert\_%';
SELECT tgname FROM pg_trigger WHERE tgrelid = 'sensors'::regclass AND tgname LIKE 'weir_upsert%';
SELECT count(*) FROM weir_internal.upsert;

--
-- Deletes
--
-- An event for which delete_when is true takes the row along; an older event,
-- however late it comes, does not bring it back.
SELECT weir.create_upsert('alive', 'SELECT sensor_id, temp FROM sensors', '{sensor_id}', delete_when => 'temp < 0', backfill => false);
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(1, 20, 40), event(2, 20, 40), event(3, 20, 40), event(3, -1, 41)]);
SELECT sensor_id, temp FROM alive ORDER BY 1;
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(1, -1, 45), event(2, -1, 39), event(9, -1, 50)]);
SELECT sensor_id, temp FROM alive ORDER BY 1;
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(1, 1, 44), event(3, 1, 40.5), event(9, 1, 49)], partition => 1);
SELECT sensor_id, temp FROM alive ORDER BY 1;
SELECT accepted FROM weir.ingest('sensors', ARRAY[event(1, 2, 46), event(9, 2, 50)], partition => 1);
SELECT sensor_id, temp FROM alive ORDER BY 1;
SELECT * FROM weir.verify('alive');
SET client_min_messages = warning;
DROP TABLE sensors CASCADE;
RESET client_min_messages;
SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND (relname LIKE 'upsert\_%' OR relname = 'alive');

-- Tombstones: messages without a value delete the row of their key.
SELECT weir.create_stream('accounts', 'id int NOT NULL, balance int, ts timestamptz', event_time => 'ts',
    key_format => 'json', key_columns => '{id}', tombstones => 'row');
SELECT weir.create_upsert('open_accounts', 'SELECT id, balance FROM accounts WHERE balance > 0', '{id}');
CREATE FUNCTION put(id int, balance int, second float8) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s %s', accepted, dead_lettered) FROM weir.ingest('accounts',
        CASE WHEN $2 IS NOT NULL THEN jsonb_build_object('balance', $2, 'ts', s($3)) END,
        key => convert_to(jsonb_build_object('id', $1)::text, 'UTF8'), kafka_timestamp => s($3))
$$;
SELECT put(1, 10, 1), put(2, 20, 2), put(1, NULL, 5);
SELECT id, balance FROM open_accounts;
SELECT put(1, 11, 4), put(2, 21, 6), put(2, NULL, 5);
SELECT id, balance FROM open_accounts;
SELECT put(1, 12, 6);
SELECT id, balance FROM open_accounts ORDER BY 1;
SELECT * FROM weir.verify('open_accounts');
-- another order needs to be told what deletes
SELECT weir.create_upsert('by_balance', 'SELECT id, balance FROM accounts', '{id}', order_by => 'balance');
SELECT weir.drop('open_accounts');

-- Deletes are forgotten once no event can come before them: what is older is late.
SELECT weir.create_upsert('forgetful', 'SELECT id, balance FROM accounts', '{id}', tombstone_ttl => '10 s', backfill => false);
SELECT put(3, 1, 10), put(3, NULL, 11), put(4, 1, 20), put(3, 2, 10.5);
SELECT id, balance FROM forgetful;
SELECT put(4, 2, 21), put(4, 3, 22);
SELECT put(3, 3, 12.5), put(3, 3, 11.5);
SELECT id, balance FROM forgetful ORDER BY 1;
-- one that is late beside one that is not
SELECT accepted FROM weir.ingest('accounts', ARRAY[jsonb_build_object('balance', 4, 'ts', s(22.5)), jsonb_build_object('balance', 5, 'ts', s(5))],
    key => '{"id": 5}', kafka_timestamp => s(24));
SELECT stream, aggregate, partition, kafka_offset, window_start, window_end FROM weir.late_events ORDER BY kafka_offset;
SELECT regexp_replace(positions::text, '\d+', 'N') AS positions FROM weir_internal.upsert;
SELECT positions AS remembered FROM weir_internal.upsert \gset
SELECT count(*) FROM :remembered;
SELECT * FROM weir.verify('forgetful');
SET client_min_messages = warning;
DROP TABLE accounts CASCADE;
RESET client_min_messages;
SELECT count(*) FROM weir.late_events;

--
-- A table of the user's own
--
SELECT weir.create_stream('orders', 'id text, item int, amount numeric, version int', partitions => 2);
CREATE TABLE items (item int PRIMARY KEY, name varchar(5));
INSERT INTO items VALUES (1, 'shoes'), (2, 'hats');
CREATE TABLE order_lines (line serial, id text, item bigint, name varchar(5), amount numeric(6,1) CHECK (amount < 1000),
    seen_by text DEFAULT 'the stream', UNIQUE (item, id));
INSERT INTO order_lines (id, item, name, amount, seen_by) VALUES ('a', 1, 'old', 5, 'hand'), ('z', 1, 'old', 5, 'hand');
SELECT weir.create_upsert('lines', 'SELECT o.id, o.item, i.name, o.amount FROM orders o LEFT JOIN items i USING (item)',
    key => '{id,item}', order_by => 'version', into_table => 'order_lines');
SELECT weir.create_upsert('lines', 'SELECT o.id, o.item, i.name, o.amount, o.version FROM orders o LEFT JOIN items i USING (item)',
    key => '{id,item}', order_by => 'version', into_table => 'order_lines');
ALTER TABLE order_lines ADD COLUMN version int;
SELECT weir.create_upsert('lines', 'SELECT o.id, o.item, i.name, o.amount, o.version FROM orders o LEFT JOIN items i USING (item)',
    key => '{id,item}', order_by => 'version', into_table => 'order_lines', delete_when => 'amount = 0');
CREATE FUNCTION put_order(id text, item int, amount numeric, version int, partition int DEFAULT 0) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s %s', accepted, dead_lettered) FROM weir.ingest('orders',
        jsonb_build_object('id', $1, 'item', $2, 'amount', $3, 'version', $4), kafka_timestamp => s(0), partition => $5)
$$;
-- The first event wins over a row that was there; DEFAULTs fill in.
SELECT put_order('a', 1, 7.77, 3), put_order('b', 2, 8, 1), put_order('c', 3, 9, 1);
SELECT id, item, name, amount, seen_by, version FROM order_lines ORDER BY 1, 2;
SELECT put_order('a', 1, 1, 2), put_order('b', 2, 0, 2), put_order('b', 2, 5, 1, 1);
SELECT id, item, name, amount, seen_by, version FROM order_lines ORDER BY 1, 2;
-- Its constraints hold.
SELECT put_order('d', 1, 1000, 1), put_order('d', 1, 999, 1), put_order('e', 1, 1, NULL);
SELECT sqlstate, message, column_name, constraint_name, object_name FROM weir.dead_letters WHERE stream = 'orders' ORDER BY id;
SELECT id, amount FROM order_lines WHERE id >= 'd' ORDER BY 1;
SELECT * FROM weir.verify('order_lines');
-- One upsert to a table; weir.drop leaves a user's alone.
SELECT weir.create_upsert('more', 'SELECT id, item, version FROM orders', '{id,item}', into_table => 'order_lines');
\set SHOW_CONTEXT never
ALTER TABLE order_lines DROP COLUMN amount;
-- Its columns keep their types, and its key is unique by one index or another.
ALTER TABLE order_lines ALTER COLUMN amount TYPE numeric(8,2);
ALTER TABLE order_lines ALTER COLUMN id TYPE text COLLATE "C";
ALTER TABLE order_lines ALTER COLUMN line TYPE bigint;
ALTER TABLE order_lines DROP CONSTRAINT order_lines_item_id_key;
CREATE UNIQUE INDEX some_lines ON order_lines (id, item) WHERE amount > 0;
ALTER TABLE order_lines DROP CONSTRAINT order_lines_item_id_key, ADD CONSTRAINT later UNIQUE (id, item) DEFERRABLE;
ALTER TABLE order_lines DROP CONSTRAINT order_lines_item_id_key, ADD CONSTRAINT other UNIQUE (id, item);
CREATE UNIQUE INDEX more_lines ON order_lines (item, id);
ALTER TABLE order_lines DROP CONSTRAINT other;
DROP INDEX more_lines, some_lines;
DROP INDEX some_lines;
SELECT put_order('a', 1, 3, 4);
SELECT id, item, amount FROM order_lines WHERE id = 'a';
-- What event triggers have not seen, as in a restore that was broken off, batches do.
SET check_function_bodies = off;
DROP INDEX more_lines;
SELECT put_order('a', 1, 3, 5);
RESET check_function_bodies;
ALTER TABLE order_lines ADD PRIMARY KEY (id, item);
SELECT put_order('a', 1, 4, 6);
SELECT id, item, amount FROM order_lines WHERE id = 'a';
\set SHOW_CONTEXT errors
SELECT weir.drop('order_lines');
SELECT count(*) FROM order_lines;
SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relname LIKE 'upsert\_%';
-- What does not fit is refused.
CREATE UNIQUE INDEX ON order_lines (id) WHERE item > 0;
SELECT weir.create_upsert('lines', 'SELECT id, version FROM orders', '{id}', into_table => 'order_lines');
SELECT weir.create_upsert('lines', 'SELECT id, item, ARRAY[version] AS version FROM orders', '{id,item}', into_table => 'order_lines');
SELECT weir.create_upsert('lines', 'SELECT id, item, version FROM orders', '{id,item}', into_table => 'orders');
CREATE TEMP TABLE passing (id text PRIMARY KEY);
SELECT weir.create_upsert('lines', 'SELECT id FROM orders', '{id}', into_table => 'passing');
-- A crash would empty it; nor may it be made so later, whole or in part.
\set SHOW_CONTEXT never
CREATE UNLOGGED TABLE unlogged (id text PRIMARY KEY);
SELECT weir.create_upsert('lines', 'SELECT id FROM orders', '{id}', into_table => 'unlogged');
CREATE TABLE parted (id text PRIMARY KEY) PARTITION BY LIST (id);
CREATE UNLOGGED TABLE parted_all PARTITION OF parted DEFAULT;
SELECT weir.create_upsert('lines', 'SELECT id FROM orders', '{id}', into_table => 'parted');
ALTER TABLE parted_all SET LOGGED;
SELECT weir.create_upsert('lines', 'SELECT id FROM orders', '{id}', into_table => 'parted');
ALTER TABLE parted_all SET UNLOGGED;
ALTER TABLE parted DETACH PARTITION parted_all;
ALTER TABLE parted_all SET UNLOGGED;
ALTER TABLE parted ATTACH PARTITION parted_all DEFAULT;
SELECT weir.drop('parted');
ALTER TABLE parted ATTACH PARTITION parted_all DEFAULT;
SELECT weir.create_upsert('plain', 'SELECT id, version FROM orders', '{id}');
ALTER TABLE plain SET UNLOGGED;
SELECT weir.drop('plain');
\set SHOW_CONTEXT errors

--
-- Queries and options that are refused
--
SELECT weir.create_upsert('u', 'SELECT id, count(*) FROM orders GROUP BY id', '{id}');
SELECT weir.create_upsert('u', 'SELECT DISTINCT id FROM orders', '{id}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders UNION SELECT id FROM orders', '{id}');
SELECT weir.create_upsert('u', 'SELECT id, now() AS at FROM orders', '{id}');
SELECT weir.create_upsert('u', 'SELECT id, unnest(ARRAY[1, 2]) AS n FROM orders', '{id}');
SELECT weir.create_upsert('u', 'SELECT item FROM items', '{item}');
SELECT weir.create_upsert('u', 'SELECT id, _offset FROM orders', '{id}');
SELECT weir.create_upsert('u', 'SELECT id AS _weir_id FROM orders', '{_weir_id}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{nobody}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id,id}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{NULL}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', NULL);
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', order_by => 'version');
SELECT weir.create_upsert('u', 'SELECT id, point(1, 2) AS p FROM orders', '{id}', order_by => 'p');
SELECT weir.create_upsert('u', 'SELECT id, point(1, 2) AS p FROM orders', '{p}');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'amount = 0');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'id');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'true FROM items');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'EXISTS (SELECT FROM items)');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'count(*) > 1');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'random() > 1');
SELECT weir.create_upsert('u', 'SELECT id, version FROM orders', '{id}', order_by => 'version', tombstone_ttl => '1 day');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', tombstone_ttl => '1 day');
SELECT weir.create_upsert('u', 'SELECT id FROM orders', '{id}', delete_when => 'id = ''''', tombstone_ttl => '-1 day');
SELECT weir.create_upsert('pg_temp.u', 'SELECT id FROM orders', '{id}');
-- One event that gives one key twice is a dead letter; while an upsert is created it ends that.
SELECT weir.create_upsert('parts', 'SELECT o.id, o.version, p FROM orders o, generate_series(1, o.item) p', '{id,p}', order_by => 'version', backfill => false);
SELECT weir.create_upsert('twice', 'SELECT o.id, o.version + p AS v FROM orders o, generate_series(1, o.item) p', '{id}', order_by => 'v');
SELECT weir.create_upsert('twice', 'SELECT o.id, o.version + p AS v FROM orders o, generate_series(1, o.item) p', '{id}', order_by => 'v', backfill => false);
SELECT put_order('f', 2, 1, 1), put_order('f', 1, 1, 1), put_order('g', 0, 1, 1);
SELECT id, v FROM twice;
SELECT id, p FROM parts ORDER BY 1, 2;
SELECT sqlstate, message, object_name FROM weir.dead_letters WHERE stream = 'orders' ORDER BY id DESC LIMIT 1;
SET client_min_messages = warning;
DROP TABLE orders CASCADE;
RESET client_min_messages;

-- An event_id that is the key lets nothing but the first event of each pass.
SELECT weir.create_stream('once', 'id int, v int, version int', event_id => '{id}', dedup_ttl => '1 hour');
SELECT weir.create_upsert('first', 'SELECT id, v FROM once', '{id}');
SELECT accepted, duplicate FROM weir.ingest('once', ARRAY['{"id": 1, "v": 1}', '{"id": 1, "v": 2}'], kafka_timestamp => s(0));
SELECT id, v FROM first;
SELECT weir.create_stream('twice', 'id int, v int, version int', event_id => '{id,version}', dedup_ttl => '1 hour');
SELECT weir.create_upsert('last', 'SELECT id, v FROM twice', '{id}');
SET client_min_messages = warning;
DROP TABLE once, twice CASCADE;
RESET client_min_messages;

-- Chains: an upsert over the table of a transform.
SELECT weir.create_stream('raw', 'id int, f numeric, ts timestamptz', event_time => 'ts');
SELECT weir.create_transform('clean', 'SELECT id, round((f - 32) / 1.8, 1) AS c, ts FROM raw WHERE f IS NOT NULL');
SELECT weir.create_upsert('clean_latest', 'SELECT id, c FROM clean', '{id}', tombstone_ttl => '1 minute', delete_when => 'c < 0');
SELECT accepted, dead_lettered FROM weir.ingest('raw', ARRAY[
    jsonb_build_object('id', 1, 'f', 50, 'ts', s(1)), jsonb_build_object('id', 1, 'f', 68, 'ts', s(3)),
    jsonb_build_object('id', 1, 'f', 59, 'ts', s(2)), jsonb_build_object('id', 1, 'ts', s(9)),
    jsonb_build_object('id', 2, 'f', 0, 'ts', s(4)), jsonb_build_object('id', NULL, 'f', 0, 'ts', s(4))]);
SELECT id, c FROM clean_latest;
SELECT count(*) FROM clean;
SELECT message, object_name FROM weir.dead_letters WHERE stream = 'raw';
SELECT * FROM weir.verify('clean_latest');
SET client_min_messages = warning;
DROP TABLE raw CASCADE;
RESET client_min_messages;
SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND (relname LIKE 'upsert\_%' OR relname LIKE 'clean%');

--
-- Keys that are equal and not the same; names that need quotes
--
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT weir.create_stream('"Odd Stream"', '"Key" text COLLATE nocase, "n n" numeric, "order" int');
SELECT weir.create_upsert('"Odd Upsert"', 'SELECT "Key", "n n", "order" FROM "Odd Stream"', '{Key,"n n"}', order_by => 'order',
    delete_when => '"n n" > 5 AND "order" > 5');
SELECT accepted FROM weir.ingest('"Odd Stream"', ARRAY['{"Key": "a", "n n": 1, "order": 1}', '{"Key": "A", "n n": 1.0, "order": 2}',
    '{"Key": "b", "n n": 1, "order": 1}'], kafka_timestamp => s(0));
SELECT "Key", "n n", "order" FROM "Odd Upsert" ORDER BY 1;
SELECT accepted FROM weir.ingest('"Odd Stream"', ARRAY['{"Key": "B", "n n": 1.00, "order": 2}', '{"Key": "b", "n n": 9, "order": 9}'],
    kafka_timestamp => s(0));
SELECT "Key", "n n", "order" FROM "Odd Upsert" ORDER BY 1;
SELECT * FROM weir.verify('"Odd Upsert"');
SET client_min_messages = warning;
DROP TABLE "Odd Stream" CASCADE;
DROP TABLE items, order_lines, passing;
DROP COLLATION nocase;
DROP FUNCTION s, event, put, put_order;
