-- Tasks that the extension brings itself: weir.schedule and weir.unschedule.

CREATE TABLE weir_internal.replay_task (
    stream regclass PRIMARY KEY,
    task text NOT NULL
);
COMMENT ON TABLE weir_internal.replay_task IS 'streams whose dead letters a task replays';
-- Dumped: belongs to the tasks.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.replay_task', '');

-- is_wanted: weir.schedule creates it; weir.unschedule drops what is there.
CREATE FUNCTION weir_internal.house_tasks(OUT name text, OUT command text, OUT schedule text, OUT is_wanted boolean) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    VALUES ('weir_run_checks', 'CALL weir_internal.run_due_checks()', '* * * * *', true),
           ('weir_evaluate_alerts', 'SELECT weir.evaluate_alerts()', '* * * * *', true),
           ('weir_purge_alerts', 'SELECT weir.purge_alerts()', '13 3 * * *', true),
           ('weir_purge_check_results', 'SELECT weir.purge_check_results()', '17 3 * * *', true),
           -- those that a crash has cut short have no end_time
           ('weir_purge_pg_cron', 'DELETE FROM cron.job_run_details WHERE status IN (''succeeded'', ''failed'') AND runid <='
               ' (SELECT max(d.runid) FROM cron.job_run_details d WHERE d.end_time < now() - interval ''7 days'')', '23 3 * * *',
               weir_internal.tick_every() IS NOT NULL)
$$;
COMMENT ON FUNCTION weir_internal.house_tasks() IS 'the tasks that weir.schedule creates without a stream';

CREATE FUNCTION weir_internal.schedule_house(caller oid, caller_path text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    h record;
    n bigint := 0;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = caller) THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied to schedule the tasks of the house',
            HINT = 'They work on what belongs to others: ask a superuser.';
    END IF;
    FOR h IN SELECT * FROM weir_internal.house_tasks() k
        WHERE k.is_wanted AND NOT EXISTS (SELECT FROM weir_internal.task t WHERE t.name = k.name) LOOP
        PERFORM weir_internal.create_house_task(caller, caller_path, h.name, h.command, h.schedule);
        n := n + 1;
    END LOOP;
    PERFORM weir_internal.sync_tick(true);
    RETURN n;
END $$;
COMMENT ON FUNCTION weir_internal.schedule_house(oid, text) IS 'creates the tasks of the house that are not there; how many';

CREATE FUNCTION weir_internal.create_house_task(caller oid, caller_path text, name text, command text, schedule text) RETURNS void
LANGUAGE sql SET client_min_messages = error AS $$          -- weir.schedule warns once for all
    SELECT weir_internal.create_task(caller, caller_path, name, command, schedule, '{}', 0, '5 minutes', 1, '1 hour', '1 hour',
        NULL, false, false, 'UTC', true, false, 'all_success', NULL, NULL, '1 hour', NULL)
$$;
COMMENT ON FUNCTION weir_internal.create_house_task(oid, text, text, text, text) IS 'creates a task with all else as weir.create_task has it, and an execution_timeout of an hour';

CREATE FUNCTION weir_internal.schedule_replay(caller oid, caller_path text, stream regclass, schedule text, filter text) RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    relation text := weir_internal.check_relation(stream);
    task text := 'weir_replay ' || relation;
BEGIN
    PERFORM weir_internal.own_replayed(caller, stream);
    IF EXISTS (SELECT FROM weir_internal.replay_task t JOIN weir_internal.task k ON k.name = t.task WHERE t.stream = stream) THEN
        RETURN 0;
    END IF;
    PERFORM weir_internal.create_house_task(caller, caller_path, task,
        format('SELECT * FROM weir.replay_dead_letters(%L%s)', relation, ', filter => ' || quote_literal(filter)), schedule);
    DELETE FROM weir_internal.replay_task t WHERE t.stream = stream;
    INSERT INTO weir_internal.replay_task VALUES (stream, task);
    PERFORM weir_internal.warn_of_login(caller, task);
    PERFORM weir_internal.sync_tick(true);
    RETURN 1;
END $$;
COMMENT ON FUNCTION weir_internal.schedule_replay(oid, text, regclass, text, text) IS 'creates the task that replays a stream''s dead letters, unless it is there; how many';

CREATE FUNCTION weir_internal.own_replayed(caller oid, stream regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM weir_internal.stream s WHERE s.stream = own_replayed.stream) THEN
        RAISE wrong_object_type USING MESSAGE = format('"%s" is not a stream', stream);
    ELSIF NOT pg_has_role(caller, (SELECT c.relowner FROM pg_class c WHERE c.oid = stream::oid), 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of stream "%s"', stream);
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.own_replayed(oid, regclass) IS 'raises 42809 for what is no stream, 42501 without its owner''s rights';

-- What is dropped leaves no task behind that would fail.  One that others run after stays.
CREATE FUNCTION weir_internal.forget_replay(stream oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t text;
BEGIN
    DELETE FROM weir_internal.replay_task r WHERE r.stream::oid = forget_replay.stream RETURNING r.task INTO t;
    DELETE FROM weir_internal.task k WHERE k.name = t AND NOT EXISTS (SELECT FROM weir_internal.task o WHERE t = ANY (o.after));
END $$;
COMMENT ON FUNCTION weir_internal.forget_replay(oid) IS 'drops the task that replays the dead letters of a stream that is dropped';

CREATE FUNCTION weir_internal.schedule(caller oid, caller_path text, replay regclass, schedule text, filter text) RETURNS bigint
LANGUAGE sql AS $$
    SELECT CASE WHEN replay IS NULL THEN weir_internal.schedule_house(caller, caller_path)
        ELSE weir_internal.schedule_replay(caller, caller_path, replay, schedule, filter) END
$$;
COMMENT ON FUNCTION weir_internal.schedule(oid, text, regclass, text, text) IS 'weir.schedule, for the caller given';
CREATE FUNCTION weir.schedule(replay regclass DEFAULT NULL, schedule text DEFAULT '@hourly', filter text DEFAULT NULL) RETURNS bigint
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.schedule(regclass, text, text) IS
'Creates the tasks of the house that are not there: every minute, checks whose schedule has come due are run, and alerts are evaluated; every night, resolved alerts, old results of checks and old rows of pg_cron''s job_run_details (a week) are deleted. Installs the tick where it is missing. For superusers. With replay, a stream: creates a task, of the caller''s, that replays its dead letters by that schedule, those that filter takes (see weir.replay_dead_letters); for the stream''s owner; it goes with the stream. Returns how many tasks it has created.';

CREATE FUNCTION weir_internal.unschedule(caller oid, caller_path text, replay regclass) RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    task text;
    n bigint := 0;
BEGIN
    FOR task IN SELECT t.name FROM weir_internal.task t
        WHERE CASE WHEN replay IS NULL THEN t.name IN (SELECT h.name FROM weir_internal.house_tasks() h)
              ELSE t.name = (SELECT r.task FROM weir_internal.replay_task r WHERE r.stream = replay) END LOOP
        PERFORM weir_internal.drop_task(caller, caller_path, task, false);
        DELETE FROM weir_internal.replay_task r WHERE r.task = task;
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;
COMMENT ON FUNCTION weir_internal.unschedule(oid, text, regclass) IS 'weir.unschedule, for the caller given';
CREATE FUNCTION weir.unschedule(replay regclass DEFAULT NULL) RETURNS bigint LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.unschedule(regclass) IS
'Drops the tasks that weir.schedule created: those of the house, or with replay the one of that stream; returns how many. For their owner. The tick stays as long as other tasks have schedules.';
