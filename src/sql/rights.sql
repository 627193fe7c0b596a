-- Rights.  Everybody may call the functions: each checks what its caller may
-- do.  Nobody but the superuser touches the catalogue itself.

GRANT USAGE ON SCHEMA weir TO PUBLIC;
GRANT SELECT ON weir.catalog, weir.status, weir.stream_stats, weir.gaps, weir.dead_letters TO PUBLIC;

-- Internal: reached through the views (as their owner) and the event triggers.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA weir_internal FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA weir_internal FROM PUBLIC;
REVOKE ALL ON SCHEMA weir_internal FROM PUBLIC;

-- Called by the views above, with the rights of whoever reads them.
GRANT EXECUTE ON FUNCTION weir_internal.runs_here(text), weir_internal.worker_slots(), weir_internal.obstacle(),
    weir_internal.refill_sums(), weir_internal.worker_shortage() TO PUBLIC;
