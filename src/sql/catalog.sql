-- The catalogue.  Only catalog.c (and the views in status.sql) name these
-- tables.  Users reach them through views.

-- One row per stream.
CREATE TABLE weir_internal.stream (
    stream regclass PRIMARY KEY,                -- the staging table
    server name,                                -- NULL: lives by weir.ingest alone
    topic text,
    format text NOT NULL,
    key_format text,
    key_columns text[] NOT NULL DEFAULT '{}',
    event_id text[] NOT NULL DEFAULT '{}',
    dedup_ttl interval,
    event_time name,                            -- NULL: Kafka's timestamp
    max_out_of_orderness interval NOT NULL,
    max_future interval NOT NULL,
    idle_timeout interval,
    retention interval NOT NULL,
    start_from text NOT NULL,
    paths jsonb NOT NULL,
    time_unit text,
    column_options jsonb NOT NULL,
    metadata text[] NOT NULL,
    tombstones text NOT NULL,
    isolation_level text NOT NULL,
    on_data_loss text NOT NULL,
    parallelism int NOT NULL,
    batch_rows int,                             -- NULL: weir.batch_rows
    batch_bytes int,
    batch_interval interval,
    search_path text NOT NULL,                  -- in force while triggers run
    runs_on text,                               -- database that runs it; NULL: stopped
    cluster_id text,                            -- Kafka's, once seen
    held_watermark timestamptz NOT NULL DEFAULT '-infinity',    -- the stream watermark is never less
    definition_version bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE weir_internal.stream IS 'streams: one row per staging table';
-- Dumped: the user's definitions.  runs_on names the database that was dumped,
-- so a restored copy comes up stopped.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.stream', '');

-- How far each partition is applied.  One small row that changes with every
-- batch: hence the low fillfactor, so that updates stay on their page.
CREATE TABLE weir_internal.stream_partition (
    stream regclass,
    partition int,
    applied_offset bigint NOT NULL,             -- everything below is applied
    watermark timestamptz NOT NULL DEFAULT '-infinity',
    consumed bigint NOT NULL DEFAULT 0,
    staged bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    replayed bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    end_offset bigint,                          -- last stable offset when last seen
    last_timestamp timestamptz,                 -- Kafka's, of the last applied message
    idle_since timestamptz,                     -- left out of the stream watermark since
    floor timestamptz,                          -- least _watermark of events to come
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, partition)
) WITH (fillfactor = 25, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE weir_internal.stream_partition IS 'applied offset, watermark and counters of each partition of each stream';
-- Dumped: offsets belong to the results of the same snapshot.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.stream_partition', '');

-- Where a partition that had been left out for idleness, or came late, went on
-- with the stream's watermark: needed to give rows the same _watermark again.
CREATE TABLE weir_internal.watermark_floor (
    stream regclass,
    partition int,
    from_offset bigint,
    floor timestamptz NOT NULL,
    logged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, partition, from_offset)
);
COMMENT ON TABLE weir_internal.watermark_floor IS 'least watermark of a partition from an offset on, after idleness';
-- Dumped: belongs to the offsets.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.watermark_floor', '');

-- Children of staging tables, newest last.
CREATE TABLE weir_internal.chunk (
    stream regclass,
    chunk regclass PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz                       -- NULL: rows still go here
);
CREATE INDEX ON weir_internal.chunk (stream, created_at);
COMMENT ON TABLE weir_internal.chunk IS 'child tables that hold the staged rows of a stream';
-- Dumped: says which children belong to which stream.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.chunk', '');

-- Messages that could not be applied.
CREATE TABLE weir_internal.dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream regclass NOT NULL,
    partition int NOT NULL,
    kafka_offset bigint NOT NULL,
    kafka_timestamp timestamptz,
    key bytea,
    value bytea,
    headers jsonb,
    error_stage text NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    detail text,
    column_name text,
    constraint_name text,
    object_name text,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamptz,
    replayed_value bytea                        -- where a transform changed it
);
CREATE INDEX ON weir_internal.dead_letter (stream, partition, kafka_offset);
CREATE INDEX ON weir_internal.dead_letter (failed_at);
COMMENT ON TABLE weir_internal.dead_letter IS 'messages that could not be applied, kept whole with the reason';
-- Dumped: the only copy of what failed; its sequence with it.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('weir_internal.dead_letter_id_seq', '');
