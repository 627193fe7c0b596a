-- Overheating: an alert for each device that is too hot, once until somebody has
-- looked after it.
--
-- A reading of 100 is silent, one of 100.1 is not.  The query runs over each batch,
-- in its transaction; what it gives is folded by device.

SET client_min_messages = warning;
DROP SCHEMA IF EXISTS overheating_alert CASCADE;
CREATE SCHEMA overheating_alert;
SET search_path = overheating_alert;
SET TimeZone = 'UTC';

SELECT weir.create_stream('readings', 'device text NOT NULL, temperature float8, ts timestamptz', event_time => 'ts');

SELECT weir.create_alert('overheating',
    'SELECT device, temperature, ts FROM readings WHERE temperature > 100',
    key => 'device', message => 'device {device} is at {temperature} °C', severity => 'critical');

-- Who is interested says: LISTEN weir_alerts;

SELECT accepted FROM weir.ingest('readings', '{"device": "boiler", "temperature": 100, "ts": "2026-01-01T10:00:00Z"}'::text);
SELECT what, severity, message, count FROM weir.alerts WHERE what LIKE 'overheating/%';

SELECT accepted FROM weir.ingest('readings', ARRAY[
    '{"device": "boiler", "temperature": 100.1, "ts": "2026-01-01T10:01:00Z"}',
    '{"device": "boiler", "temperature": 104, "ts": "2026-01-01T10:02:00Z"}',
    '{"device": "pump", "temperature": 20, "ts": "2026-01-01T10:02:00Z"}']);
SELECT accepted FROM weir.ingest('readings', '{"device": "boiler", "temperature": 110, "ts": "2026-01-01T10:03:00Z"}'::text);
SELECT accepted FROM weir.ingest('readings', '{"device": "pump", "temperature": 101, "ts": "2026-01-01T10:04:00Z"}'::text);

-- Two alerts, and how often each was raised; the last reading that did.
SELECT what, severity, message, count, detail->>'ts' AS ts FROM weir.alerts WHERE what LIKE 'overheating/%' ORDER BY what;

-- Somebody looks after the boiler.
SELECT weir.acknowledge_alert(id) FROM weir.alerts WHERE what = 'overheating/boiler';
SELECT weir.resolve_alert(id) FROM weir.alerts WHERE what = 'overheating/boiler';

-- It gets hot again: another alert.
SELECT accepted FROM weir.ingest('readings', '{"device": "boiler", "temperature": 120, "ts": "2026-01-01T11:00:00Z"}'::text);
SELECT what, message, count, acknowledged_at IS NOT NULL AS acknowledged, resolved_at IS NOT NULL AS resolved
FROM weir.alerts WHERE what LIKE 'overheating/%' ORDER BY id;
