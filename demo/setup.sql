-- The demo's stream, and what hangs on it.  Run by demo/run, which sets
-- :topic.

-- A stream is a table that fills itself.  What does not fit its columns and
-- constraints goes to weir.dead_letters.
SELECT weir.create_stream('sensors',
    columns => $$
        event_id uuid NOT NULL,
        sensor_id int NOT NULL,
        temp float8,
        humidity float8 CHECK (humidity BETWEEN 0 AND 100),
        ts timestamptz
    $$,
    server => 'kafka', topic => :'topic',
    event_time => 'ts', max_out_of_orderness => '5 seconds');

CREATE INDEX ON sensors (_timestamp);

-- Attach your own trigger: it sees each batch as a table, in the transaction
-- that also moves the offsets.  This one counts readings per minute; what
-- comes late still counts in the minute it is from.
CREATE TABLE readings_per_minute (
    minute timestamptz PRIMARY KEY,
    readings bigint NOT NULL,
    temp_sum float8 NOT NULL,
    temp_max float8 NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION count_readings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO readings_per_minute AS r
    SELECT date_trunc('minute', ts), count(*), sum(temp), max(temp)
    FROM batch
    GROUP BY 1
    ON CONFLICT (minute) DO UPDATE SET
        readings = r.readings + excluded.readings,
        temp_sum = r.temp_sum + excluded.temp_sum,
        temp_max = greatest(r.temp_max, excluded.temp_max);
    RETURN NULL;
END
$$;

CREATE TRIGGER count_readings AFTER INSERT ON sensors
    REFERENCING NEW TABLE AS batch
    FOR EACH STATEMENT EXECUTE FUNCTION count_readings();

-- What the screen needs to tell a rate.
CREATE UNLOGGED TABLE demo_sample (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    consumed numeric NOT NULL
);

SELECT weir.start('sensors');
