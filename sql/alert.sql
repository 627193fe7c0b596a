-- Alerts: raised, folded, acknowledged, resolved; what is told of them, and to whom.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA al;
SET search_path = al;
CREATE ROLE al_owner;
CREATE ROLE al_other;
GRANT ALL ON SCHEMA al TO al_owner;
CREATE FUNCTION owner() RETURNS oid LANGUAGE sql AS $$ SELECT 'al_owner'::regrole::oid $$;
CREATE VIEW notified AS SELECT source, key, count, notified_at IS NOT NULL AS notified FROM weir_internal.alert ORDER BY id;

ALTER SEQUENCE weir_internal.alert_id_seq RESTART 1;

-- What is raised again is folded.
SELECT weir_internal.raise_alert('task_failed', 'load', 'error', 'it failed', '{"run": 1}', owner()) IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('task_failed', 'load', 'critical', 'it failed again', '{"run": 2}', owner()) IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('task_failed', 'extract', 'error', 'this, too', NULL, owner()) IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('check', 'nobody''s', 'warn', 'for the administrator') IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('check', 'nobody''s', 'bad', 'no such severity');
SELECT source, what, severity, message, detail, count, last_seen >= first_seen AS later, acknowledged_by, resolved_at FROM weir.alerts ORDER BY id;
SELECT * FROM notified;

-- Others see nothing of it, and touch nothing.
SELECT id FROM weir.alerts WHERE what = 'load' \gset
SELECT id AS other_id FROM weir.alerts WHERE source = 'check' \gset
SET ROLE al_other;
SELECT count(*) FROM weir.alerts;
SELECT weir.acknowledge_alert(:id);
SELECT weir.resolve_alert(:id);
SELECT weir.purge_alerts('0');
SELECT weir.alter_alert_rule('lag_time', threshold => 1);
SELECT weir_internal.raise_alert('check', 'mine', 'error', 'me!');
SET ROLE al_owner;
SELECT count(*) FROM weir.alerts;
SELECT weir.acknowledge_alert(:other_id);
SELECT weir.acknowledge_alert(:id);
SELECT what, acknowledged_by, acknowledged_at >= first_seen AS at, resolved_at FROM weir.alerts ORDER BY id;

-- By hand, or when it is over.
SELECT weir.resolve_alert(:id);
SELECT weir.resolve_alert(:id);
RESET ROLE;
SELECT weir_internal.resolve_alert('task_failed', 'extract'), weir_internal.resolve_alert('task_failed', 'extract') AS again;
SELECT what, resolved_at >= last_seen AS resolved FROM weir.alerts ORDER BY id;
-- the next one is another
SELECT weir_internal.raise_alert('task_failed', 'load', 'error', 'anew', NULL, owner()) <> :id AS another;
SELECT what, count, resolved_at IS NULL AS open FROM weir.alerts ORDER BY id;
SET ROLE al_owner;
SELECT weir.purge_alerts(), weir.purge_alerts('0') AS purged;
RESET ROLE;
SELECT what, count, resolved_at IS NULL AS open FROM weir.alerts ORDER BY id;

-- Rules.
SELECT rule, enabled, threshold, unit, severity, notify_from, quiet_time, repeat_after, with_message FROM weir.alert_rules ORDER BY rule COLLATE "C";
SELECT weir.alter_alert_rule('lag_tim', threshold => 1);
SELECT weir.alter_alert_rule('check', threshold => 1);
SELECT weir.alter_alert_rule('lag_time', threshold => -1);
SELECT weir.alter_alert_rule('lag_time', severity => 'bad');
SELECT weir.alter_alert_rule('lag_time', threshold => 0);
SELECT weir.alter_alert_rule('lag_time', threshold => 30, quiet_time => '1 hour');
SELECT weir.alter_alert_rule('lag_time', severity => 'critical', threshold => 31);
SELECT rule, threshold, severity, quiet_time FROM weir.alert_rules WHERE rule = 'lag_time';
SELECT weir.alter_alert_rule('task_late', enabled => false);
SELECT weir_internal.raise_alert('task_late', 'load', 'warn', 'late') AS not_raised;
-- a rule's severity goes before the caller's
SELECT weir_internal.raise_alert('lag_time', 's', 'info', 'behind') AS id \gset
SELECT severity FROM weir.alerts WHERE id = :id;

-- What is told: changes; too unimportant ones not; within the quiet time nothing, but that it is over.
TRUNCATE weir_internal.alert;
SELECT weir.alter_alert_rule('check', notify_from => 'error', quiet_time => '1 hour');
SELECT weir_internal.raise_alert('check', 'a', 'warn', 'm') IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('check', 'b', 'error', 'm') IS NOT NULL AS raised;
SELECT * FROM notified;
SELECT weir_internal.resolve_alert('check', 'b'), weir_internal.raise_alert('check', 'b', 'error', 'm') IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('check', 'b', 'error', 'm') IS NOT NULL AS repeated;
SELECT * FROM notified;
UPDATE weir_internal.alert SET notified_at = notified_at - interval '2 hours' WHERE notified_at IS NOT NULL;
SELECT weir_internal.raise_alert('check', 'b', 'error', 'm') IS NOT NULL AS repeated;
SELECT * FROM notified;
-- a reminder
UPDATE weir_internal.alert SET notified_at = notified_at - interval '2 hours' WHERE notified_at IS NOT NULL;
CREATE VIEW reminded AS SELECT notified_at > clock_timestamp() - interval '1 hour' AS reminded FROM weir_internal.alert WHERE key = 'b' AND resolved_at IS NULL;
SELECT weir_internal.raise_alert('check', 'b', 'error', 'm') IS NOT NULL AS repeated;
SELECT * FROM reminded;
SELECT weir.alter_alert_rule('check', repeat_after => '90 minutes');
SELECT weir_internal.raise_alert('check', 'b', 'error', 'm') IS NOT NULL AS repeated;
SELECT * FROM reminded;

-- what gets less severe is repeated, not escalated; other sources have alerts of the same name
CREATE FUNCTION age_notices() RETURNS void LANGUAGE sql AS $$
    UPDATE weir_internal.alert SET notified_at = notified_at - interval '2 hours', first_seen = first_seen - interval '2 hours',
        last_seen = last_seen - interval '2 hours' WHERE notified_at IS NOT NULL
$$;
TRUNCATE weir_internal.alert, weir_internal.alert_rule;
SELECT weir.alter_alert_rule('check', quiet_time => '1 hour');
CREATE FUNCTION raise(source text, key text, severity text) RETURNS text LANGUAGE sql AS $$
    SELECT age_notices(); SELECT weir_internal.raise_alert(source, key, severity, 'm');
    SELECT string_agg(concat_ws(' ', a.source, a.severity, CASE WHEN a.notified_at > clock_timestamp() - interval '1 hour' THEN 'told' ELSE 'silent' END,
        CASE WHEN a.last_seen > clock_timestamp() - interval '1 hour' THEN 'seen' END), ', ' ORDER BY a.source)
    FROM weir_internal.alert a WHERE a.key = raise.key AND a.resolved_at IS NULL
$$;
SELECT raise('check', 'b', 'error'), raise('check', 'b', 'error') AS again, raise('check', 'b', 'warn') AS less, raise('check', 'b', 'critical') AS more;
SELECT raise('alert', 'b', 'info'), raise('task_late', 'b', 'critical'), raise('check', 'b', 'critical') AS again;
SELECT weir_internal.raise_alert('alert', 'q', 'error', 'm') IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('check', 'q', 'error', 'm') IS NOT NULL AS raised;
SELECT source, notified FROM notified WHERE key = 'q' ORDER BY source;
-- NOTIFY takes less than 8000 bytes
SELECT weir_internal.raise_alert('check', repeat('ü', 2000), 'error', repeat('ü', 10000)) IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('check', 'long', 'error', repeat('ü', 10000)) IS NOT NULL AS raised;
SELECT weir_internal.raise_alert('alert', repeat('ü', 5000), 'error', 'm') IS NOT NULL AS raised;

-- As it was.
TRUNCATE weir_internal.alert, weir_internal.alert_rule;
DROP SCHEMA al CASCADE;
DROP ROLE al_owner, al_other;
