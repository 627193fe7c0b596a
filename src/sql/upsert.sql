-- Upserts: tables that keep the latest row of each key.

-- One row per upsert; upsert_define.c draws its relations.
CREATE TABLE weir_internal.upsert (
    target regclass PRIMARY KEY,
    name text,                                  -- in messages; NULL: as the table's
    stream regclass NOT NULL,                   -- where its events come from
    source regclass NOT NULL,                   -- what its query reads: that, or a table made of it
    query regclass NOT NULL UNIQUE,
    positions regclass UNIQUE,                  -- NULL: nothing deletes
    trigger_name text NOT NULL,
    key text[] NOT NULL,
    order_by text,                              -- NULL: event time
    owns_target boolean NOT NULL,               -- false: into_table, the user's own
    tombstone_ttl interval,                     -- NULL: deletes are remembered for ever
    settings text[] NOT NULL,                   -- name=value, as they were when it was created
    begins_at jsonb NOT NULL,                   -- partition to the offset from which on events count
    UNIQUE (source, trigger_name)
);
COMMENT ON TABLE weir_internal.upsert IS 'upserts: one row per table that keeps the latest rows';
-- Dumped: the user's definitions.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.upsert', '');

CREATE FUNCTION weir_internal.upsert_batch() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'weir_upsert_batch';
COMMENT ON FUNCTION weir_internal.upsert_batch() IS 'takes a batch of a stream into an upsert';

CREATE FUNCTION weir_internal.guard_upsert() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'weir_guard_upsert';
COMMENT ON FUNCTION weir_internal.guard_upsert() IS 'refuses direct INSERT, UPDATE, DELETE and TRUNCATE on a table that keeps the latest rows';

CREATE FUNCTION weir.create_upsert(
    name text,
    query text,
    key text[],
    order_by name DEFAULT NULL,
    delete_when text DEFAULT NULL,
    tombstone_ttl interval DEFAULT NULL,
    into_table regclass DEFAULT NULL,
    backfill boolean DEFAULT true,
    if_not_exists boolean DEFAULT false) RETURNS regclass
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_create_upsert';
COMMENT ON FUNCTION weir.create_upsert(text, text, text[], name, text, interval, regclass, boolean, boolean) IS
'Creates a table that keeps, of the rows a query over a stream gives, the latest of each key; returns it. query is one SELECT over the stream by its name, joined with tables as they are when a batch is applied, without aggregates. key: columns of the query, never NULL. The row with the greatest (order_by, _partition, _offset) stays, whenever it comes; order_by is a column of the query, by default the event time. An event for which delete_when is true, an expression over the columns of the query, deletes the row of its key, as does a tombstone; an older event does not bring it back, unless the delete is longer ago than tombstone_ttl: then older events are late. into_table: a table of your own with a unique constraint on the key, which takes the columns by name. Without backfill it begins empty.
Errors: 42703 no such column, 42P10 no unique constraint, 0A000 a query that cannot be maintained, 22023 options that do not fit.';
