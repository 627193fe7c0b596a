-- The workers, as shared memory has them.  weir.status shows them to those who
-- may see their streams.

CREATE FUNCTION weir_internal.worker_slots(
    OUT dboid oid, OUT stream oid, OUT worker int, OUT pid int, OUT state text, OUT since timestamptz,
    OUT last_error text, OUT last_hint text, OUT last_error_at timestamptz, OUT next_try timestamptz, OUT batch_since timestamptz, OUT blocked_by int[])
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL SAFE ROWS 10
    AS 'MODULE_PATHNAME', 'weir_worker_slots';
COMMENT ON FUNCTION weir_internal.worker_slots() IS
    'the stream workers of this server, those of the caller''s streams for all but superusers; none where pg_weir is not in shared_preload_libraries';

CREATE FUNCTION weir_internal.worker_shortage(OUT slots int, OUT slots_used int, OUT error text, OUT hint text)
    RETURNS record
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'weir_worker_shortage';
COMMENT ON FUNCTION weir_internal.worker_shortage() IS
    'the slots for stream workers in this server; why workers without a slot or a process get none, NULL if they will';

CREATE FUNCTION weir_internal.obstacle(OUT state text, OUT error text, OUT hint text)
    RETURNS record
    LANGUAGE c STABLE
    AS 'MODULE_PATHNAME', 'weir_obstacle';
COMMENT ON FUNCTION weir_internal.obstacle() IS
    'why no stream can run in this database now (standby, not preloaded, version mismatch); NULLs where they can';

