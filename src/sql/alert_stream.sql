-- Alerts that users make over streams, and those that streams raise themselves.

CREATE TABLE weir_internal.alert_definition (
    name text PRIMARY KEY,
    stream regclass NOT NULL,                   -- where its events come from
    source regclass NOT NULL,                   -- what its query reads: that, or a table made of it
    query regclass NOT NULL UNIQUE,
    trigger_name text NOT NULL,
    key text,
    message text NOT NULL,
    severity text NOT NULL,
    settings text[] NOT NULL,                   -- name=value, as they were when it was created
    resolve_after interval,
    UNIQUE (source, trigger_name)
);
COMMENT ON TABLE weir_internal.alert_definition IS 'alerts over streams';
-- Dumped: the user's definitions.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.alert_definition', '');

-- How far streams were, now and then: rates are differences.
CREATE TABLE weir_internal.stream_sample (
    stream regclass,
    sampled_at timestamptz DEFAULT clock_timestamp(),
    consumed numeric NOT NULL,
    dead_lettered numeric NOT NULL,
    applied numeric,
    lag numeric,
    PRIMARY KEY (stream, sampled_at)
);
COMMENT ON TABLE weir_internal.stream_sample IS 'counters of streams as weir.evaluate_alerts has found them';
-- Dumped: belongs to the alerts.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.stream_sample', '');

CREATE FUNCTION weir_internal.alert_batch() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'weir_alert_batch';
COMMENT ON FUNCTION weir_internal.alert_batch() IS 'raises an alert for what its query gives of a batch';

CREATE FUNCTION weir.create_alert(
    name text,
    query text,
    key text DEFAULT NULL,
    message text DEFAULT NULL,
    severity text DEFAULT 'error',
    resolve_after interval DEFAULT NULL,
    if_not_exists boolean DEFAULT false) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_create_alert';
COMMENT ON FUNCTION weir.create_alert(text, text, text, text, text, interval, boolean) IS
'Raises an alert in weir.alerts for each row that a query over a stream gives of a batch, in the transaction of the batch; from now on. query is one SELECT over the stream by its name, or over the table of a transform, without aggregates. key: the column of the query whose values have an alert each (NULL: one for all); what is raised again is folded. message: a text in which {column} stands for a value (NULL: the name). severity: info, warn, error, critical. resolve_after: when nothing has raised it for that long, it is resolved (NULL: weir.resolve_alert does it). Runs as the stream''s owner. An event for which the query raises an error becomes a dead letter.
Errors: 42703 no such column, 0A000 a query that cannot be run over batches, 42710 there is one of that name.';

CREATE FUNCTION weir_internal.raise_stream_alert(name text, key text, message text, detail jsonb, rows bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.alert_definition;
    what text := name || coalesce('/' || key, '');
    raised bigint;
BEGIN
    SELECT * INTO d FROM weir_internal.alert_definition a WHERE a.name = raise_stream_alert.name;
    PERFORM weir_internal.resolve_alert('alert', what)
    FROM weir_internal.alert a
    WHERE a.source = 'alert' AND a.key = what AND a.resolved_at IS NULL AND a.last_seen + d.resolve_after <= clock_timestamp();
    raised := weir_internal.raise_alert('alert', what, d.severity, message, detail,
        (SELECT c.relowner FROM pg_class c WHERE c.oid = d.stream::oid), d.stream::oid);
    IF rows > 1 THEN
        UPDATE weir_internal.alert a SET count = a.count + rows - 1 WHERE a.id = raised;
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.raise_stream_alert(text, text, text, jsonb, bigint) IS 'raises the alert of a key for so many rows of a batch';

CREATE FUNCTION weir.drop_alert(name text) RETURNS void
LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.drop_alert(text) IS 'Drops an alert over a stream, and resolves what is open of it. For the stream''s owner.';

CREATE FUNCTION weir_internal.drop_alert(caller oid, caller_path text, name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.alert_definition;
BEGIN
    SELECT * INTO d FROM weir_internal.alert_definition a WHERE a.name = drop_alert.name;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('alert "%s" does not exist', name);
    ELSIF NOT pg_has_role(caller, (SELECT c.relowner FROM pg_class c WHERE c.oid = d.stream::oid), 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of alert "%s"', name);
    END IF;
    -- the trigger and the definition go with it
    EXECUTE format('DROP VIEW %s', d.query);
END
$$;
COMMENT ON FUNCTION weir_internal.drop_alert(oid, text, text) IS 'does what weir.drop_alert says';

-- Forgets what is left of an alert whose query is dropped.
CREATE FUNCTION weir_internal.forget_alert(name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d weir_internal.alert_definition;
BEGIN
    DELETE FROM weir_internal.alert_definition a WHERE a.name = forget_alert.name RETURNING * INTO d;
    PERFORM weir_internal.drop_relations('{}', d.source::oid, d.trigger_name);
    PERFORM weir_internal.resolve_alert('alert', a.key)
    FROM weir_internal.alert a
    WHERE a.source = 'alert' AND a.resolved_at IS NULL AND (a.key = d.name OR starts_with(a.key, d.name || '/'))
      AND a.stream::oid = d.stream::oid;
    IF EXISTS (SELECT FROM pg_class WHERE oid = d.stream::oid) THEN
        PERFORM weir_internal.touch_stream(d.stream);
    END IF;
END
$$;
COMMENT ON FUNCTION weir_internal.forget_alert(text) IS 'drops the trigger of an alert over a stream, and resolves what is open';

-- What a stream is like now, beside what it was like.
CREATE FUNCTION weir_internal.stream_state(
    stream regclass,
    OUT running boolean, OUT lag numeric, OUT time_lag interval, OUT latency interval, OUT consumed numeric, OUT dead_lettered numeric,
    OUT applied numeric)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT weir_internal.runs_here((SELECT s.runs_on FROM weir_internal.stream s WHERE s.stream = stream_state.stream)),
           sum(v.lag), max(v.time_lag),
           max(v.updated_at - v.last_timestamp) FILTER (WHERE v.partition >= 0 AND v.updated_at > clock_timestamp() - interval '1 minute'),
           coalesce(sum(v.consumed), 0), coalesce(sum(v.dead_lettered), 0), sum(v.applied_offset) FILTER (WHERE v.partition >= 0)
    FROM weir.stream_stats v
    JOIN pg_class c ON c.oid = stream_state.stream::oid AND c.relname = v.stream
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = v.stream_schema
$$;
COMMENT ON FUNCTION weir_internal.stream_state(regclass) IS 'lag, latency and counters of a stream, all partitions together';

-- The last sample that is so old.
CREATE FUNCTION weir_internal.sample_before(stream regclass, age interval) RETURNS weir_internal.stream_sample
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s FROM weir_internal.stream_sample s
    WHERE s.stream = sample_before.stream AND s.sampled_at <= clock_timestamp() - age ORDER BY s.sampled_at DESC LIMIT 1
$$;
COMMENT ON FUNCTION weir_internal.sample_before(regclass, interval) IS 'the last sample of a stream that is so old; NULLs if there is none';

-- A condition holds, does not, or nobody knows.
CREATE FUNCTION weir_internal.judge_stream(stream regclass, rule text, value numeric, what text) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r weir.alert_rules;
    key text := weir_internal.check_relation(stream);
BEGIN
    SELECT * INTO r FROM weir.alert_rules x WHERE x.rule = judge_stream.rule;
    IF value >= r.threshold AND (rule = 'volume_drop' OR value > r.threshold) AND r.enabled THEN
        PERFORM weir_internal.raise_alert(rule, key, 'error', format('stream %s: %s', key, what),
            jsonb_build_object('stream', key, 'observed', round(value, 2), 'threshold', r.threshold, 'unit', r.unit),
            (SELECT c.relowner FROM pg_class c WHERE c.oid = stream), stream);
        RETURN 1;
    ELSIF value IS NOT NULL THEN
        PERFORM weir_internal.resolve_alert(rule, key);
    END IF;
    RETURN 0;
END
$$;
COMMENT ON FUNCTION weir_internal.judge_stream(regclass, text, numeric, text) IS
'raises the alert of a rule about a stream if a value is beyond the threshold, resolves it if it is not; NULL leaves it';

-- Lag, latency, and what does not move.
CREATE FUNCTION weir_internal.judge_progress(stream regclass, s record) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
    limits interval := (SELECT make_interval(secs => r.threshold) FROM weir.alert_rules r WHERE r.rule = 'stalled');
    before weir_internal.stream_sample := weir_internal.sample_before(stream, limits);
    idle record;
BEGIN
    SELECT w.state, w.last_error, extract(epoch FROM clock_timestamp() - w.since) AS seconds INTO idle
    FROM weir.status w
    JOIN pg_class c ON c.oid = judge_progress.stream::oid AND c.relname = w.stream
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = w.stream_schema
    WHERE w.state NOT IN ('running', 'idle', 'refilling', 'ingest only', 'stopped', 'stopping')
      AND (w.since IS NOT NULL OR w.state NOT IN ('starting', 'waiting for a slot'))
    ORDER BY w.since NULLS FIRST LIMIT 1;
    RETURN weir_internal.judge_stream(stream, 'not_running', CASE WHEN idle.state IS NULL THEN 0 ELSE coalesce(idle.seconds, 'Infinity') END,
            format('is %s%s', idle.state, ': ' || idle.last_error))
        + weir_internal.judge_stream(stream, 'lag_messages', coalesce(s.lag, 0), format('is %s messages behind', s.lag))
        + weir_internal.judge_stream(stream, 'lag_time', extract(epoch FROM coalesce(s.time_lag, '0')),
            format('is %s behind', date_trunc('second', s.time_lag)))
        + weir_internal.judge_stream(stream, 'latency', extract(epoch FROM coalesce(s.latency, '0')),
            format('messages take %s', date_trunc('second', s.latency)))
        + weir_internal.judge_stream(stream, 'stalled', CASE WHEN s.running AND s.lag > 0 AND before.lag > 0 AND before.applied = s.applied
            THEN greatest(extract(epoch FROM clock_timestamp() - before.sampled_at), extract(epoch FROM limits) + 1) ELSE 0 END,
            format('has applied nothing for %s, and is %s messages behind', date_trunc('second', clock_timestamp() - before.sampled_at), s.lag));
END
$$;
COMMENT ON FUNCTION weir_internal.judge_progress(regclass, record) IS 'raises and resolves the alerts of a stream about its progress; how many are open';

-- Rates over the last hour, beside the one before.
CREATE FUNCTION weir_internal.judge_rates(stream regclass, s record) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    h1 weir_internal.stream_sample := weir_internal.sample_before(stream, '1 hour');
    h2 weir_internal.stream_sample := weir_internal.sample_before(stream, '2 hours');
    since weir_internal.stream_sample;
    failed numeric;
    now_rate numeric;
    old_rate numeric;
BEGIN
    SELECT * INTO since FROM weir_internal.stream_sample x WHERE x.stream = judge_rates.stream AND x.sampled_at >= coalesce(h1.sampled_at, '-infinity')
    ORDER BY x.sampled_at LIMIT 1;
    -- counters go back when the stream begins anew
    IF s.consumed >= since.consumed AND s.dead_lettered >= since.dead_lettered THEN
        failed := coalesce(100 * (s.dead_lettered - since.dead_lettered) / nullif(s.consumed - since.consumed, 0), 0);
    END IF;
    IF s.consumed >= h1.consumed AND h1.consumed > h2.consumed THEN
        now_rate := (s.consumed - h1.consumed) / extract(epoch FROM clock_timestamp() - h1.sampled_at);
        old_rate := (h1.consumed - h2.consumed) / extract(epoch FROM h1.sampled_at - h2.sampled_at);
    END IF;
    RETURN weir_internal.judge_stream(stream, 'dead_letters', failed,
            format('%s %% of %s messages became dead letters', round(failed, 2), s.consumed - since.consumed))
        + weir_internal.judge_stream(stream, 'volume_drop', 100 * (1 - now_rate / old_rate),
            format('has had %s %% less messages than in the hour before', round(100 * (1 - now_rate / old_rate), 1)));
END
$$;
COMMENT ON FUNCTION weir_internal.judge_rates(regclass, record) IS 'raises and resolves the alerts of a stream about its rates; how many are open';

CREATE FUNCTION weir.evaluate_alerts() RETURNS int
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.evaluate_alerts() IS
'Looks at the streams whose owner''s rights the caller has, raises what the rules of weir.alert_rules say, and resolves what is over; returns how many alerts of streams are open by these rules. To be called every minute or so: rates are measured from call to call.';

CREATE FUNCTION weir_internal.evaluate_alerts(caller oid, caller_path text) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    st record;
    s record;
    open int := 0;
BEGIN
    FOR st IN SELECT x.stream FROM weir_internal.stream x JOIN pg_class c ON c.oid = x.stream::oid
        WHERE pg_has_role(caller, c.relowner, 'USAGE') ORDER BY x.stream::oid
    LOOP
        -- what it was called before it was renamed has no alerts any more
        PERFORM weir_internal.resolve_alert(a.source, a.key)
        FROM (SELECT x.source, x.key FROM weir_internal.alert x
              JOIN weir.alert_rules r ON r.rule = x.source AND r.unit IS NOT NULL
              WHERE x.stream = st.stream AND x.resolved_at IS NULL AND x.key <> weir_internal.check_relation(st.stream)
              ORDER BY 1, 2) a;
        SELECT * INTO s FROM weir_internal.stream_state(st.stream);
        open := open + weir_internal.judge_progress(st.stream, s) + weir_internal.judge_rates(st.stream, s);
        DELETE FROM weir_internal.stream_sample x WHERE x.stream = st.stream AND x.sampled_at < clock_timestamp() - interval '4 hours';
        INSERT INTO weir_internal.stream_sample (stream, consumed, dead_lettered, applied, lag)
        SELECT st.stream, s.consumed, s.dead_lettered, s.applied, s.lag
        WHERE NOT EXISTS (SELECT FROM weir_internal.stream_sample x
            WHERE x.stream = st.stream AND x.sampled_at > clock_timestamp() - interval '30 seconds');
    END LOOP;
    -- what a batch raises now is left alone: waiting for it, in whatever order it raises, could be a deadlock
    PERFORM weir_internal.resolve_alert('alert', a.key)
    FROM (SELECT x.key
          FROM weir_internal.alert x
          JOIN weir_internal.alert_definition d ON d.stream = x.stream AND (x.key = d.name OR starts_with(x.key, d.name || '/'))
          WHERE x.source = 'alert' AND x.resolved_at IS NULL AND x.last_seen + d.resolve_after <= clock_timestamp()
            AND weir_internal.sees_alert(caller, x.owner, x.stream)
          FOR UPDATE OF x SKIP LOCKED) a;
    RETURN open;
END
$$;
COMMENT ON FUNCTION weir_internal.evaluate_alerts(oid, text) IS 'does what weir.evaluate_alerts says';
