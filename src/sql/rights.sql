-- Rights.  Everybody may call the functions: each checks what its caller may
-- do.  Nobody but the superuser touches the catalogue itself.

GRANT USAGE ON SCHEMA weir TO PUBLIC;
GRANT SELECT ON weir.catalog, weir.status, weir.stream_stats, weir.gaps, weir.remembered_ids, weir.dead_letters, weir.late_events,
    weir.derived, weir.expectation_stats, weir.expectation_changes,
    weir.aggregate_errors, weir.alerts, weir.alert_rules, weir.tasks, weir.task_runs,
    weir.checks, weir.check_results, weir.quality, weir.quality_history TO PUBLIC;

-- Internal: reached through the views (as their owner) and the event triggers.
REVOKE ALL ON ALL ROUTINES IN SCHEMA weir_internal FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA weir_internal FROM PUBLIC;
REVOKE ALL ON SCHEMA weir_internal FROM PUBLIC;

-- Derived objects are run as the streams' owners, who must find the relations
-- behind them.  What they may do with these is said relation by relation.
GRANT USAGE ON SCHEMA weir_internal TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    weir_internal.bin(timestamptz, timestamptz, timestamptz, int, bigint),
    weir_internal.bin_first(timestamptz, timestamptz, timestamptz, int, bigint),
    weir_internal.distinct_add(internal, anyelement),
    weir_internal.distinct_serialize(internal),
    weir_internal.distinct_deserialize(bytea, internal),
    weir_internal.distinct_final(internal),
    weir_internal.distinct_values(anyelement),
    weir_internal.errors_of(regclass),
    weir_internal.session_start(timestamptz, interval),
    weir_internal.is_at_fault(timestamptz, "any"),
    weir_internal.check_relation(oid),
    weir_internal.visible_sample(jsonb, oid, oid[]),
    weir_internal.literal(anyelement),
    weir_internal.need(text, boolean, text),
    weir_internal.need_operator(text),
    weir_internal.windows_of(weir.window_spec, timestamptz, timestamptz, interval) TO PUBLIC;

-- Called by the views above, with the rights of whoever reads them.
GRANT EXECUTE ON FUNCTION weir_internal.runs_here(text), weir_internal.worker_slots(), weir_internal.obstacle(),
    weir_internal.refill_sums(), weir_internal.ids_sums(), weir_internal.worker_shortage(),
    weir_internal.sees_alert(oid, oid, oid) TO PUBLIC;
