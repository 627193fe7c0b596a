-- Alerts: what is wrong now, and was.  Checks, tasks and weir.evaluate_alerts
-- raise them; so do the queries of users over streams.

-- An alert that is raised again while it is open is folded into its row.
CREATE TABLE weir_internal.alert (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,                       -- the rule it falls under
    key text NOT NULL,                          -- what it is about
    severity text NOT NULL,
    message text NOT NULL,
    detail jsonb,
    owner regrole,                              -- whose rights show it; NULL: superusers'
    stream regclass,                            -- it goes with this stream; NULL: with none
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    count bigint NOT NULL DEFAULT 1,
    acknowledged_at timestamptz,
    acknowledged_by name,
    resolved_at timestamptz,
    notified_at timestamptz                     -- last told through NOTIFY
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX alert_open ON weir_internal.alert (source, key) WHERE resolved_at IS NULL;
CREATE INDEX ON weir_internal.alert (source, key, id);
CREATE INDEX ON weir_internal.alert (resolved_at) WHERE resolved_at IS NOT NULL;
COMMENT ON TABLE weir_internal.alert IS 'alerts, open and resolved';
-- Dumped: the history of what went wrong; its sequence with it.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.alert', '');
SELECT pg_catalog.pg_extension_config_dump('weir_internal.alert_id_seq', '');

-- What the administrator has changed of the rules.
CREATE TABLE weir_internal.alert_rule (
    rule text PRIMARY KEY,
    enabled boolean,                            -- NULL in any column: as it comes
    threshold float8,
    severity text,
    notify_from text,
    quiet_time interval,
    repeat_after interval,
    with_message boolean
);
COMMENT ON TABLE weir_internal.alert_rule IS 'changes of the rules for alerts';
-- Dumped: the administrator's settings.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.alert_rule', '');

CREATE VIEW weir.alert_rules WITH (security_barrier) AS
SELECT d.rule, coalesce(r.enabled, true) AS enabled, coalesce(r.threshold, d.threshold) AS threshold, d.unit,
       coalesce(r.severity, d.severity) AS severity, coalesce(r.notify_from, 'info') AS notify_from,
       coalesce(r.quiet_time, interval '0') AS quiet_time, r.repeat_after,
       coalesce(r.with_message, true) AS with_message, d.description
FROM (VALUES
    ('alert', NULL::float8, NULL, NULL, 'a query of weir.create_alert has given a row'),
    ('check', NULL, NULL, NULL, 'a check has failed, warns, or could not be run'),
    ('dead_letters', 1, '%', 'error', 'more of a stream''s messages than that became dead letters since an hour ago'),
    ('lag_messages', 10000, 'messages', 'error', 'a stream is further behind its topic than that'),
    ('lag_time', 60, 's', 'error', 'a stream''s last applied message is older than that, while there are more'),
    ('latency', 10, 's', 'warn', 'messages were applied later than that after they were produced'),
    ('not_running', 60, 's', 'error', 'a stream that is started has not run for that long'),
    ('stalled', 300, 's', 'error', 'a stream has applied nothing for that long, while there are messages'),
    ('task_failed', NULL, NULL, NULL, 'a run of a task has failed'),
    ('task_late', NULL, NULL, NULL, 'a run of a task takes longer, or starts later, than agreed'),
    ('volume_drop', 20, '%', 'warn', 'a stream has had that much less messages in the last hour than in the one before')
) d (rule, threshold, unit, severity, description)
LEFT JOIN weir_internal.alert_rule r ON r.rule = d.rule;
COMMENT ON VIEW weir.alert_rules IS
'What raises alerts, and what becomes of them: enabled; threshold, in the unit given, beyond which weir.evaluate_alerts raises one; severity (info, warn, error, critical; NULL: as whatever raises it says); notify_from: the least severity that goes to NOTIFY weir_alerts; quiet_time: for how long after a notification nothing more is sent about the same; repeat_after: after how long one that is still being raised is sent again (NULL: never); with_message: whether notifications, which everybody in the database can LISTEN to, say more than id, source and severity. weir.alter_alert_rule changes them.';

-- Alerts of streams are for the streams' owners of now.
CREATE FUNCTION weir_internal.sees_alert(role oid, owner oid, stream oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN o.owner IS NULL THEN (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = sees_alert.role)
                ELSE pg_has_role(sees_alert.role, o.owner, 'USAGE') END
    FROM (SELECT coalesce((SELECT c.relowner FROM pg_class c WHERE c.oid = sees_alert.stream), sees_alert.owner) AS owner) o
$$;
COMMENT ON FUNCTION weir_internal.sees_alert(oid, oid, oid) IS 'may a role see an alert of this owner (NULL: superusers) and stream (NULL: none)?';

CREATE VIEW weir.alerts WITH (security_barrier) AS
SELECT a.id, a.source, a.key AS what, a.severity, a.message, a.detail, a.first_seen, a.last_seen, a.count,
       a.acknowledged_at, a.acknowledged_by, a.resolved_at
FROM weir_internal.alert a
WHERE weir_internal.sees_alert(current_user::regrole, a.owner, a.stream);
COMMENT ON VIEW weir.alerts IS
'What is wrong, and was: source (a rule of weir.alert_rules), what it is about, severity (info, warn, error, critical), message and detail as of the last time, when it was first and last seen, how often, who has acknowledged it when, and since when it is resolved (NULL: it is open). Shows what checks, tasks, streams and alerts raise whose owner''s rights the reader has. Resolved ones leave by weir.purge_alerts.';

-- Tells the world about an alert, if the rule wants it.
CREATE FUNCTION weir_internal.notify_alert(alert weir_internal.alert, event text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rule weir.alert_rules;
    severities constant text[] := '{info,warn,error,critical}';
    last timestamptz;                           -- of this alert, or former ones about the same
    silent boolean;
    body jsonb := jsonb_build_object('id', alert.id, 'event', event, 'source', alert.source, 'severity', alert.severity);
BEGIN
    SELECT * INTO rule FROM weir.alert_rules r WHERE r.rule = alert.source;
    IF array_position(severities, alert.severity) < array_position(severities, coalesce(rule.notify_from, 'info')) THEN
        RETURN;
    END IF;
    SELECT max(a.notified_at) INTO last FROM weir_internal.alert a WHERE a.source = alert.source AND a.key = alert.key;
    silent := CASE event
        -- what was told to be wrong is told to be right
        WHEN 'resolved' THEN alert.notified_at IS NULL
        WHEN 'repeated' THEN clock_timestamp() < last + coalesce(rule.quiet_time, '0')
            OR alert.notified_at IS NOT NULL AND coalesce(clock_timestamp() < alert.notified_at + rule.repeat_after, true)
        ELSE clock_timestamp() < last + coalesce(rule.quiet_time, '0')
    END;
    IF silent THEN
        RETURN;
    END IF;
    IF coalesce(rule.with_message, true) THEN
        -- NOTIFY takes less than 8000 bytes
        body := body || jsonb_build_object('what', left(alert.key, 500), 'message', left(alert.message, 1000),
            'count', alert.count, 'first_seen', alert.first_seen);
    END IF;
    PERFORM pg_notify('weir_alerts', body::text);
    UPDATE weir_internal.alert a SET notified_at = clock_timestamp() WHERE a.id = alert.id;
END
$$;
COMMENT ON FUNCTION weir_internal.notify_alert(weir_internal.alert, text) IS
'sends an alert (raised, escalated, repeated, resolved) to NOTIFY weir_alerts, where its rule wants that';

CREATE FUNCTION weir_internal.raise_alert(
    source text, key text, severity text, message text,
    detail jsonb DEFAULT NULL, owner oid DEFAULT NULL, stream oid DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    rule weir.alert_rules;
    was text;
    a weir_internal.alert;
    severities constant text[] := '{info,warn,error,critical}';
BEGIN
    SELECT * INTO rule FROM weir.alert_rules r WHERE r.rule = raise_alert.source;
    IF NOT rule.enabled THEN
        RETURN NULL;
    END IF;
    severity := coalesce(rule.severity, raise_alert.severity);
    IF severity <> ALL (severities) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('severity "%s" is not known', severity),
            HINT = 'One of info, warn, error, critical.';
    END IF;
    SELECT o.severity INTO was FROM weir_internal.alert o
    WHERE o.source = raise_alert.source AND o.key = raise_alert.key AND o.resolved_at IS NULL;
    INSERT INTO weir_internal.alert AS o (source, key, severity, message, detail, owner, stream)
    VALUES (raise_alert.source, raise_alert.key, raise_alert.severity, raise_alert.message, raise_alert.detail,
            raise_alert.owner::regrole, raise_alert.stream::regclass)
    ON CONFLICT (source, key) WHERE resolved_at IS NULL DO UPDATE
    SET severity = excluded.severity, message = excluded.message, detail = excluded.detail, owner = excluded.owner,
        stream = excluded.stream, last_seen = clock_timestamp(), count = o.count + 1
    RETURNING * INTO a;
    PERFORM weir_internal.notify_alert(a, CASE
        WHEN a.count = 1 THEN 'raised'
        WHEN array_position(severities, a.severity) > array_position(severities, was) THEN 'escalated'
        ELSE 'repeated' END);
    RETURN a.id;
END
$$;
COMMENT ON FUNCTION weir_internal.raise_alert(text, text, text, text, jsonb, oid, oid) IS
'raises an alert about key, or folds it into the one that is open; source is the rule it falls under (unless that is disabled: NULL is returned), owner the role whose members see it (NULL: superusers)';

CREATE FUNCTION weir_internal.resolve_alert(source text, key text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    a weir_internal.alert;
BEGIN
    UPDATE weir_internal.alert o SET resolved_at = clock_timestamp()
    WHERE o.source = resolve_alert.source AND o.key = resolve_alert.key AND o.resolved_at IS NULL
    RETURNING * INTO a;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM weir_internal.notify_alert(a, 'resolved');
    RETURN true;
END
$$;
COMMENT ON FUNCTION weir_internal.resolve_alert(text, text) IS 'resolves the alert of a source about a key; was there one open?';

-- An alert that the caller may see.
CREATE FUNCTION weir_internal.own_alert(caller oid, id bigint) RETURNS weir_internal.alert
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    a weir_internal.alert;
BEGIN
    SELECT * INTO a FROM weir_internal.alert o
    WHERE o.id = own_alert.id
      AND weir_internal.sees_alert(caller, o.owner, o.stream)
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('alert %s does not exist', own_alert.id),
            HINT = 'weir.alerts shows those that you may see.';
    END IF;
    RETURN a;
END
$$;
COMMENT ON FUNCTION weir_internal.own_alert(oid, bigint) IS 'an alert that the caller may see; 42704 if there is none';

CREATE FUNCTION weir.acknowledge_alert(id bigint) RETURNS void
LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.acknowledge_alert(bigint) IS
'Notes in weir.alerts that somebody looks after it. It stays open, and is folded as before. For whoever sees it.';

CREATE FUNCTION weir_internal.acknowledge_alert(caller oid, caller_path text, id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM weir_internal.own_alert(caller, id);
    UPDATE weir_internal.alert a SET acknowledged_at = clock_timestamp(), acknowledged_by = pg_get_userbyid(caller)
    WHERE a.id = acknowledge_alert.id;
END
$$;
COMMENT ON FUNCTION weir_internal.acknowledge_alert(oid, text, bigint) IS 'does what weir.acknowledge_alert says';

CREATE FUNCTION weir.resolve_alert(id bigint) RETURNS void
LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.resolve_alert(bigint) IS
'Resolves an alert by hand. What is still wrong raises another one. For whoever sees it.';

CREATE FUNCTION weir_internal.resolve_alert(caller oid, caller_path text, id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a weir_internal.alert := weir_internal.own_alert(caller, id);
BEGIN
    PERFORM weir_internal.resolve_alert(a.source, a.key);
END
$$;
COMMENT ON FUNCTION weir_internal.resolve_alert(oid, text, bigint) IS 'does what weir.resolve_alert says';

CREATE FUNCTION weir.purge_alerts(older_than interval DEFAULT '90 days') RETURNS bigint
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.purge_alerts(interval) IS
'Deletes alerts that were resolved longer ago than that (NULL: 90 days), of those the caller may see; returns how many.';

CREATE FUNCTION weir_internal.purge_alerts(caller oid, caller_path text, older_than interval) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM weir_internal.alert a
    WHERE a.resolved_at < clock_timestamp() - coalesce(older_than, '90 days')
      AND weir_internal.sees_alert(caller, a.owner, a.stream);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION weir_internal.purge_alerts(oid, text, interval) IS 'does what weir.purge_alerts says';

CREATE FUNCTION weir.alter_alert_rule(
    rule text,
    enabled boolean DEFAULT NULL,
    threshold float8 DEFAULT NULL,
    severity text DEFAULT NULL,
    notify_from text DEFAULT NULL,
    quiet_time interval DEFAULT NULL,
    repeat_after interval DEFAULT NULL,
    with_message boolean DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.alter_alert_rule(text, boolean, float8, text, text, interval, interval, boolean) IS
'Changes a rule of weir.alert_rules, which says what the parameters mean; NULL leaves it as it is. For superusers.';

CREATE FUNCTION weir_internal.alter_alert_rule(
    caller oid, caller_path text, rule text, enabled boolean, threshold float8, severity text, notify_from text,
    quiet_time interval, repeat_after interval, with_message boolean)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    it weir.alert_rules;
    severities constant text[] := '{info,warn,error,critical}';
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = caller) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied for the rules of alerts',
            HINT = 'They hold for all streams of the database: ask a superuser.';
    END IF;
    SELECT * INTO it FROM weir.alert_rules r WHERE r.rule = alter_alert_rule.rule;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('alert rule "%s" does not exist', rule),
            HINT = 'One of ' || (SELECT string_agg(r.rule, ', ' ORDER BY r.rule) FROM weir.alert_rules r) || '.';
    ELSIF threshold IS NOT NULL AND it.unit IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('alert rule "%s" has no threshold', rule);
    ELSIF threshold < 0 OR threshold = 'NaN' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('threshold of alert rule "%s" must not be negative', rule);
    ELSIF severity <> ALL (severities) OR notify_from <> ALL (severities) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('severity "%s" is not known', CASE WHEN severity <> ALL (severities) THEN severity ELSE notify_from END),
            HINT = 'One of info, warn, error, critical.';
    END IF;
    INSERT INTO weir_internal.alert_rule AS r VALUES
        (alter_alert_rule.rule, alter_alert_rule.enabled, alter_alert_rule.threshold, alter_alert_rule.severity,
         alter_alert_rule.notify_from, alter_alert_rule.quiet_time, alter_alert_rule.repeat_after, alter_alert_rule.with_message)
    ON CONFLICT (rule) DO UPDATE SET
        enabled = coalesce(excluded.enabled, r.enabled), threshold = coalesce(excluded.threshold, r.threshold),
        severity = coalesce(excluded.severity, r.severity), notify_from = coalesce(excluded.notify_from, r.notify_from),
        quiet_time = coalesce(excluded.quiet_time, r.quiet_time), repeat_after = coalesce(excluded.repeat_after, r.repeat_after),
        with_message = coalesce(excluded.with_message, r.with_message);
END
$$;
COMMENT ON FUNCTION weir_internal.alter_alert_rule(oid, text, text, boolean, float8, text, text, interval, interval, boolean) IS
'does what weir.alter_alert_rule says';
