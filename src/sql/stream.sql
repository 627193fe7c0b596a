-- Streams: made, changed, started, stopped.

CREATE FUNCTION weir.create_stream(
    name text,
    columns text,
    server name DEFAULT NULL,
    topic text DEFAULT NULL,
    format text DEFAULT 'json',
    key_format text DEFAULT NULL,
    key_columns text[] DEFAULT NULL,
    event_id text[] DEFAULT NULL,
    dedup_ttl interval DEFAULT NULL,
    event_time name DEFAULT NULL,
    max_out_of_orderness interval DEFAULT '0',
    max_future interval DEFAULT '1 day',
    idle_timeout interval DEFAULT NULL,
    retention interval DEFAULT '1 hour',
    start_from text DEFAULT 'earliest',
    paths jsonb DEFAULT '{}',
    time_unit text DEFAULT NULL,
    column_options jsonb DEFAULT '{}',
    metadata text[] DEFAULT '{}',
    tombstones text DEFAULT 'dead_letter',
    isolation_level text DEFAULT 'read_committed',
    on_data_loss text DEFAULT 'stop',
    parallelism int DEFAULT 1,
    partitions int DEFAULT 1,
    batch_rows int DEFAULT NULL,
    batch_bytes int DEFAULT NULL,
    batch_interval interval DEFAULT NULL,
    commit_to_group text DEFAULT NULL,
    if_not_exists boolean DEFAULT false)
RETURNS regclass
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_create_stream';
COMMENT ON FUNCTION weir.create_stream IS
'Creates a stream: a staging table of that name with the given columns, to be filled from a Kafka topic or by weir.ingest.
Durations are intervals without months. Errors: 42P07 the name is taken, 42501 no USAGE on the server, 22023 a parameter is out of its range (the message names it), 42703 a column that event_id or event_time names does not exist, 42883 the type of one of event_id cannot be hashed.
event_id: columns that are the same in duplicates; of all events with one id the first counts, for dedup_ttl of event time.';

CREATE FUNCTION weir.alter_stream(
    stream regclass,
    dedup_ttl interval DEFAULT NULL,
    max_out_of_orderness interval DEFAULT NULL,
    max_future interval DEFAULT NULL,
    idle_timeout interval DEFAULT NULL,
    retention interval DEFAULT NULL,
    paths jsonb DEFAULT NULL,
    time_unit text DEFAULT NULL,
    column_options jsonb DEFAULT NULL,
    tombstones text DEFAULT NULL,
    isolation_level text DEFAULT NULL,
    on_data_loss text DEFAULT NULL,
    parallelism int DEFAULT NULL,
    batch_rows int DEFAULT NULL,
    batch_bytes int DEFAULT NULL,
    batch_interval interval DEFAULT NULL,
    commit_to_group text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_alter_stream';
COMMENT ON FUNCTION weir.alter_stream IS
'Changes a stream''s options; NULL leaves one as it is. Waits for the running batch; the change holds from the next one on. idle_timeout of 0 turns it off, as does commit_to_group of an empty string. Columns change by ALTER TABLE.';

CREATE FUNCTION weir.drop_stream(stream regclass, cascade boolean DEFAULT false) RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_drop_stream';
COMMENT ON FUNCTION weir.drop_stream(regclass, boolean) IS
'Drops a stream with its rows, offsets and dead letters, as DROP TABLE does. With cascade also what depends on it. Rolls a running batch back.';

CREATE FUNCTION weir.start(stream regclass) RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_start';
COMMENT ON FUNCTION weir.start(regclass) IS
'Starts reading from Kafka when the transaction commits, and again after every restart of the server. Warns when broker or topic are not there. Error 55000 without pg_weir in shared_preload_libraries.';

CREATE FUNCTION weir.stop(stream regclass, cancel_batch boolean DEFAULT false) RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_stop';
COMMENT ON FUNCTION weir.stop(regclass, boolean) IS
'Stops reading from Kafka. Waits for the running batch, or with cancel_batch rolls it back: its messages come again when the stream is started. The stream stands still from here on.';

CREATE FUNCTION weir_internal.ring() RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_ring';
COMMENT ON FUNCTION weir_internal.ring() IS 'has the launcher look at this database''s streams after commit';

CREATE FUNCTION weir.seek(stream regclass, seek_to text, reset boolean DEFAULT false) RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_seek';
COMMENT ON FUNCTION weir.seek(regclass, text, boolean) IS
'Sets from where a stream reads on: earliest, latest, a timestamp, or {"partition": offset, …} as JSON. Going back over events already applied is refused (22023), as they would count twice; what is passed over is recorded in weir.gaps. With reset the stream is emptied first, in this transaction: rows, watermarks, counters, dead letters that will be judged again; then it begins as a new one would with that start_from. Waits for the running batch and, with reset, for those who read the stream; the workers go on from there when the transaction commits. Error 08xxx when the broker does not answer.';

CREATE FUNCTION weir.wait(stream regclass, timeout_after interval DEFAULT '10 s') RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_wait';
COMMENT ON FUNCTION weir.wait(regclass, interval) IS
'Waits until a stream runs and has applied everything the broker has now (up to the last stable offset, under read_committed). Needs SELECT on the stream. Error 57014 after timeout_after, saying what is missing; 55000 if the stream is stopped, has failed, or was started in this very transaction. Without Kafka it returns at once.';
