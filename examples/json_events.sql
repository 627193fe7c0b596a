-- JSON as it comes: awkward names, nesting, objects kept whole, and fields
-- that nobody has asked for.

DROP SCHEMA IF EXISTS json_events CASCADE;
CREATE SCHEMA json_events;
SET search_path = json_events;

-- Columns may be named like types or keywords, quoted or not: as in CREATE
-- TABLE.  paths names a field inside of others.
SELECT weir.create_stream('events',
    columns => 'event_type text, "timestamp" timestamptz, user_id bigint, payload text, details jsonb',
    paths => '{"user_id": "user.id"}',
    event_time => 'timestamp');

SELECT * FROM weir.ingest('events', ARRAY[
    '{"event_type": "click", "timestamp": "2026-01-05T12:31:00Z", "user": {"id": 7, "name": "Ada"},
      "payload": {"page": "/pricing", "ms": [12, 40]}, "details": {"b": 1, "a": 2}}',
    '{"event_type": "click", "timestamp": "2026-01-05T14:34:59.5+02:00", "user": {"id": 8},
      "payload": "plain text"}',
    '{"event_type": "view", "timestamp": "2026-01-05T12:35:00Z", "payload": 42, "source": "app"}'
]);

-- An object in a text column is its JSON text; jsonb is jsonb.  What no column
-- holds is in _extra: the user's name, the source.
SELECT event_type, user_id, payload, details, _extra FROM events ORDER BY _offset;

-- The payload's text is JSON still.
SELECT payload::jsonb -> 'ms' ->> 0 AS first_ms FROM events WHERE payload LIKE '{%';

-- Events of each type per five minutes, kept up to date from here on; it
-- begins with what the stream holds.
SELECT weir.create_continuous_aggregate('events_5m',
    $$ SELECT event_type, count(*) FROM events GROUP BY event_type $$,
    time_window => weir.tumble('5 minutes'));

SELECT window_start AT TIME ZONE 'UTC' AS "from (UTC)", event_type, count, is_final
FROM events_5m ORDER BY 1, 2;
