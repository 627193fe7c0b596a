-- Staged rows leave when they are older than the stream's retention: whole
-- child tables at a time, never by DELETE.
SELECT weir.create_stream('readings', 'id int', retention => '1 hour', partitions => 1);
CREATE INDEX ON readings (id);

-- Lets the time pass that the children have lived for.
CREATE FUNCTION pass(t interval) RETURNS void LANGUAGE sql AS $$
    UPDATE weir_internal.chunk SET created_at = created_at - t, closed_at = closed_at - t
    WHERE stream = 'readings'::regclass
$$;
CREATE VIEW children AS
    SELECT row_number() OVER (ORDER BY c.created_at) AS n, c.closed_at IS NOT NULL AS closed,
           (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.chunk) AS indexes,
           (SELECT array_agg(r.id ORDER BY r.id) FROM readings r WHERE r.tableoid = c.chunk) AS ids
    FROM weir_internal.chunk c WHERE c.stream = 'readings'::regclass;

SELECT accepted FROM weir.ingest('readings', '{"id": 1}');
SELECT * FROM children;

-- A child takes rows for an eighth of the retention, then another one does.
SELECT pass('8 minutes');
SELECT accepted FROM weir.ingest('readings', '{"id": 2}');
SELECT accepted FROM weir.ingest('readings', '{"id": 3}');
SELECT * FROM children;

-- It stays until its youngest row may be past retention.
SELECT pass('59 minutes');
SELECT accepted FROM weir.ingest('readings', '{"id": 4}');
SELECT accepted FROM weir.ingest('readings', '{"id": 5}');
SELECT * FROM children;
SELECT pass('2 minutes');
SELECT accepted FROM weir.ingest('readings', '{"id": 6}');
SELECT * FROM children;
SELECT id FROM readings ORDER BY id;

-- A shorter retention holds at once.
SELECT weir.alter_stream('readings', retention => '1 minute');
SELECT accepted FROM weir.ingest('readings', '{"id": 7}');
SELECT id FROM readings ORDER BY id;
SELECT staging_tables, staging_tables_overdue FROM weir.status WHERE stream = 'readings';

-- Rows that have left were applied all the same.
SELECT * FROM weir.audit('readings');

-- A session that rolls back rotates nothing.
SELECT pass('1 hour');
BEGIN;
SELECT accepted FROM weir.ingest('readings', '{"id": 8}');
ROLLBACK;
SELECT staging_tables, staging_tables_overdue FROM weir.status WHERE stream = 'readings';

DROP VIEW children;
DROP FUNCTION pass;
DROP TABLE readings;
