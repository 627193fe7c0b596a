-- MERGE on event_id: versions of records come in any order, some twice, and the
-- newest one of each stays.  What a scheduled MERGE does over files, as a table
-- that is right after every batch.

DROP SCHEMA IF EXISTS merge_on_event_id CASCADE;
CREATE SCHEMA merge_on_event_id;
SET search_path = merge_on_event_id;
SET timezone = 'UTC';

SELECT weir.create_stream('changes', 'event_id text, status text, updated_at timestamptz', event_time => 'updated_at');
SELECT weir.create_upsert('events', $$ SELECT event_id, status, updated_at FROM changes $$,
    key => '{event_id}', order_by => 'updated_at');

-- Doubles in one batch collapse to the newest.
SELECT accepted FROM weir.ingest('changes', ARRAY[
    '{"event_id": "e1", "status": "created", "updated_at": "2026-01-05T12:00:00Z"}',
    '{"event_id": "e1", "status": "shipped", "updated_at": "2026-01-05T12:05:00Z"}',
    '{"event_id": "e1", "status": "paid", "updated_at": "2026-01-05T12:02:00Z"}',
    '{"event_id": "e2", "status": "created", "updated_at": "2026-01-05T12:01:00Z"}']);
SELECT event_id, status, updated_at FROM events ORDER BY event_id;

-- An older version that comes late changes nothing, a newer one does.
SELECT accepted FROM weir.ingest('changes', ARRAY[
    '{"event_id": "e1", "status": "paid", "updated_at": "2026-01-05T12:02:00Z"}',
    '{"event_id": "e2", "status": "paid", "updated_at": "2026-01-05T12:06:00Z"}']);
SELECT event_id, status, updated_at FROM events ORDER BY event_id;

-- The same as the query over all that came.
SELECT * FROM weir.verify('events');
