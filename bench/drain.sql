-- The stream to drain: five columns, one worker, the default settings.
SELECT weir.create_stream('drain',
    columns => 'event_id uuid, sensor_id int, temp float8, humidity float8, ts timestamptz',
    server => 'kafka', topic => 'drain', event_time => 'ts', max_out_of_orderness => '5 seconds');
