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

-- A query over the stream, kept up to date: ten seconds a window, final as soon
-- as nothing that is in time can come any more.
SELECT weir.create_continuous_aggregate('readings_10s',
    $$ SELECT count(*) AS readings, count(DISTINCT sensor_id) AS sensors,
              avg(temp) AS avg_temp, max(temp) AS max_temp
       FROM sensors $$,
    time_window => weir.tumble('10 seconds'));

-- And one without a window: everything so far.
SELECT weir.create_continuous_aggregate('readings_ever',
    $$ SELECT count(*) AS readings FROM sensors $$);

-- What the screen needs to tell a rate.
CREATE UNLOGGED TABLE demo_sample (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    consumed numeric NOT NULL
);

SELECT weir.start('sensors');
