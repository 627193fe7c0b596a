-- Transforms: tables that the result rows of each batch are appended to.

-- One row per transform.
CREATE TABLE weir_internal.transform (
    target regclass PRIMARY KEY,                -- the table that takes the rows
    stream regclass NOT NULL,                   -- where its events come from
    source regclass NOT NULL,                   -- what its query reads: that, or a table made of it
    query regclass NOT NULL UNIQUE,
    trigger_name text NOT NULL,
    owns_target boolean NOT NULL,               -- false: into_table, the user's own
    event_time text,                            -- column of the target that holds it; NULL: into_table
    same_time boolean NOT NULL,                 -- the source's event time, that is
    retention interval,
    complete_since timestamptz NOT NULL,        -- rows of events at or before it, by the stream's event time, may be missing
    begins_at jsonb NOT NULL,                   -- partition to the offset from which on events count
    settings text[] NOT NULL,                   -- name=value, as they were when it was created
    UNIQUE (source, trigger_name)
);
COMMENT ON TABLE weir_internal.transform IS 'transforms: one row per table that takes their rows';
-- Dumped: the user's definitions.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.transform', '');

CREATE FUNCTION weir_internal.transform_batch() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'weir_transform_batch';
COMMENT ON FUNCTION weir_internal.transform_batch() IS 'appends what a transform makes of a batch';

CREATE FUNCTION weir_internal.guard_transform() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'weir_guard_transform';
COMMENT ON FUNCTION weir_internal.guard_transform() IS 'refuses direct INSERT and TRUNCATE on the table of a transform';

CREATE FUNCTION weir.create_transform(
    name text,
    query text,
    event_time name DEFAULT NULL,
    retention interval DEFAULT NULL,
    into_table regclass DEFAULT NULL,
    backfill boolean DEFAULT true,
    if_not_exists boolean DEFAULT false) RETURNS regclass
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_create_transform';
COMMENT ON FUNCTION weir.create_transform(text, text, name, interval, regclass, boolean, boolean) IS
'Creates a table that gets the rows which a query over a stream gives of each batch, in the transaction of the batch; returns it. query is one SELECT over the stream by its name, or over the table of another transform, joined with tables as they are when a batch is applied, without aggregates. The table has the query''s columns, then _partition, _offset, _timestamp and _watermark of the event that a row is made of. event_time: the column that windows over the table go by (NULL: the one that is the stream''s event time, else _timestamp). Rows leave when the stream''s watermark has passed their event time by retention (NULL: never). into_table: a table of your own, which takes the columns by name; its defaults, constraints and triggers hold. Without backfill it begins empty. An event for which the query or the table raises an error becomes a dead letter, and is applied nowhere.
Errors: 42703 no such column, 42804 types that do not fit, 42701 a column called _partition or the like, 0A000 a query that cannot be maintained, 22023 options that do not fit.';
