-- Tasks: what users call.  The doors in weir (api_door.c) pass on who calls, and
-- run the functions of the same names in weir_internal as the superuser.

CREATE FUNCTION weir_internal.wake_tasks() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_wake_tasks';
COMMENT ON FUNCTION weir_internal.wake_tasks() IS 'has the scheduler of tasks look at this database after commit';
CREATE FUNCTION weir_internal.lock_tasks() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_lock_tasks';
COMMENT ON FUNCTION weir_internal.lock_tasks() IS 'lets one transaction at a time change which tasks run after which';
CREATE FUNCTION weir_internal.check_command(parameter text, command text, is_condition boolean) RETURNS void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_check_command';
COMMENT ON FUNCTION weir_internal.check_command(text, text, boolean) IS 'raises an error where SQL that a parameter gives, or a condition, cannot be parsed, or is empty';

-- Is this the caller's to use, or to change?  Who only uses it holds up nobody
-- else but those who change it.
CREATE FUNCTION weir_internal.own_task(caller oid, task_name text, to_change boolean DEFAULT false) RETURNS weir_internal.task
LANGUAGE plpgsql AS $$
DECLARE
    t weir_internal.task;
BEGIN
    IF to_change THEN
        SELECT k.* INTO t FROM weir_internal.task k WHERE k.name = task_name FOR UPDATE;
    ELSE
        SELECT k.* INTO t FROM weir_internal.task k WHERE k.name = task_name FOR KEY SHARE;
    END IF;
    IF t.name IS NULL THEN
        RAISE undefined_object USING MESSAGE = CASE WHEN task_name IS NULL THEN 'parameter "name" must not be NULL'
            ELSE format('task "%s" does not exist', task_name) END, HINT = 'weir.tasks lists them.';
    END IF;
    IF NOT pg_has_role(caller, t.owner, 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be owner of task "%s"', task_name);
    END IF;
    RETURN t;
END $$;
COMMENT ON FUNCTION weir_internal.own_task(oid, text, boolean) IS 'returns a task, locked; raises an error unless the caller has its owner''s rights';

CREATE FUNCTION weir_internal.own_run(caller oid, id bigint) RETURNS weir_internal.task_run
LANGUAGE plpgsql AS $$
DECLARE
    r weir_internal.task_run;
BEGIN
    -- the task first: who changes it locks its runs after it
    PERFORM weir_internal.own_task(caller, k.task) FROM weir_internal.task_run k WHERE k.run_id = id;
    SELECT k.* INTO r FROM weir_internal.task_run k WHERE k.run_id = id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('run %s does not exist', coalesce(id::text, 'NULL')), HINT = 'weir.task_runs lists them.';
    END IF;
    RETURN r;
END $$;
COMMENT ON FUNCTION weir_internal.own_run(oid, bigint) IS 'returns a run, locked; raises an error unless the caller has its owner''s rights';

CREATE FUNCTION weir_internal.refuse_parameter(parameter text, reason text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE invalid_parameter_value USING MESSAGE = format('parameter "%s" %s', parameter, reason);
END $$;
COMMENT ON FUNCTION weir_internal.refuse_parameter(text, text) IS 'raises 22023';

-- The scheduler adds durations to times: none may lead out of what timestamptz holds, or all tasks would stand still.
CREATE FUNCTION weir_internal.check_duration(parameter text, d interval, zero_ok boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF d < '0' OR d = '0' AND NOT zero_ok THEN
        PERFORM weir_internal.refuse_parameter(parameter, CASE WHEN zero_ok THEN 'must not be negative' ELSE 'must be positive' END);
    ELSIF d > '100 years' OR abs(extract(year FROM d)) > 100 THEN
        PERFORM weir_internal.refuse_parameter(parameter, 'must be at most 100 years');
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.check_duration(text, interval, boolean) IS 'raises 22023 for a duration that is negative, or longer than 100 years; NULL passes';

-- Are its parameters sound, whatever others there are?
CREATE FUNCTION weir_internal.check_task(t weir_internal.task) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p text;
BEGIN
    p := CASE WHEN t.command IS NULL THEN 'command' WHEN t.after IS NULL THEN 'after' WHEN t.retries IS NULL THEN 'retries'
        WHEN t.retry_delay IS NULL THEN 'retry_delay' WHEN t.backoff IS NULL THEN 'backoff' WHEN t.max_retry_delay IS NULL THEN 'max_retry_delay'
        WHEN t.catchup IS NULL THEN 'catchup' WHEN t.depends_on_past IS NULL THEN 'depends_on_past' WHEN t.time_zone IS NULL THEN 'time_zone'
        WHEN t.trigger_rule IS NULL THEN 'trigger_rule' WHEN t.start_timeout IS NULL THEN 'start_timeout' END;
    IF p IS NOT NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = format('parameter "%s" must not be NULL', p);
    END IF;
    IF t.name = '' THEN PERFORM weir_internal.refuse_parameter('name', 'must not be empty'); END IF;
    IF t.retries < 0 THEN PERFORM weir_internal.refuse_parameter('retries', 'must not be negative'); END IF;
    PERFORM weir_internal.check_duration('retry_delay', t.retry_delay, true);
    PERFORM weir_internal.check_duration('max_retry_delay', t.max_retry_delay, true);
    PERFORM weir_internal.check_duration('execution_timeout', t.execution_timeout, false);
    PERFORM weir_internal.check_duration('start_timeout', t.start_timeout, false);
    PERFORM weir_internal.check_duration('sla', t.sla, false);
    IF NOT (t.backoff >= 1 AND t.backoff <= 1000) THEN PERFORM weir_internal.refuse_parameter('backoff', 'must be from 1 to 1000'); END IF;
    IF t.execution_timeout > '24 days' THEN PERFORM weir_internal.refuse_parameter('execution_timeout', 'must be at most 24 days'); END IF;
    IF t.trigger_rule NOT IN ('all_success', 'all_done', 'one_failed', 'one_success', 'none_failed', 'all_failed') THEN
        PERFORM weir_internal.refuse_parameter('trigger_rule', 'must be all_success, all_done, one_failed, one_success, none_failed or all_failed');
    END IF;
    IF t.schedule IS NOT NULL AND t.after <> '{}' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a task has a schedule or runs after others, not both',
            HINT = 'Tasks after others run when those have, over the same data interval.';
    END IF;
    IF t.schedule IS NOT NULL OR t.time_zone <> 'UTC' THEN
        PERFORM weir.cron_next(coalesce(t.schedule, '@daily'), now(), t.time_zone);
    END IF;
    PERFORM weir_internal.check_command('command', t.command, false);
    PERFORM weir_internal.check_command('on_failure', t.on_failure, false);
    PERFORM weir_internal.check_command('start_when', weir_internal.condition_query(t.start_when), true);
END $$;
COMMENT ON FUNCTION weir_internal.check_task(weir_internal.task) IS 'raises an error where a parameter of a task is out of its range';

-- Does it go together with those it runs after, and with what it waits for?
CREATE FUNCTION weir_internal.check_task_place(caller oid, t weir_internal.task) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    other text;
    path text[];
BEGIN
    FOREACH other IN ARRAY t.after LOOP
        IF other IS DISTINCT FROM t.name THEN
            PERFORM weir_internal.own_task(caller, other);
        END IF;
    END LOOP;
    WITH RECURSIVE above AS (
        SELECT a AS name, ARRAY[t.name, a] AS path FROM unnest(t.after) a
        UNION ALL
        SELECT a, v.path || a FROM above v JOIN weir_internal.task k ON k.name = v.name CROSS JOIN unnest(k.after) a
        WHERE v.name <> t.name AND a <> ALL (v.path[2:])
    )
    SELECT v.path INTO path FROM above v WHERE v.name = t.name LIMIT 1;
    IF FOUND THEN
        RAISE invalid_object_definition USING MESSAGE = format('task "%s" would run after itself', t.name),
            DETAIL = format('It closes a cycle: %s.', array_to_string(path, ' after '));
    END IF;
    IF t.wait_for IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM weir_internal.stream s WHERE s.stream = t.wait_for) THEN
            RAISE wrong_object_type USING MESSAGE = format('"%s" is not a stream', t.wait_for), HINT = 'start_when takes any other condition.';
        ELSIF NOT has_table_privilege(t.owner::oid, t.wait_for::oid, 'SELECT') THEN
            RAISE insufficient_privilege USING MESSAGE = format('permission denied for stream "%s"', t.wait_for);
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.check_task_place(oid, weir_internal.task) IS 'raises an error where a task closes a cycle, or names what the caller may not use';

-- Sets the next interval of a schedule: the one that ends next.
CREATE FUNCTION weir_internal.first_interval(INOUT t weir_internal.task)
LANGUAGE plpgsql AS $$
BEGIN
    t.interval_end := weir.cron_next(t.schedule, clock_timestamp(), t.time_zone);
    t.interval_start := weir.cron_previous(t.schedule, t.interval_end, t.time_zone);
END $$;
COMMENT ON FUNCTION weir_internal.first_interval(weir_internal.task) IS 'a task, with the interval that ends next as its next';

CREATE FUNCTION weir_internal.warn_of_login(owner regrole, name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.oid = owner::oid) THEN
        RAISE WARNING USING MESSAGE = format('task "%s" cannot run: role %s may not log in', name, owner),
            HINT = 'Tasks run in sessions of their owner. Give the role LOGIN (it needs no password), or create the task as one that has it.';
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.warn_of_login(regrole, text) IS 'warns where a task''s owner cannot have sessions';

CREATE FUNCTION weir_internal.create_task(caller oid, caller_path text, name text, command text, schedule text, after text[], retries int,
    retry_delay interval, backoff float8, max_retry_delay interval, execution_timeout interval, on_failure text,
    catchup boolean, depends_on_past boolean, time_zone text, enabled boolean, if_not_exists boolean, trigger_rule text,
    start_when text, wait_for regclass, start_timeout interval, sla interval) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    t weir_internal.task;
BEGIN
    IF name IS NULL OR enabled IS NULL OR if_not_exists IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = format('parameter "%s" must not be NULL',
            CASE WHEN name IS NULL THEN 'name' WHEN enabled IS NULL THEN 'enabled' ELSE 'if_not_exists' END);
    END IF;
    PERFORM weir_internal.lock_tasks();     -- the DAG is checked as a whole
    IF EXISTS (SELECT FROM weir_internal.task k WHERE k.name = create_task.name) THEN
        IF if_not_exists THEN
            RAISE NOTICE 'task "%" already exists, skipping', name;
            RETURN;
        END IF;
        RAISE duplicate_object USING MESSAGE = format('task "%s" already exists', name), HINT = 'weir.alter_task changes it.';
    END IF;
    t := ROW(name, caller, command, schedule, time_zone, after, trigger_rule, retries, retry_delay, backoff, max_retry_delay,
        execution_timeout, on_failure, catchup, depends_on_past, start_when, wait_for, start_timeout, sla,
        CASE WHEN enabled THEN weir_internal.database_identity() END, NULL, NULL, clock_timestamp());
    PERFORM weir_internal.check_task(t);
    PERFORM weir_internal.check_task_place(caller, t);
    t := weir_internal.first_interval(t);
    INSERT INTO weir_internal.task SELECT t.*;
    PERFORM weir_internal.warn_of_login(caller, name);
    PERFORM weir_internal.sync_tick(t.schedule IS NOT NULL);
    PERFORM weir_internal.wake_tasks();
END $$;
COMMENT ON FUNCTION weir_internal.create_task(oid, text, text, text, text, text[], int, interval, float8, interval, interval, text, boolean, boolean, text, boolean, boolean, text, text, regclass, interval, interval) IS
'weir.create_task, for the caller given';

CREATE FUNCTION weir.create_task(
    name text,
    command text,
    schedule text DEFAULT NULL,
    after text[] DEFAULT '{}',
    retries int DEFAULT 0,
    retry_delay interval DEFAULT '5 minutes',
    backoff float8 DEFAULT 1,
    max_retry_delay interval DEFAULT '1 hour',
    execution_timeout interval DEFAULT NULL,
    on_failure text DEFAULT NULL,
    catchup boolean DEFAULT false,
    depends_on_past boolean DEFAULT false,
    time_zone text DEFAULT 'UTC',
    enabled boolean DEFAULT true,
    if_not_exists boolean DEFAULT false,
    trigger_rule text DEFAULT 'all_success',
    start_when text DEFAULT NULL,
    wait_for regclass DEFAULT NULL,
    start_timeout interval DEFAULT '1 hour',
    sla interval DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.create_task(text, text, text, text[], int, interval, float8, interval, interval, text, boolean, boolean, text, boolean, boolean, text, text, regclass, interval, interval) IS
'Creates a task: SQL that runs on a schedule, after other tasks, or when weir.run_task says so, in a session of its owner.
command may use :interval_start and :interval_end (timestamptz, the data interval: from the schedule''s last time to this one), :task, :run_id, :attempt; several statements are one transaction; VACUUM and procedures that commit stand alone. schedule is a cron expression or @hourly and the like (see weir.cron_next), by the wall clock of time_zone; the first interval run is the one that ends next; with catchup every interval that was missed is run, else only the last. after names tasks: this one runs when they have, as trigger_rule says (all_success, all_done, one_failed, one_success, none_failed, all_failed), over their interval. A failed attempt is repeated up to retries times, after retry_delay, times backoff each time, at most max_retry_delay. execution_timeout cancels an attempt. on_failure is SQL that runs when the last attempt has failed; it may use :sqlstate and :error, too. depends_on_past: not before the run of the interval before has succeeded. wait_for: not before that stream''s watermark has passed :interval_end; start_when: not before that SQL condition is true; fails when that takes longer than start_timeout. sla: an alert is raised if a run is not done so long after its interval''s end. enabled => false creates it paused.
Errors: 42710 the name is taken, 22023 a parameter is out of its range, 42601 the command cannot be parsed, 42P17 a cycle, 42704 no such task in after, 42501 no rights on one of them.';

CREATE FUNCTION weir_internal.alter_task(caller oid, caller_path text, name text, command text, schedule text, after text[], retries int,
    retry_delay interval, backoff float8, max_retry_delay interval, execution_timeout interval, on_failure text,
    catchup boolean, depends_on_past boolean, time_zone text, trigger_rule text, start_when text, wait_for regclass,
    start_timeout interval, sla interval, owner regrole) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    o weir_internal.task;
    t weir_internal.task;
BEGIN
    PERFORM weir_internal.lock_tasks();
    o := weir_internal.own_task(caller, name, true);
    IF NOT pg_has_role(caller, coalesce(owner, caller), 'USAGE') THEN
        RAISE insufficient_privilege USING MESSAGE = format('must be member of role "%s"', owner);
    END IF;
    t := ROW(name, coalesce(owner, o.owner), coalesce(command, o.command), nullif(coalesce(schedule, o.schedule), ''),
        coalesce(time_zone, o.time_zone), coalesce(after, o.after), coalesce(trigger_rule, o.trigger_rule),
        coalesce(retries, o.retries), coalesce(retry_delay, o.retry_delay), coalesce(backoff, o.backoff),
        coalesce(max_retry_delay, o.max_retry_delay),
        nullif(coalesce(execution_timeout, o.execution_timeout), '0'), nullif(coalesce(on_failure, o.on_failure), ''),
        coalesce(catchup, o.catchup), coalesce(depends_on_past, o.depends_on_past), nullif(coalesce(start_when, o.start_when), ''),
        nullif(coalesce(wait_for, o.wait_for), 0::regclass), coalesce(start_timeout, o.start_timeout), nullif(coalesce(sla, o.sla), '0'),
        o.runs_on, o.interval_start, o.interval_end, o.created_at);
    PERFORM weir_internal.check_task(t);
    PERFORM weir_internal.check_task_place(caller, t);
    IF (t.schedule, t.time_zone) IS DISTINCT FROM (o.schedule, o.time_zone) THEN
        t := weir_internal.first_interval(t);
    END IF;
    DELETE FROM weir_internal.task k WHERE k.name = o.name;
    INSERT INTO weir_internal.task SELECT t.*;
    UPDATE weir_internal.task_run r SET unseen = true WHERE r.task = name AND r.state = 'scheduled';    -- other rules hold for them now
    PERFORM weir_internal.warn_of_login(t.owner, name);
    PERFORM weir_internal.sync_tick(t.schedule IS NOT NULL AND o.schedule IS NULL);
    PERFORM weir_internal.wake_tasks();
END $$;
COMMENT ON FUNCTION weir_internal.alter_task(oid, text, text, text, text, text[], int, interval, float8, interval, interval, text, boolean, boolean, text, text, text, regclass, interval, interval, regrole) IS
'weir.alter_task, for the caller given';

CREATE FUNCTION weir.alter_task(
    name text,
    command text DEFAULT NULL,
    schedule text DEFAULT NULL,
    after text[] DEFAULT NULL,
    retries int DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    backoff float8 DEFAULT NULL,
    max_retry_delay interval DEFAULT NULL,
    execution_timeout interval DEFAULT NULL,
    on_failure text DEFAULT NULL,
    catchup boolean DEFAULT NULL,
    depends_on_past boolean DEFAULT NULL,
    time_zone text DEFAULT NULL,
    trigger_rule text DEFAULT NULL,
    start_when text DEFAULT NULL,
    wait_for regclass DEFAULT NULL,
    start_timeout interval DEFAULT NULL,
    sla interval DEFAULT NULL,
    owner regrole DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.alter_task(text, text, text, text[], int, interval, float8, interval, interval, text, boolean, boolean, text, text, text, regclass, interval, interval, regrole) IS
'Changes a task: see weir.create_task. NULL leaves a parameter as it is; an empty string takes schedule, on_failure and start_when away, 0 execution_timeout and sla, ''-'' wait_for, ''{}'' after. The attempts that are under way go on as they began; a new schedule counts from now. owner: a role that the caller is a member of.';

CREATE FUNCTION weir_internal.pause_task(caller oid, caller_path text, name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM weir_internal.own_task(caller, name, true);
    UPDATE weir_internal.task k SET runs_on = NULL WHERE k.name = pause_task.name;
END $$;
COMMENT ON FUNCTION weir_internal.pause_task(oid, text, text) IS 'weir.pause_task, for the caller given';
CREATE FUNCTION weir.pause_task(name text) RETURNS void LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.pause_task(text) IS
'Keeps a task''s schedule from making runs, and those after others from running: their runs are skipped. Runs that are there already go on; weir.run_task and weir.backfill still run it.';

CREATE FUNCTION weir_internal.resume_task(caller oid, caller_path text, name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM weir_internal.own_task(caller, name, true);
    UPDATE weir_internal.task k SET runs_on = weir_internal.database_identity() WHERE k.name = resume_task.name;
    -- a copy, and a database that has been renamed, may have none
    PERFORM weir_internal.sync_tick((SELECT k.schedule IS NOT NULL FROM weir_internal.task k WHERE k.name = resume_task.name));
    PERFORM weir_internal.wake_tasks();
END $$;
COMMENT ON FUNCTION weir_internal.resume_task(oid, text, text) IS 'weir.resume_task, for the caller given';
CREATE FUNCTION weir.resume_task(name text) RETURNS void LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.resume_task(text) IS
'Lets a task''s schedule make runs again; also in a copy of the database that it was created in. If intervals were missed, the last of them is run at once, with catchup all of them.';

CREATE FUNCTION weir_internal.drop_task(caller oid, caller_path text, name text, if_exists boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    others text;
BEGIN
    PERFORM weir_internal.lock_tasks();
    IF if_exists AND NOT EXISTS (SELECT FROM weir_internal.task k WHERE k.name = drop_task.name) THEN
        RAISE NOTICE 'task "%" does not exist, skipping', name;
        RETURN;
    END IF;
    PERFORM weir_internal.own_task(caller, name, true);
    SELECT string_agg(format('"%s"', k.name), ', ' ORDER BY k.name) INTO others FROM weir_internal.task k WHERE drop_task.name = ANY (k.after);
    IF others IS NOT NULL THEN
        RAISE dependent_objects_still_exist USING MESSAGE = format('cannot drop task "%s" because others run after it', name),
            DETAIL = format('They are %s.', others), HINT = 'Drop them first, or change them with weir.alter_task(…, after => …).';
    END IF;
    IF EXISTS (SELECT FROM weir_internal.task_run r WHERE r.task = drop_task.name AND r.activity IS NOT NULL) THEN
        RAISE object_in_use USING MESSAGE = format('task "%s" is running', name), HINT = 'weir.cancel_run ends it; or pause the task and wait.';
    END IF;
    DELETE FROM weir_internal.task_run r WHERE r.task = drop_task.name;
    DELETE FROM weir_internal.task k WHERE k.name = drop_task.name;
    PERFORM weir_internal.sync_tick(false);
    PERFORM weir_internal.wake_tasks();
END $$;
COMMENT ON FUNCTION weir_internal.drop_task(oid, text, text, boolean) IS 'weir.drop_task, for the caller given';
CREATE FUNCTION weir.drop_task(name text, if_exists boolean DEFAULT false) RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.drop_task(text, boolean) IS
'Drops a task with all its runs. Errors: 2BP01 others run after it, 55006 it is running.';

-- Runs.
CREATE FUNCTION weir_internal.run_task(caller oid, caller_path text, name text, interval_start timestamptz, interval_end timestamptz, downstream boolean)
RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    t weir_internal.task := weir_internal.own_task(caller, name);
    flow bigint;
BEGIN
    IF interval_end IS NULL THEN
        interval_end := CASE WHEN t.schedule IS NULL THEN clock_timestamp()
            ELSE weir.cron_previous(t.schedule, clock_timestamp(), t.time_zone) END;
    END IF;
    interval_start := coalesce(interval_start,
        CASE WHEN t.schedule IS NULL THEN interval_end ELSE weir.cron_previous(t.schedule, interval_end, t.time_zone) END);
    PERFORM weir_internal.check_interval(interval_start, interval_end);
    flow := weir_internal.make_flow(ARRAY[name], interval_start, interval_end, 'manual', downstream);
    PERFORM weir_internal.wake_tasks();
    RETURN (SELECT r.run_id FROM weir_internal.task_run r WHERE r.flow = flow AND r.task = name);
END $$;
COMMENT ON FUNCTION weir_internal.run_task(oid, text, text, timestamptz, timestamptz, boolean) IS 'weir.run_task, for the caller given';
CREATE FUNCTION weir.run_task(name text, interval_start timestamptz DEFAULT NULL, interval_end timestamptz DEFAULT NULL, downstream boolean DEFAULT true)
    RETURNS bigint LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.run_task(text, timestamptz, timestamptz, boolean) IS
'Runs a task when the transaction commits, and, with downstream, those after it; returns the run''s id for weir.task_runs. The data interval is the last one of the schedule that has ended; without a schedule it begins and ends now.';

CREATE FUNCTION weir_internal.backfill(caller oid, caller_path text, task text, interval_start timestamptz, interval_end timestamptz, max_active int, reprocess text)
RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    t weir_internal.task := weir_internal.own_task(caller, task);
    id bigint := nextval('weir_internal.task_run_id');
    a timestamptz;
    b timestamptz;
    made int := 0;
    left_out int := 0;
BEGIN
    PERFORM weir_internal.check_interval(interval_start, interval_end);
    IF max_active IS NULL OR max_active < 1 THEN PERFORM weir_internal.refuse_parameter('max_active', 'must be at least 1'); END IF;
    IF reprocess IS NULL OR reprocess NOT IN ('none', 'failed', 'completed') THEN
        PERFORM weir_internal.refuse_parameter('reprocess', 'must be none, failed or completed');
    END IF;
    a := CASE WHEN t.schedule IS NULL THEN interval_start ELSE weir.cron_next(t.schedule, interval_start - interval '1 us', t.time_zone) END;
    LOOP
        b := CASE WHEN t.schedule IS NULL THEN interval_end ELSE weir.cron_next(t.schedule, a, t.time_zone) END;
        EXIT WHEN b > interval_end OR a >= b;
        IF weir_internal.has_run(task, a, b, reprocess) THEN
            left_out := left_out + 1;
        ELSE
            PERFORM weir_internal.make_flow(ARRAY[task], a, b, 'backfill', true, id, max_active);
            made := made + 1;
        END IF;
        IF made + left_out > 100000 THEN
            RAISE program_limit_exceeded USING MESSAGE = 'a backfill has at most 100000 intervals', HINT = 'Do it in parts.';
        END IF;
        a := b;
    END LOOP;
    IF left_out > 0 THEN
        RAISE NOTICE USING MESSAGE = format('%s of %s intervals are left out, as task "%s" has run over them', left_out, made + left_out, task),
            HINT = 'reprocess => ''failed'' runs again those that failed, ''completed'' all.';
    ELSIF made = 0 THEN
        RAISE NOTICE 'no interval of task "%" is within % and %', task, interval_start, interval_end;
    END IF;
    PERFORM weir_internal.wake_tasks();
    RETURN id;
END $$;
COMMENT ON FUNCTION weir_internal.backfill(oid, text, text, timestamptz, timestamptz, int, text) IS 'weir.backfill, for the caller given';
CREATE FUNCTION weir.backfill(task text, interval_start timestamptz, interval_end timestamptz, max_active int DEFAULT 1, reprocess text DEFAULT 'none')
    RETURNS bigint LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.backfill(text, timestamptz, timestamptz, int, text) IS
'Runs a task, and those after it, over each interval of its schedule that lies within the two times (without a schedule: over these as one), oldest first, max_active intervals at a time, from when the transaction commits. Returns the backfill''s id, which weir.task_runs shows with its runs. reprocess: none leaves out intervals that have a run which has not been cancelled, failed those that have one which did not fail, completed none.';

CREATE FUNCTION weir_internal.check_interval(interval_start timestamptz, interval_end timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF interval_start IS NULL OR interval_end IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'interval_start and interval_end must not be NULL';
    ELSIF NOT isfinite(interval_start) OR NOT isfinite(interval_end) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'interval_start and interval_end must be finite';
    ELSIF interval_start < '4000-01-01 00:00:00Z BC' OR interval_end > '200000-01-01 00:00:00Z' THEN     -- so that they can be added to
        RAISE invalid_parameter_value USING MESSAGE = 'interval_start and interval_end must be within 4000 BC and 200000 AD';
    ELSIF interval_start > interval_end THEN
        RAISE invalid_parameter_value USING MESSAGE = 'interval_start must not be after interval_end';
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.check_interval(timestamptz, timestamptz) IS 'raises an error where this is no interval';

CREATE FUNCTION weir_internal.has_run(task_name text, a timestamptz, b timestamptz, reprocess text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT reprocess <> 'completed' AND EXISTS (
        SELECT FROM weir_internal.task_run r
        WHERE r.task = task_name AND r.interval_start = a AND r.interval_end = b AND r.state <> 'cancelled'
          AND (reprocess = 'none' OR r.state NOT IN ('failed', 'upstream_failed')))
$$;
COMMENT ON FUNCTION weir_internal.has_run(text, timestamptz, timestamptz, text) IS 'is an interval left out of a backfill?';

CREATE FUNCTION weir_internal.cancel_run(caller oid, caller_path text, run_id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    r weir_internal.task_run := weir_internal.own_run(caller, run_id);
BEGIN
    IF r.state NOT IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry') THEN
        RETURN false;
    END IF;
    IF r.activity IS NULL THEN
        UPDATE weir_internal.task_run k SET state = 'cancelled', ended_at = clock_timestamp(), due_at = NULL, note = NULL WHERE k.run_id = r.run_id;
    ELSE
        UPDATE weir_internal.task_run k SET cancel_requested = true WHERE k.run_id = r.run_id;
    END IF;
    PERFORM weir_internal.wake_tasks();
    RETURN true;
END $$;
COMMENT ON FUNCTION weir_internal.cancel_run(oid, text, bigint) IS 'weir.cancel_run, for the caller given';
CREATE FUNCTION weir.cancel_run(run_id bigint) RETURNS boolean LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.cancel_run(bigint) IS
'Cancels a run when the transaction commits: its statement, if it is running, and its retries. Those after it see a failure. false: it is over already.';

CREATE FUNCTION weir_internal.retry_run(caller oid, caller_path text, run_id bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r weir_internal.task_run := weir_internal.own_run(caller, run_id);
BEGIN
    IF r.state NOT IN ('success', 'failed', 'upstream_failed', 'skipped', 'cancelled') OR r.activity IS NOT NULL THEN
        RAISE object_in_use USING MESSAGE = format('run %s is not over', r.run_id),
            HINT = CASE WHEN r.state = 'up_for_retry' THEN format('It is tried again at %s; weir.cancel_run ends it before.', r.due_at)
                ELSE 'weir.cancel_run ends it.' END;
    END IF;
    WITH RECURSIVE again AS (
        SELECT r.task AS task
        UNION
        SELECT k.name FROM again a JOIN weir_internal.task k ON a.task = ANY (k.after)
        JOIN weir_internal.task_run d ON d.flow = r.flow AND d.task = k.name AND d.state IN ('upstream_failed', 'skipped')
    )
    UPDATE weir_internal.task_run d
    SET state = 'scheduled', max_attempt = d.attempt + 1 + k.retries, ended_at = NULL, started_at = NULL, failure_due = false,
        cancel_requested = false, sqlstate = NULL, error = NULL, note = NULL, rows = NULL, result = NULL, due_at = NULL, deadline = NULL,
        runs_on = weir_internal.database_identity()
    FROM again a JOIN weir_internal.task k ON k.name = a.task
    WHERE d.flow = r.flow AND d.task = a.task;
    PERFORM weir_internal.wake_tasks();
END $$;
COMMENT ON FUNCTION weir_internal.retry_run(oid, text, bigint) IS 'weir.retry_run, for the caller given';
CREATE FUNCTION weir.retry_run(run_id bigint) RETURNS void LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_door';
COMMENT ON FUNCTION weir.retry_run(bigint) IS
'Runs a run that is over once more, over its data interval and with all its retries, and those after it that were not run for its failure. Error 55006 if it is not over.';

CREATE FUNCTION weir.wait_run(run_id bigint, timeout_after interval DEFAULT '1 minute') RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    until timestamptz := clock_timestamp() + timeout_after;
    flow bigint;
    open text;
BEGIN
    SELECT r.flow INTO flow FROM weir.task_runs r WHERE r.run_id = run_id;
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('run %s does not exist', coalesce(run_id::text, 'NULL')), HINT = 'weir.task_runs lists them.';
    END IF;
    LOOP
        SELECT string_agg(format('"%s" is %s', r.task, r.state), ', ' ORDER BY r.run_id) INTO open FROM weir.task_runs r
        WHERE r.flow = flow AND r.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry');
        EXIT WHEN open IS NULL;
        IF clock_timestamp() >= until THEN
            RAISE query_canceled USING MESSAGE = format('run %s is not over within %s', run_id, timeout_after), DETAIL = format('Task %s.', open);
        END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN (SELECT r.state FROM weir.task_runs r WHERE r.run_id = run_id);
END $$;
COMMENT ON FUNCTION weir.wait_run(bigint, interval) IS
'Waits until a run and those that were made with it are over, and returns its state. Must be called after the transaction that made it, outside of one. Error 57014 after timeout_after.';

-- The tick.
CREATE FUNCTION weir.tick() RETURNS void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_tick';
COMMENT ON FUNCTION weir.tick() IS
'Has this database''s tasks looked at, if something is due within a minute or so. pg_cron calls it, as may anything else that keeps time.';

CREATE FUNCTION weir_internal.tick_is_due() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM weir_internal.task t
        WHERE t.schedule IS NOT NULL AND t.runs_on = weir_internal.database_identity()
          AND t.interval_end <= clock_timestamp() + interval '75 s')
    OR weir_internal.has_open_runs()
$$;
COMMENT ON FUNCTION weir_internal.tick_is_due() IS 'is there something for the scheduler of tasks to do soon?';

CREATE FUNCTION weir_internal.has_open_runs() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM weir_internal.task_run r
        WHERE (r.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry') OR r.activity IS NOT NULL OR r.failure_due)
          AND r.runs_on = weir_internal.database_identity())
$$;
COMMENT ON FUNCTION weir_internal.has_open_runs() IS 'are there runs that are not over, and not another database''s?';

-- Where pg_cron is: which version ticks how often.
CREATE FUNCTION weir_internal.tick_every() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN split_part(e.extversion, '.', 1)::int > 1
        OR regexp_replace(split_part(e.extversion, '.', 2), '\D.*', '')::int >= 5 THEN '10 seconds' ELSE '* * * * *' END
    FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_cron'
$$;
COMMENT ON FUNCTION weir_internal.tick_every() IS 'the schedule of the tick in this database''s pg_cron (seconds from 1.5 on); NULL: there is none';

CREATE FUNCTION weir_internal.warn_of_missing_tick() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    home text := current_setting('cron.database_name', true);
BEGIN
    RAISE WARNING USING MESSAGE = 'schedules of tasks stand still: pg_cron is not in this database',
        HINT = CASE
            WHEN home IS NULL THEN 'Add pg_cron to shared_preload_libraries, restart, and run CREATE EXTENSION pg_cron and SELECT weir.schedule(); or have anything else that keeps time call weir.tick() every minute.'
            WHEN home = current_database() THEN 'Run CREATE EXTENSION pg_cron, then SELECT weir.schedule().'
            ELSE format('In database "%s", where pg_cron is, run: SELECT cron.schedule_in_database(%L, %L, %L, %L).', home,
                'pg_weir tick of ' || current_database(), '* * * * *', 'SELECT weir.tick()', current_database()) END;
END $$;
COMMENT ON FUNCTION weir_internal.warn_of_missing_tick() IS 'says what is missing for schedules to run';

-- Installs the tick where there are schedules, takes it away where there are none.
CREATE FUNCTION weir_internal.sync_tick(warn boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    every text := weir_internal.tick_every();
    wanted boolean := EXISTS (SELECT FROM weir_internal.task t WHERE t.schedule IS NOT NULL);
    job bigint;
BEGIN
    IF every IS NULL THEN
        IF warn THEN
            PERFORM weir_internal.warn_of_missing_tick();
        END IF;
        RETURN;
    END IF;
    EXECUTE 'SELECT jobid FROM cron.job WHERE command = $1 AND database = current_database() ORDER BY jobid LIMIT 1' INTO job USING 'SELECT weir.tick()';
    IF wanted AND job IS NULL THEN
        EXECUTE 'SELECT cron.schedule($1, $2, $3)' USING 'pg_weir tick', every, 'SELECT weir.tick()';
    ELSIF NOT wanted AND job IS NOT NULL THEN
        EXECUTE 'SELECT cron.unschedule($1)' USING job;
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.sync_tick(boolean) IS 'has pg_cron call weir.tick() where tasks have schedules; warns where it is not there, if asked to';

CREATE FUNCTION weir_internal.drop_tick() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF weir_internal.tick_every() IS NOT NULL THEN
        EXECUTE 'SELECT cron.unschedule(jobid) FROM cron.job WHERE command = $1 AND database = current_database()' USING 'SELECT weir.tick()';
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.drop_tick() IS 'has pg_cron call weir.tick() no more';

-- What the tasks of this database look like.
CREATE FUNCTION weir.task_graph(format text DEFAULT 'text') RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE format
    WHEN 'text' THEN
        RETURN QUERY
        WITH RECURSIVE tree AS (
            SELECT t.name, ARRAY[t.name] AS path FROM weir.tasks t
            WHERE NOT EXISTS (SELECT FROM weir.tasks u WHERE u.name = ANY (t.after))
            UNION ALL
            SELECT t.name, r.path || t.name FROM tree r JOIN weir.tasks t ON r.name = ANY (t.after)
        )
        SELECT repeat('   ', cardinality(r.path) - 2) || CASE WHEN cardinality(r.path) > 1 THEN '└─ ' ELSE '' END || r.name
            || CASE WHEN t.schedule IS NOT NULL THEN ' (' || t.schedule || CASE WHEN t.time_zone <> 'UTC' THEN ' ' || t.time_zone ELSE '' END || ')' ELSE '' END
            || CASE WHEN cardinality(t.after) > 1 OR t.trigger_rule <> 'all_success' AND t.after <> '{}' THEN ' [' || t.trigger_rule || ' of ' || array_to_string(t.after, ', ') || ']' ELSE '' END
            || CASE WHEN t.state <> 'enabled' THEN ' ' || t.state ELSE '' END
        FROM tree r JOIN weir.tasks t ON t.name = r.name ORDER BY r.path COLLATE "C";
    WHEN 'mermaid' THEN
        RETURN QUERY
        WITH n AS (SELECT t.*, 't' || row_number() OVER (ORDER BY t.name COLLATE "C") AS id FROM weir.tasks t)
        SELECT line FROM (
            SELECT 1 AS part, '' AS k, 'graph TD' AS line
            UNION ALL SELECT 2, n.name, '    ' || n.id || '["' || replace(n.name, '"', '#quot;') || '"]' FROM n
            UNION ALL SELECT 3, p.name || ' ' || n.name, '    ' || p.id || ' --> ' || n.id FROM n JOIN n p ON p.name = ANY (n.after)) l
        ORDER BY part, k COLLATE "C";
    WHEN 'graphviz' THEN
        RETURN QUERY
        SELECT line FROM (
            SELECT 1 AS part, '' AS k, 'digraph tasks {' AS line
            UNION ALL SELECT 2, t.name, '    ' || to_json(t.name)::text || ';' FROM weir.tasks t
            UNION ALL SELECT 3, p.name || ' ' || t.name, '    ' || to_json(p.name)::text || ' -> ' || to_json(t.name)::text || ';'
                FROM weir.tasks t JOIN weir.tasks p ON p.name = ANY (t.after)
            UNION ALL SELECT 4, '', '}') l
        ORDER BY part, k COLLATE "C";
    ELSE
        RAISE invalid_parameter_value USING MESSAGE = pg_catalog.format('unknown format "%s"', format), HINT = 'It is text, mermaid or graphviz.';
    END CASE;
END $$;
COMMENT ON FUNCTION weir.task_graph(text) IS
'Draws which tasks run after which, of those that the reader may see: as a text tree, in Mermaid''s or in Graphviz''s language. In the tree a task with several before it stands below each.';
