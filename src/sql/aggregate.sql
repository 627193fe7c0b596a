-- Continuous aggregates.

CREATE SEQUENCE weir_internal.derived_number;
COMMENT ON SEQUENCE weir_internal.derived_number IS 'numbers in the names of the relations behind derived objects';
-- Dumped: names that it gave are in use.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.derived_number', '');

-- One row per continuous aggregate; aggregate_define.c draws its relations.
CREATE TABLE weir_internal.continuous_aggregate (
    view regclass PRIMARY KEY,
    stream regclass NOT NULL,                   -- where its events come from
    source regclass NOT NULL,                   -- what its query reads: that, or a table made of it
    query regclass NOT NULL UNIQUE,
    states regclass NOT NULL UNIQUE,
    store regclass NOT NULL UNIQUE,
    finish regclass NOT NULL UNIQUE,
    results regclass UNIQUE,                    -- NULL: no window
    trigger_name text NOT NULL,
    time_window weir.window_spec,
    allowed_lateness interval NOT NULL,
    retention interval,
    complete_since timestamptz NOT NULL,
    settings text[] NOT NULL,                   -- name=value, as they were when it was created
    UNIQUE (source, trigger_name)
);
COMMENT ON TABLE weir_internal.continuous_aggregate IS 'continuous aggregates: one row per view';
-- Dumped: the user's definitions.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.continuous_aggregate', '');

-- How far each one's windows are closed.  Changes when a window closes.
CREATE TABLE weir_internal.aggregate_progress (
    view regclass PRIMARY KEY,
    closed timestamptz NOT NULL                 -- windows are closed whose end plus lateness is at or before it
) WITH (fillfactor = 50);
COMMENT ON TABLE weir_internal.aggregate_progress IS 'up to where the windows of each continuous aggregate are closed';
-- Dumped: what is closed is in the results, and must not be counted again.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.aggregate_progress', '');

-- Events that came too late for a window, or for an upsert: then window_start
-- is their time, and window_end until when they would have counted.
CREATE TABLE weir_internal.late_event (
    view regclass,                              -- aggregate, or table of an upsert
    partition int,
    kafka_offset bigint,
    window_start timestamptz,
    window_end timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (view, partition, kafka_offset, window_start)
);
COMMENT ON TABLE weir_internal.late_event IS 'events that came too late for windows of continuous aggregates, or for upserts';
-- Dumped: accounts for events that are nowhere else.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.late_event', '');

-- Called by the queries that group a batch, and by nobody else.
CREATE FUNCTION weir_internal.bin(event_time timestamptz, kafka_time timestamptz, watermark timestamptz, partition int, kafka_offset bigint)
    RETURNS timestamptz LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'weir_bin';
COMMENT ON FUNCTION weir_internal.bin(timestamptz, timestamptz, timestamptz, int, bigint) IS
'the window or pane of an event, while a batch is grouped; NULL if it comes too late';
CREATE FUNCTION weir_internal.bin_first(event_time timestamptz, kafka_time timestamptz, watermark timestamptz, partition int, kafka_offset bigint)
    RETURNS timestamptz LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'weir_bin_first';
COMMENT ON FUNCTION weir_internal.bin_first(timestamptz, timestamptz, timestamptz, int, bigint) IS
'the end of the first hopping window that an event is on time for, while a batch is grouped';

-- Stands for aggregates with DISTINCT while a batch is grouped.
CREATE FUNCTION weir_internal.distinct_add(state internal, value anyelement) RETURNS internal
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_distinct_add';
COMMENT ON FUNCTION weir_internal.distinct_add(internal, anyelement) IS 'adds a value to a set of different ones';
CREATE FUNCTION weir_internal.distinct_serialize(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_distinct_serialize';
COMMENT ON FUNCTION weir_internal.distinct_serialize(internal) IS 'a set of values as bytes';
CREATE FUNCTION weir_internal.distinct_deserialize(bytes bytea, state internal) RETURNS internal
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_distinct_deserialize';
COMMENT ON FUNCTION weir_internal.distinct_deserialize(bytea, internal) IS 'refuses: sets are read back by pg_weir alone';
CREATE FUNCTION weir_internal.distinct_final(state internal) RETURNS bytea
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_distinct_final';
COMMENT ON FUNCTION weir_internal.distinct_final(internal) IS 'refuses: sets are finished by pg_weir alone';
CREATE AGGREGATE weir_internal.distinct_values(anyelement) (
    sfunc = weir_internal.distinct_add,
    stype = internal,
    serialfunc = weir_internal.distinct_serialize,
    deserialfunc = weir_internal.distinct_deserialize,
    finalfunc = weir_internal.distinct_final);
COMMENT ON AGGREGATE weir_internal.distinct_values(anyelement) IS
'the different values of a group of a batch, in place of an aggregate with DISTINCT';

CREATE FUNCTION weir_internal.aggregate_batch() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'weir_aggregate_batch';
COMMENT ON FUNCTION weir_internal.aggregate_batch() IS 'takes a batch of a stream into a continuous aggregate';

-- States tables.
CREATE FUNCTION weir_internal.states_handler() RETURNS fdw_handler
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'weir_states_handler';
COMMENT ON FUNCTION weir_internal.states_handler() IS 'reads the open windows of continuous aggregates';
CREATE FOREIGN DATA WRAPPER weir_states HANDLER weir_internal.states_handler NO VALIDATOR;
COMMENT ON FOREIGN DATA WRAPPER weir_states IS 'the open windows of continuous aggregates; not for direct use';
CREATE SERVER weir_states FOREIGN DATA WRAPPER weir_states;
COMMENT ON SERVER weir_states IS 'the open windows of continuous aggregates; not for direct use';

CREATE FUNCTION weir.create_continuous_aggregate(
    name text,
    query text,
    time_window weir.window_spec DEFAULT NULL,
    allowed_lateness interval DEFAULT '0',
    retention interval DEFAULT NULL,
    backfill boolean DEFAULT true,
    if_not_exists boolean DEFAULT false) RETURNS regclass
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_create_continuous_aggregate';
COMMENT ON FUNCTION weir.create_continuous_aggregate(text, text, weir.window_spec, interval, interval, boolean, boolean) IS
'Creates a view that always shows what a query over a stream gives. query is one SELECT with GROUP BY or aggregates, over the stream by its name, and tables joined with it as they are when a batch is applied. With a time_window the groups are per window, until the watermark has passed its end by allowed_lateness; then it is final, and kept for retention.';

CREATE FUNCTION weir.drop(object regclass) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_drop_derived';
COMMENT ON FUNCTION weir.drop(regclass) IS
'Drops what is derived from a stream, with its results; the same as DROP VIEW.';

-- Verification.
CREATE FUNCTION weir_internal.session_start(t timestamptz, gap interval) RETURNS timestamptz
    LANGUAGE C WINDOW IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_session_start';
COMMENT ON FUNCTION weir_internal.session_start(timestamptz, interval) IS
'over the events of a group in order: the first event of the session that each is in';
CREATE FUNCTION weir_internal.is_at_fault(when_ timestamptz, VARIADIC keys "any") RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'weir_is_at_fault';
COMMENT ON FUNCTION weir_internal.is_at_fault(timestamptz, "any") IS
'while an aggregate is verified: is this an event of a group that is known to raise an error';

CREATE FUNCTION weir.verify(object regclass, OUT side text, OUT data jsonb) RETURNS SETOF record
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_verify';
COMMENT ON FUNCTION weir.verify(regclass) IS
'Compares a continuous aggregate with what its query gives over the staged rows, and returns the rows that differ: as they are maintained, and as they are recomputed. None: it is right. Looks at windows whose events are all staged still, and at groups without an error.';

CREATE FUNCTION weir.explain(object regclass) RETURNS SETOF text
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_explain';
COMMENT ON FUNCTION weir.explain(regclass) IS
'Shows the query that is run on each batch for a continuous aggregate, in which the stream stands for the batch, and its plan for a large one.';

-- Groups in error.
CREATE FUNCTION weir_internal.errors_of(view regclass,
    OUT window_start timestamptz, OUT window_end timestamptz, OUT group_key jsonb,
    OUT sqlstate text, OUT message text, OUT seen_at timestamptz) RETURNS SETOF record
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_errors_of';
COMMENT ON FUNCTION weir_internal.errors_of(regclass) IS
'the groups of a continuous aggregate that an error keeps from having results; none unless the caller has the rights of its owner';

CREATE VIEW weir.aggregate_errors WITH (security_barrier) AS
SELECT n.nspname AS aggregate_schema, c.relname AS aggregate,
       e.window_start, e.window_end, e.group_key, e.sqlstate, e.message, e.seen_at
FROM weir_internal.continuous_aggregate a
JOIN pg_catalog.pg_class c ON c.oid = a.view::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL weir_internal.errors_of(a.view) e
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.aggregate_errors IS
'Groups of continuous aggregates that have an error for their results, because putting their events together raises it (a sum that overflows, a division by a sum that is 0): their rows show NULLs. Reading it reads all open windows; name the aggregate in WHERE where there are many.';
