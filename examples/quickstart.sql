-- Quickstart: a table that follows a Kafka topic.
--
--	tools/sandbox up
--	tools/sandbox topic sensor-data --partitions 1
--	tools/sandbox produce sensor-data <examples/data/sensor-data.json
--	tools/sandbox psql -f examples/quickstart.sql

DROP SCHEMA IF EXISTS quickstart CASCADE;
CREATE SCHEMA quickstart;
SET search_path = quickstart;

-- The sandbox has made the server:
--	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka
--	    OPTIONS ("bootstrap.servers" 'localhost:9092');

-- A stream is a table.  The fields of the JSON go to the columns of their names.
SELECT weir.create_stream('sensors',
    columns => 'event_id uuid, sensor_id int, temp float8, humidity float8, ts timestamptz',
    server => 'kafka', topic => 'sensor-data',
    event_time => 'ts', max_out_of_orderness => '5 seconds');

-- Attach your own trigger.  It sees each batch of new rows as a table, and what
-- it writes commits together with the offsets: each reading counts once,
-- whatever is killed, whenever.
CREATE TABLE per_sensor (sensor_id int PRIMARY KEY, readings bigint, temp_max float8);

CREATE FUNCTION count_readings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO per_sensor AS p
    SELECT sensor_id, count(*), max(temp) FROM batch GROUP BY sensor_id
    ON CONFLICT (sensor_id) DO UPDATE SET
        readings = p.readings + excluded.readings,
        temp_max = greatest(p.temp_max, excluded.temp_max);
    RETURN NULL;
END
$$;

CREATE TRIGGER count_readings AFTER INSERT ON sensors
    REFERENCING NEW TABLE AS batch
    FOR EACH STATEMENT EXECUTE FUNCTION count_readings();

-- Or have a query kept up to date: a view that is as fresh as the last commit.
SELECT weir.create_continuous_aggregate('sensor_1m',
    $$ SELECT sensor_id, avg(temp) AS avg_temp, count(*) AS readings FROM sensors GROUP BY sensor_id $$,
    time_window => weir.tumble('1 minute'));

-- Read the topic from its beginning, and wait until all of it is here.
SELECT weir.start('sensors');
SELECT weir.wait('sensors');

-- The rows, with where they are from, and fields that no column holds.
SELECT sensor_id, temp, humidity, ts, _partition, _offset, _extra FROM sensors ORDER BY _offset;

-- What the trigger made of them.
SELECT * FROM per_sensor ORDER BY sensor_id;

-- And by minute.  Final: no reading in time can come any more.
SELECT window_start, sensor_id, avg_temp, readings, is_final FROM sensor_1m ORDER BY window_start, sensor_id;

-- Two messages were malformed.  They are kept, with the reason.
SELECT kafka_offset, error_stage, sqlstate, message, column_name
FROM weir.dead_letters WHERE stream_schema = 'quickstart' ORDER BY kafka_offset;

-- Nothing vanishes.
SELECT consumed, staged, dead_lettered, balanced FROM weir.audit('sensors');

-- Produce more, and look again: it is there already.
--	tools/sandbox produce sensor-data
--	tools/sandbox psql -c 'SELECT * FROM quickstart.sensors'
SELECT weir.stop('sensors');
