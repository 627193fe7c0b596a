-- What an operator looks at.  The views are security barriers: a condition of
-- the reader's is not tried on rows that he may not see.

CREATE VIEW weir.catalog WITH (security_barrier) AS
SELECT n.nspname AS stream_schema, c.relname AS stream, 'stream'::text AS kind,
       pg_catalog.pg_get_userbyid(c.relowner) AS owner,
       s.server, s.topic, s.format, s.key_format, s.key_columns,
       s.event_id, s.dedup_ttl, s.event_time,
       s.max_out_of_orderness, s.max_future, s.idle_timeout, s.retention, s.start_from, s.paths,
       s.time_unit, s.column_options, s.metadata, s.tombstones, s.isolation_level, s.on_data_loss,
       s.parallelism, s.batch_rows, s.batch_bytes, s.batch_interval, s.commit_to_group
FROM weir_internal.stream s
JOIN pg_catalog.pg_class c ON c.oid = s.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.catalog IS 'The definitions of streams whose owner''s rights the reader has.';

CREATE FUNCTION weir_internal.runs_here(runs_on text) RETURNS boolean
LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'weir_runs_here';
COMMENT ON FUNCTION weir_internal.runs_here(text) IS 'is this the database that a stream is started in?';

CREATE VIEW weir.stream_stats WITH (security_barrier) AS
SELECT n.nspname AS stream_schema, c.relname AS stream, p.partition,
       p.consumed, p.staged, p.duplicate, p.dead_lettered, p.dropped, p.skipped, p.replayed, p.late,
       p.applied_offset, p.end_offset,
       CASE WHEN p.partition >= 0 AND s.topic IS NOT NULL
                 AND p.end_offset IS NOT NULL
            THEN greatest(p.end_offset - p.applied_offset, 0) END AS lag,
       CASE WHEN p.partition >= 0 AND s.topic IS NOT NULL THEN
            CASE WHEN p.end_offset <= p.applied_offset THEN interval '0'
                 WHEN p.end_offset > p.applied_offset
                 THEN pg_catalog.clock_timestamp() - greatest(p.behind_since, p.last_timestamp) END END AS time_lag,
       p.watermark, p.last_timestamp, p.updated_at,
       (SELECT CASE WHEN count(*) = count(g.to_offset) THEN coalesce(sum(g.to_offset - g.from_offset), 0)::bigint END
        FROM weir_internal.gap g
        WHERE g.stream = p.stream AND g.partition = p.partition AND g.void_since IS NULL) AS gap
FROM weir_internal.stream_partition p
JOIN weir_internal.stream s ON s.stream = p.stream
JOIN pg_catalog.pg_class c ON c.oid = p.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.stream_stats IS
'Per partition: what became of its messages, how far it is applied, and the lag in messages (against the last stable offset) and in time (age of the last applied message, while there is more; since when there is more, where all was applied before and a worker could not go on); gap: offsets that were passed over without reading them (NULL: nobody can tell how many; see weir.gaps). Partition -1 holds what weir.ingest brought to a Kafka stream.';

-- What is to be read again, and whether it can be: offsets are of one cluster,
-- and what an isolation level leaves out is not in the verdict log.
CREATE VIEW weir_internal.refill_status AS
SELECT r.*, NOT r.lost AND r.cluster_id IS NOT DISTINCT FROM s.cluster_id
            AND r.isolation_level = s.isolation_level AS readable
FROM weir_internal.refill r JOIN weir_internal.stream s ON s.stream = r.stream;
COMMENT ON VIEW weir_internal.refill_status IS 'ranges of offsets that are to be read again, and whether they can be';

-- The same as sums.  In plpgsql, as a view that names an unlogged table cannot
-- be read on a standby.
CREATE FUNCTION weir_internal.refill_sums(OUT stream regclass, OUT refill_left bigint, OUT refill_lost bigint)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_is_in_recovery() THEN
        RETURN QUERY
        SELECT r.stream, sum(r.until_offset - r.next_offset) FILTER (WHERE r.readable)::bigint,
               sum(r.until_offset - r.next_offset) FILTER (WHERE NOT r.readable)::bigint
        FROM weir_internal.refill_status r GROUP BY r.stream;
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.refill_sums() IS 'how many offsets are to be read again, and how many cannot be; nothing on a standby';

CREATE VIEW weir.status WITH (security_barrier) AS
WITH p AS (
    SELECT stream, min(watermark) FILTER (WHERE partition >= 0 AND idle_since IS NULL) AS watermark,
           (array_agg(partition ORDER BY watermark, partition)
               FILTER (WHERE partition >= 0 AND idle_since IS NULL))[1] AS slowest,
           sum(consumed) AS consumed, sum(dead_lettered) AS dead_lettered,
           jsonb_object_agg(partition, applied_offset) AS applied_offsets
    FROM weir_internal.stream_partition GROUP BY stream
), k AS (
    SELECT c.stream, count(*) AS staging_tables,
           count(*) FILTER (WHERE c.closed_at + st.retention < pg_catalog.clock_timestamp()) AS staging_tables_overdue
    FROM weir_internal.chunk c JOIN weir_internal.stream st ON st.stream = c.stream GROUP BY c.stream
), here AS (
    SELECT w.* FROM weir_internal.worker_slots() w
    WHERE w.dboid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
), crowd AS MATERIALIZED (
    SELECT * FROM weir_internal.worker_shortage()
), w AS (
    SELECT stream, worker, pid, state, since, last_error, last_hint, last_error_at, next_try, batch_since, blocked_by FROM here
    UNION ALL
    -- workers that nobody has looked for yet, or that have found no slot
    SELECT s.stream::oid, g.worker, NULL, CASE WHEN crowd.error IS NULL THEN 'starting' ELSE 'waiting for a slot' END,
           NULL, crowd.error, crowd.hint, NULL, NULL, NULL, NULL
    FROM weir_internal.stream s CROSS JOIN crowd CROSS JOIN generate_series(0, s.parallelism - 1) g (worker)
    WHERE s.topic IS NOT NULL AND crowd.slots > 0 AND weir_internal.runs_here(s.runs_on)
      AND (SELECT o.state IS NULL FROM weir_internal.obstacle() o)
      AND NOT EXISTS (SELECT FROM here h WHERE h.stream = s.stream::oid AND h.worker = g.worker)
), l AS (
    SELECT stream_schema, stream, sum(lag)::bigint AS lag, max(time_lag) AS time_lag
    FROM weir.stream_stats GROUP BY 1, 2
)
SELECT n.nspname AS stream_schema, c.relname AS stream, w.worker, w.pid,
       CASE WHEN s.topic IS NULL THEN 'ingest only'
            WHEN NOT weir_internal.runs_here(s.runs_on) THEN 'stopped'
            ELSE coalesce(o.state, w.state, 'starting') END AS state,
       w.since, coalesce(o.error, w.last_error) AS last_error,
       CASE WHEN s.topic IS NOT NULL AND NOT weir_internal.runs_here(s.runs_on) AND s.runs_on IS NOT NULL
            THEN 'It was started where this database was copied from; weir.start starts it here.'
            ELSE coalesce(o.hint, w.last_hint) END AS last_hint, w.last_error_at, w.next_try, w.batch_since,
       CASE WHEN w.blocked_by IS NOT NULL THEN
            (SELECT string_agg(CASE WHEN k.relation IS NOT NULL THEN k.relation::regclass::text
                                    WHEN k.locktype = 'advisory' AND k.objsubid = 22273 THEN 'weir.stop or the like'
                                    ELSE k.locktype END, ', ')
             FROM pg_catalog.pg_locks k WHERE k.pid = w.pid AND NOT k.granted) END AS waits_for,
       w.blocked_by,
       greatest(s.held_watermark, p.watermark) AS watermark,
       CASE WHEN p.watermark = '-infinity' THEN p.slowest END AS held_back_by,
       p.applied_offsets, l.lag, l.time_lag, p.consumed, p.dead_lettered,
       k.staging_tables, k.staging_tables_overdue, r.refill_left, r.refill_lost,
       crowd.slots AS worker_slots, crowd.slots_used AS worker_slots_used
FROM weir_internal.stream s
CROSS JOIN crowd
JOIN pg_catalog.pg_class c ON c.oid = s.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN p ON p.stream = s.stream
LEFT JOIN k ON k.stream = s.stream
LEFT JOIN weir_internal.refill_sums() r ON r.stream = s.stream
LEFT JOIN l ON l.stream_schema = n.nspname AND l.stream = c.relname
LEFT JOIN weir_internal.obstacle() o ON s.topic IS NOT NULL AND weir_internal.runs_here(s.runs_on)
LEFT JOIN w ON w.stream = s.stream::oid
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.status IS
'What each stream''s workers are doing: state (ingest only, stopped, standby, not preloaded, version mismatch, starting, waiting for a slot, refilling, running, idle, retrying, failed, stopping), since when, the last error with its hint (which also tells stopped streams that run elsewhere, this being a copy) and when it was noticed (it stays when it is over), the next try; since when a batch is being applied, what lock it waits for, and which processes have that; the stream''s watermark and the partition without any event that holds it back; lag in messages and in time; how many child tables hold the staged rows, and how many of those are past retention but still in use by others, so that they could not be dropped yet; after a crash, how many offsets are still to be read again (refill_left), and how many cannot be (refill_lost); the slots for workers in the whole server (weir.max_workers), and how many are taken.';

CREATE VIEW weir.gaps WITH (security_barrier) AS
SELECT n.nspname AS stream_schema, c.relname AS stream, g.partition, g.from_offset, g.to_offset,
       g.to_offset - g.from_offset AS offsets, g.cause, g.recorded_at, g.recorded_by, g.void_since
FROM weir_internal.gap g
JOIN pg_catalog.pg_class c ON c.oid = g.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.gaps IS
'Offsets that streams passed over without reading them, from from_offset up to before to_offset. cause: seek (recorded_by is the session''s user), retention (the topic had dropped them), truncation (the partition ended before what was read), partitions (the topic has fewer), cluster (the server led to another one). to_offset is NULL where offsets mean something else since, so that nobody can tell how many messages are missing. void_since: a seek let the stream begin anew, and the gap does not count any more.';

-- Each stream's ids are in a table of its own.
CREATE FUNCTION weir_internal.ids_sums(OUT stream regclass, OUT ids bigint, OUT blocks bigint,
    OUT least_slice_end timestamptz, OUT greatest_slice_end timestamptz, OUT bytes bigint)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT st.stream, st.ids FROM weir_internal.stream st WHERE st.ids IS NOT NULL LOOP
        RETURN QUERY EXECUTE format(
            'SELECT $1, coalesce(sum(count), 0)::bigint, count(*), min(slice_end), max(slice_end), pg_total_relation_size($2) FROM %s', s.ids)
            USING s.stream, s.ids;
    END LOOP;
END
$$;
COMMENT ON FUNCTION weir_internal.ids_sums() IS 'how many event ids each stream remembers, and of which slices';

CREATE VIEW weir.remembered_ids WITH (security_barrier) AS
SELECT n.nspname AS stream_schema, c.relname AS stream, i.ids, i.blocks, i.least_slice_end, i.greatest_slice_end, i.bytes
FROM weir_internal.ids_sums() i
JOIN pg_catalog.pg_class c ON c.oid = i.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.remembered_ids IS
'Per stream with event_id: how many ids are remembered (each takes 11 to 14 bytes of every worker''s memory), in how many blocks, between which ends of slices of event time, and the bytes that they take on disk.';

CREATE FUNCTION weir.audit(
    stream regclass,
    OUT partition int, OUT consumed bigint, OUT staged bigint, OUT duplicate bigint,
    OUT dead_lettered bigint, OUT dropped bigint, OUT skipped bigint, OUT replayed bigint,
    OUT balanced boolean)
RETURNS SETOF record
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.partition, v.consumed, v.staged, v.duplicate, v.dead_lettered, v.dropped, v.skipped, v.replayed,
           v.consumed = v.staged + v.duplicate + v.dead_lettered + v.dropped + v.skipped
    FROM weir.stream_stats v
    JOIN pg_class c ON c.oid = audit.stream::oid AND c.relname = v.stream
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = v.stream_schema
    ORDER BY 1
$$;
COMMENT ON FUNCTION weir.audit(regclass) IS
'Per partition: consumed = staged + duplicate + dead_lettered + dropped + skipped, at every commit. Replayed dead letters are counted apart. What was passed over without reading it was not consumed: weir.gaps has it. A seek with reset starts the counters anew.';

CREATE VIEW weir.late_events WITH (security_barrier) AS
SELECT sn.nspname AS stream_schema, s.relname AS stream, n.nspname AS aggregate_schema, c.relname AS aggregate,
       e.partition, e.kafka_offset, e.window_start, e.window_end, e.seen_at
FROM weir_internal.late_event e
JOIN (SELECT view, stream FROM weir_internal.continuous_aggregate
      UNION ALL SELECT target, stream FROM weir_internal.upsert) a ON a.view = e.view
JOIN pg_catalog.pg_class c ON c.oid = e.view::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class s ON s.oid = a.stream::oid
JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.late_events IS
'Events that came too late for a window of a continuous aggregate: they are staged, and counted in the windows they were on time for. Or too late for an upsert with tombstone_ttl: then aggregate is its table, window_start the event time, and window_end until when it would have counted. seen_at is when.';

-- What is derived from streams.
CREATE VIEW weir.derived WITH (security_barrier) AS
SELECT n.nspname AS object_schema, c.relname AS object, d.kind, sn.nspname AS stream_schema, s.relname AS stream,
       rn.nspname AS source_schema, r.relname AS source
FROM (SELECT view::oid AS object, 'aggregate'::text AS kind, stream::oid, source::oid FROM weir_internal.continuous_aggregate
      UNION ALL
      SELECT target::oid, 'transform', stream::oid, source::oid FROM weir_internal.transform
      UNION ALL
      SELECT target::oid, 'upsert', stream::oid, source::oid FROM weir_internal.upsert) d
JOIN pg_catalog.pg_class c ON c.oid = d.object
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class s ON s.oid = d.stream
JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = d.source
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.derived IS
'What is derived from streams, by whoever''s rights the reader has: the object; its kind; the stream that its events come from; the source that its query reads, which is the stream or the table of a transform.';
