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
    ids regclass UNIQUE,                        -- table of remembered ids; NULL: no event_id
    id_types regtype[],                         -- of event_id's columns: what the ids are made of
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
    commit_to_group text,                       -- consumer group that is told applied offsets; NULL: none
    parallelism int NOT NULL,
    batch_rows int,                             -- NULL: weir.batch_rows
    batch_bytes int,
    batch_interval interval,
    search_path text NOT NULL,                  -- in force while triggers run
    runs_on text,                               -- database that runs it; NULL: stopped
    cluster_id text,                            -- Kafka's, once seen
    held_watermark timestamptz NOT NULL DEFAULT '-infinity',    -- the stream watermark is never less
    staging_generation bigint NOT NULL DEFAULT 1,   -- how often staged rows were lost, and one; see staging_marker
    definition_version bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE weir_internal.stream IS 'streams: one row per staging table';
-- Dumped: the user's definitions.  runs_on names the database that was dumped,
-- so a restored copy comes up stopped.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.stream', '');

-- Ids of streams with event_id are in tables of their own, one row a block.
-- A number is never given twice: sessions know by it what they have seen.
CREATE SEQUENCE weir_internal.dedup_block;
COMMENT ON SEQUENCE weir_internal.dedup_block IS 'numbers of blocks of remembered event ids';
-- Dumped: numbers that it gave are in use.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.dedup_block', '');

-- How far each partition is applied.  One small row that changes with every
-- batch: hence the low fillfactor, so that updates stay on their page.
--
-- They do not stay there while an old snapshot keeps former versions from being
-- removed: whoever then looked for the row would come by all of them.  So a row
-- that has had to leave its page gets another key, and is looked for from the
-- greatest generation downwards: on its page, and maybe on the one before.
CREATE TABLE weir_internal.stream_partition (
    stream regclass,
    partition int,
    applied_offset bigint NOT NULL,             -- everything below is applied
    watermark timestamptz NOT NULL DEFAULT '-infinity',
    seen timestamptz NOT NULL DEFAULT '-infinity',  -- greatest event time of what was accepted, or replayed
    consumed bigint NOT NULL DEFAULT 0,
    staged bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    replayed bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    end_offset bigint,                          -- last stable offset when last seen
    behind_since timestamptz,                   -- messages that could not be applied were seen since; before, there were none
    last_timestamp timestamptz,                 -- Kafka's, of the last applied message
    mark_offset bigint,                         -- that message, by which the topic is known again
    mark_crc bigint,
    idle_since timestamptz,                     -- left out of the stream watermark since
    floor timestamptz,                          -- least _watermark of events to come
    updated_at timestamptz NOT NULL DEFAULT now(),
    generation bigint NOT NULL DEFAULT 0,       -- how often it has left its page; there is one row a partition
    home bigint NOT NULL DEFAULT -1,            -- the page that this generation began on; -1: not known
    PRIMARY KEY (stream, partition, generation)
) WITH (fillfactor = 25, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
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

-- From which offset on a partition's messages went to a child, and what held
-- there: with that a refill gives rows the same _watermark again.  A new one
-- begins with the child, with a change of what is noted here, after a seek, and
-- every now and then: where Kafka has lost the first messages of a range, the
-- rest of it cannot be refilled.
CREATE TABLE weir_internal.chunk_checkpoint (
    stream regclass NOT NULL,
    chunk regclass,
    partition int,
    first_offset bigint,
    end_offset bigint,                          -- where a seek broke off; NULL: up to the next one
    watermark timestamptz NOT NULL,             -- before first_offset
    seen timestamptz NOT NULL,                  -- greatest event time before first_offset
    max_out_of_orderness interval NOT NULL,
    isolation_level text NOT NULL,
    cluster_id text,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chunk, partition, first_offset)
);
CREATE INDEX ON weir_internal.chunk_checkpoint (stream, partition, first_offset);
COMMENT ON TABLE weir_internal.chunk_checkpoint IS 'ranges of offsets that went to a child, with the watermark at their beginning';
-- Dumped: belongs to the children.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.chunk_checkpoint', '');

-- The verdict log: offsets that were consumed and not staged.  A row per batch
-- and partition that has any.  verdict.c knows the encoding.
CREATE TABLE weir_internal.verdict (
    stream regclass,
    chunk regclass NOT NULL,
    partition int,
    first_offset bigint NOT NULL,
    last_offset bigint,                         -- what is encoded beyond that does not count
    skipped bytea NOT NULL,
    PRIMARY KEY (stream, partition, last_offset)
);
CREATE INDEX ON weir_internal.verdict (chunk);
COMMENT ON TABLE weir_internal.verdict IS 'offsets that were consumed and not staged, for as long as the rows of their time';
-- Dumped: belongs to the children.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.verdict', '');

-- Unlogged like staged rows: a crash empties both.  Where a stream has no row
-- here with its staging_generation, its rows are lost, not just none.
CREATE UNLOGGED TABLE weir_internal.staging_marker (
    stream regclass PRIMARY KEY,
    generation bigint NOT NULL,
    marked_in text NOT NULL                     -- database, as in stream.runs_on
);
COMMENT ON TABLE weir_internal.staging_marker IS 'streams whose staged rows are there, or planned to come back';
-- Dumped: with the staged rows or, by --no-unlogged-table-data, without them.
-- A restore may have lost the rows and kept the marker (data alone, where the
-- guard refused them); hence marked_in, by which a copy is known.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.staging_marker', '');

-- Ranges of offsets that are to be read again.  Unlogged: another crash plans anew.
CREATE UNLOGGED TABLE weir_internal.refill (
    stream regclass,
    partition int,
    chunk regclass NOT NULL,
    first_offset bigint,
    next_offset bigint NOT NULL,                -- everything below is in the child
    until_offset bigint NOT NULL,
    watermark timestamptz NOT NULL,             -- before next_offset
    max_out_of_orderness interval NOT NULL,
    isolation_level text NOT NULL,
    cluster_id text,
    lost boolean NOT NULL DEFAULT false,        -- Kafka does not have it any more
    PRIMARY KEY (stream, partition, first_offset)
) WITH (fillfactor = 25);
COMMENT ON TABLE weir_internal.refill IS 'what is still to be read again of staged rows that a crash has emptied';
-- Dumped: says how far the rows of the same snapshot are.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.refill', '');

-- Offsets that a stream passed over without reading them.
CREATE TABLE weir_internal.gap (
    stream regclass NOT NULL,
    partition int NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint,                           -- read again from here; NULL: offsets mean something else there
    cause text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_by name,                           -- session user of a seek; NULL: a worker
    void_since timestamptz                      -- the stream began anew; NULL: it counts
);
CREATE INDEX ON weir_internal.gap (stream, partition, from_offset);
COMMENT ON TABLE weir_internal.gap IS 'offsets that streams passed over without reading them';
-- Dumped: belongs to the offsets.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.gap', '');

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
    replayed_value bytea,                       -- where a transform changed it
    replayed_chunk regclass,                    -- child that got the row, while there is that child
    replayed_watermark timestamptz,             -- the row's _watermark
    replayed_generation bigint                  -- staging_generation that the row is in
);
CREATE INDEX ON weir_internal.dead_letter (stream, partition, kafka_offset);
CREATE INDEX ON weir_internal.dead_letter (failed_at);
CREATE INDEX ON weir_internal.dead_letter (replayed_chunk) WHERE replayed_chunk IS NOT NULL;
COMMENT ON TABLE weir_internal.dead_letter IS 'messages that could not be applied, kept whole with the reason';
-- Dumped: the only copy of what failed; its sequence with it.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('weir_internal.dead_letter_id_seq', '');

-- What is expected of events on the way in.  The expression is a CHECK
-- constraint of that name on the staging table, NO INHERIT, so that it binds
-- nobody: PostgreSQL knows what it depends on, renames columns in it, dumps and
-- restores it.
CREATE TABLE weir_internal.expectation (
    stream regclass,
    name name,
    on_violation text NOT NULL,
    since_partitions int[] NOT NULL,            -- where the partitions were when it began to hold as it is
    since_offsets bigint[] NOT NULL,
    judged_before bigint NOT NULL,              -- events staged and duplicate before it was created
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, name)
);
COMMENT ON TABLE weir_internal.expectation IS 'what streams expect of their events';
-- Dumped: the user's definitions.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.expectation', '');

-- How often expectations failed: rows are added with batches, and summed up now and then.
CREATE TABLE weir_internal.expectation_failure (
    stream regclass NOT NULL,
    name name NOT NULL,
    partition int NOT NULL,
    failed bigint NOT NULL,
    kept bigint NOT NULL,                       -- of them those that stayed
    last_failed_offset bigint NOT NULL,
    last_failed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON weir_internal.expectation_failure (stream, partition);
COMMENT ON TABLE weir_internal.expectation_failure IS 'how often expectations failed, to be summed up';
-- Dumped: belongs to the counters of stream_partition.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.expectation_failure', '');

-- What expectations were when: with the offsets, since events before and after
-- were judged differently.
CREATE TABLE weir_internal.expectation_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream regclass NOT NULL,
    name name NOT NULL,
    change text NOT NULL,                       -- created, altered, dropped
    expression text,
    on_violation text NOT NULL,
    offsets jsonb NOT NULL,                     -- partition: applied offset
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by name NOT NULL                    -- session user
);
COMMENT ON TABLE weir_internal.expectation_change IS 'changes of expectations, and at which offsets they were made';
-- Dumped: says what the staged and derived rows were judged by; its sequence with it.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.expectation_change', '');
SELECT pg_catalog.pg_extension_config_dump('weir_internal.expectation_change_id_seq', '');
