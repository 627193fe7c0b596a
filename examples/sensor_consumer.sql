-- The sensor consumer: what is often a loop in Python that reads Kafka,
-- converts, and inserts row by row.  Here it is one query.
--
-- Messages have the time as seconds since 1970 and no id of their own.  Kept
-- are readings with a humidity above 50, in degrees Fahrenheit.

DROP SCHEMA IF EXISTS sensor_consumer CASCADE;
CREATE SCHEMA sensor_consumer;
SET search_path = sensor_consumer;

CREATE TABLE readings (
    sensor_id int NOT NULL,
    temp_f float8 NOT NULL,
    humidity float8 NOT NULL,
    ts timestamptz NOT NULL
);

-- To read it from Kafka, add: server => 'kafka', topic => 'sensor-data'
SELECT weir.create_stream('sensor_data',
    columns => 'sensor_id int, temp float8, humidity float8, ts timestamptz',
    time_unit => 's', event_time => 'ts');

-- What this gives of each batch is appended to the table: one row when the
-- topic is calm, thousands when it is not.
SELECT weir.create_transform('keep_humid',
    'SELECT sensor_id, temp * 9 / 5 + 32 AS temp_f, humidity, ts FROM sensor_data WHERE humidity > 50',
    into_table => 'readings');

-- weir.ingest takes payloads from any session through the path that Kafka's
-- take: for tests like this one, and for other sources.
SELECT * FROM weir.ingest('sensor_data', ARRAY[
    '{"sensor_id": 1, "temp": 25, "humidity": 60, "ts": 1767607200}',
    '{"sensor_id": 2, "temp": 30, "humidity": 50, "ts": 1767607201}',
    '{"sensor_id": 3, "temp": -40, "humidity": 50.01, "ts": 1767607202.5}'
]);

-- 25 °C are 77 °F; a humidity of 50 is not above 50.  The loop that dies
-- between the commit here and the one in Kafka would have a row twice; here
-- the two are one commit.
SELECT sensor_id, temp_f, humidity, ts AT TIME ZONE 'UTC' AS utc FROM readings ORDER BY sensor_id;

-- All three are in the stream.
SELECT sensor_id, temp, humidity FROM sensor_data ORDER BY _offset;
