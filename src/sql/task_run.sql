-- Tasks: how runs get from one state to the next.
--
--    scheduled ─▶ waiting ─▶ queued ─▶ running ─▶ success
--        │           │          ▲         │  └──▶ failed ─▶ on_failure
--        │           └▶ failed  └─ up_for_retry ◀─┘
--        └▶ upstream_failed, skipped               any that is not over ─▶ cancelled
--
-- The scheduler (task_scheduler.c) calls task_step, task_take and what follows;
-- the session that runs a command (task_worker.c) task_begin and task_end.  All
-- as the superuser.  There is one scheduler a database.

-- Makes runs of tasks over an interval, and of those after them.
CREATE FUNCTION weir_internal.make_flow(roots text[], interval_start timestamptz, interval_end timestamptz, trigger text,
    downstream boolean DEFAULT true, backfill bigint DEFAULT NULL, max_active int DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    flow bigint := nextval('weir_internal.task_run_id');
    here text := weir_internal.database_identity();
BEGIN
    WITH RECURSIVE members AS (
        SELECT unnest(roots) AS name
        UNION
        SELECT t.name FROM members m JOIN weir_internal.task t ON m.name = ANY (t.after) WHERE downstream
    ), numbered AS (
        SELECT t.*, t.name = ANY (roots) AS is_root FROM members m JOIN weir_internal.task t USING (name)
        ORDER BY t.name = ANY (roots) DESC, t.created_at, t.name
    )
    INSERT INTO weir_internal.task_run (run_id, task, flow, backfill, max_active, trigger, state, max_attempt,
        interval_start, interval_end, runs_on, ended_at, note)
    SELECT CASE WHEN n.name = roots[1] THEN flow ELSE nextval('weir_internal.task_run_id') END, n.name, flow, backfill, max_active, trigger,
        CASE WHEN n.is_root OR n.runs_on = here THEN 'scheduled' ELSE 'skipped' END, n.retries + 1, interval_start, interval_end, here,
        CASE WHEN NOT n.is_root AND n.runs_on IS DISTINCT FROM here THEN clock_timestamp() END,
        CASE WHEN NOT n.is_root AND n.runs_on IS DISTINCT FROM here THEN 'the task is paused' END
    FROM numbered n;
    RETURN flow;
END $$;
COMMENT ON FUNCTION weir_internal.make_flow(text[], timestamptz, timestamptz, text, boolean, bigint, int) IS
'makes runs of tasks over an interval, and of those after them; returns what they have in common';

-- Makes the runs whose interval has ended.
CREATE FUNCTION weir_internal.task_plan() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    t weir_internal.task;
    now timestamptz := clock_timestamp();
    due jsonb := '{}';
    k record;
    made int := 0;
BEGIN
    FOR t IN SELECT * FROM weir_internal.task s
        WHERE s.schedule IS NOT NULL AND s.runs_on = weir_internal.database_identity() AND s.interval_end <= now
        ORDER BY s.name FOR UPDATE SKIP LOCKED     -- somebody who alters it may take his time
    LOOP
        IF NOT t.catchup THEN
            t.interval_end := weir.cron_previous(t.schedule, now + interval '1 us', t.time_zone);
            t.interval_start := weir.cron_previous(t.schedule, t.interval_end, t.time_zone);
        END IF;
        WHILE t.interval_end <= now AND made < 1000 LOOP
            due := jsonb_set(due, ARRAY[format('[%s,%s]', extract(epoch FROM t.interval_start), extract(epoch FROM t.interval_end))],
                coalesce(due->format('[%s,%s]', extract(epoch FROM t.interval_start), extract(epoch FROM t.interval_end)), '[]') || to_jsonb(t.name));
            t.interval_start := t.interval_end;
            t.interval_end := weir.cron_next(t.schedule, t.interval_end, t.time_zone);
            made := made + 1;
        END LOOP;
        UPDATE weir_internal.task s SET interval_start = t.interval_start, interval_end = t.interval_end WHERE s.name = t.name;
    END LOOP;
    FOR k IN SELECT d.value AS names, to_timestamp((d.key::jsonb->>0)::float8) AS a, to_timestamp((d.key::jsonb->>1)::float8) AS b
        FROM jsonb_each(due) d ORDER BY b, a
    LOOP
        PERFORM weir_internal.make_flow(ARRAY(SELECT jsonb_array_elements_text(k.names)), k.a, k.b, 'schedule');
    END LOOP;
END $$;
COMMENT ON FUNCTION weir_internal.task_plan() IS 'makes the runs of schedules whose interval has ended; those that end together flow together';

-- What the trigger rule says, given how many of those before there are, and how they ended; NULL: not yet.
CREATE FUNCTION weir_internal.trigger_verdict(rule text, n bigint, ok bigint, bad bigint, skipped bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN n = 0 THEN 'go'
        WHEN rule = 'all_success' THEN
            CASE WHEN bad > 0 THEN 'upstream_failed' WHEN skipped > 0 THEN 'skipped' WHEN ok = n THEN 'go' END
        WHEN rule = 'all_done' THEN CASE WHEN ok + bad + skipped = n THEN 'go' END
        WHEN rule = 'one_failed' THEN CASE WHEN bad > 0 THEN 'go' WHEN ok + skipped = n THEN 'skipped' END
        WHEN rule = 'one_success' THEN
            CASE WHEN ok > 0 THEN 'go' WHEN bad + skipped = n THEN CASE WHEN bad > 0 THEN 'upstream_failed' ELSE 'skipped' END END
        WHEN rule = 'none_failed' THEN CASE WHEN bad > 0 THEN 'upstream_failed' WHEN ok + skipped = n THEN 'go' END
        WHEN rule = 'all_failed' THEN CASE WHEN ok + skipped > 0 THEN 'skipped' WHEN bad = n THEN 'go' END
    END
$$;
COMMENT ON FUNCTION weir_internal.trigger_verdict(text, bigint, bigint, bigint, bigint) IS
'whether a task goes, is skipped or upstream_failed, given how many before it succeeded, failed and were skipped; NULL: not known yet';

-- May this run not begin for something other than those before it in its flow?
CREATE FUNCTION weir_internal.is_held_back(r weir_internal.task_run, depends_on_past boolean, is_root boolean) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    before record;
BEGIN
    IF is_root AND r.backfill IS NOT NULL AND r.max_active <= (
        SELECT count(DISTINCT o.flow) FROM weir_internal.task_run o
        WHERE o.backfill = r.backfill AND o.flow < r.flow AND o.state NOT IN ('success', 'failed', 'upstream_failed', 'skipped', 'cancelled')) THEN
        RETURN 'waits for earlier intervals of its backfill';
    END IF;
    IF depends_on_past THEN
        SELECT o.run_id, o.state INTO before FROM weir_internal.task_run o
        WHERE o.task = r.task AND o.interval_start < r.interval_start ORDER BY o.interval_start DESC, o.run_id DESC LIMIT 1;
        IF FOUND AND before.state NOT IN ('success', 'skipped') THEN
            RETURN format('waits for the interval before to succeed: run %s is %s', before.run_id, before.state);
        END IF;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION weir_internal.is_held_back(weir_internal.task_run, boolean, boolean) IS 'why a run may not begin yet, apart from those before it in its flow; NULL: it may';

-- Moves runs on whose turn has come.
CREATE FUNCTION weir_internal.task_resolve() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    now timestamptz := clock_timestamp();
    moved boolean := true;
    held text;
BEGIN
    WHILE moved LOOP
        moved := false;
        FOR r IN
            SELECT u.run_id, u AS run, t.depends_on_past, p.n, t.wait_for, t.start_when, t.start_timeout,
                   weir_internal.trigger_verdict(t.trigger_rule, p.n, p.ok, p.bad, p.skipped) AS verdict
            FROM weir_internal.task_run u
            JOIN weir_internal.task t ON t.name = u.task
            CROSS JOIN LATERAL (
                SELECT count(*) AS n, count(*) FILTER (WHERE b.state = 'success') AS ok, count(*) FILTER (WHERE b.state = 'skipped') AS skipped,
                       count(*) FILTER (WHERE b.state IN ('failed', 'upstream_failed', 'cancelled')) AS bad
                FROM weir_internal.task_run b WHERE b.flow = u.flow AND b.task = ANY (t.after)) p
            WHERE u.state = 'scheduled' AND u.runs_on = weir_internal.database_identity()
            ORDER BY u.run_id
        LOOP
            CONTINUE WHEN r.verdict IS NULL;
            IF r.verdict <> 'go' THEN
                UPDATE weir_internal.task_run u SET state = r.verdict, ended_at = now, note = NULL WHERE u.run_id = r.run_id;
                moved := true;
                CONTINUE;
            END IF;
            held := weir_internal.is_held_back(r.run, r.depends_on_past, r.n = 0);
            IF held IS NOT NULL THEN
                UPDATE weir_internal.task_run u SET note = held WHERE u.run_id = r.run_id AND u.note IS DISTINCT FROM held;
            ELSIF r.wait_for IS NOT NULL OR r.start_when IS NOT NULL THEN
                UPDATE weir_internal.task_run u SET state = 'waiting', note = NULL, due_at = now, deadline = now + r.start_timeout WHERE u.run_id = r.run_id;
            ELSE
                UPDATE weir_internal.task_run u SET state = 'queued', note = NULL WHERE u.run_id = r.run_id;
            END IF;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION weir_internal.task_resolve() IS 'moves runs from scheduled to what their trigger rule says';

-- Ends an attempt: again later, or failed.
CREATE FUNCTION weir_internal.task_fail(id bigint, sqlstate text, error text) RETURNS text
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    r weir_internal.task_run;
    t weir_internal.task;
    now timestamptz := clock_timestamp();
    wait interval;
    before int;                 -- attempts of this series that came before
BEGIN
    SELECT k.* INTO r FROM weir_internal.task_run k WHERE k.run_id = id FOR UPDATE;
    SELECT k.* INTO t FROM weir_internal.task k WHERE k.name = r.task;
    IF r.cancel_requested THEN
        UPDATE weir_internal.task_run k SET state = 'cancelled', activity = NULL, pid = NULL, ended_at = now, sqlstate = sqlstate, error = error
        WHERE k.run_id = id;
        RETURN 'cancelled';
    ELSIF r.attempt < r.max_attempt AND r.state = 'running' THEN
        before := r.attempt - (r.max_attempt - t.retries);
        wait := least(t.max_retry_delay, t.retry_delay * least(power(t.backoff, least(greatest(before, 0), 100)),
            extract(epoch FROM t.max_retry_delay) / greatest(extract(epoch FROM t.retry_delay), 0.001)));
        UPDATE weir_internal.task_run k SET state = 'up_for_retry', activity = NULL, pid = NULL, ended_at = now, sqlstate = sqlstate, error = error,
            due_at = now + wait, note = NULL
        WHERE k.run_id = id;
        RETURN 'up_for_retry';
    END IF;
    UPDATE weir_internal.task_run k SET state = 'failed', activity = NULL, pid = NULL, ended_at = now, sqlstate = sqlstate, error = error,
        due_at = NULL, note = NULL, failure_due = t.on_failure IS NOT NULL
    WHERE k.run_id = id;
    RETURN 'failed';
END $$;
COMMENT ON FUNCTION weir_internal.task_fail(bigint, text, text) IS 'ends an attempt at a run with an error; returns the run''s new state';

-- Looks at runs that wait for data, or to be tried again.
CREATE FUNCTION weir_internal.task_wait() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    now timestamptz := clock_timestamp();
BEGIN
    UPDATE weir_internal.task_run u SET state = 'queued', due_at = NULL WHERE u.state = 'up_for_retry' AND u.due_at <= now
        AND u.runs_on = weir_internal.database_identity();
    FOR r IN SELECT u.run_id, u.interval_end, u.deadline, t.wait_for, t.start_when, t.start_timeout
        FROM weir_internal.task_run u JOIN weir_internal.task t ON t.name = u.task
        WHERE u.state = 'waiting' AND u.activity IS NULL AND u.runs_on = weir_internal.database_identity() ORDER BY u.run_id
    LOOP
        IF r.wait_for IS NULL OR weir_internal.stream_watermark(r.wait_for) >= r.interval_end THEN
            IF r.start_when IS NULL THEN
                UPDATE weir_internal.task_run u SET state = 'queued', due_at = NULL, note = NULL WHERE u.run_id = r.run_id;
                CONTINUE;
            END IF;
            UPDATE weir_internal.task_run u SET note = 'waits for start_when' WHERE u.run_id = r.run_id AND u.note IS DISTINCT FROM 'waits for start_when';
        ELSE
            UPDATE weir_internal.task_run u SET due_at = now + interval '1 s',
                note = format('waits for the watermark of stream %s, which is %s', r.wait_for, weir_internal.stream_watermark(r.wait_for))
            WHERE u.run_id = r.run_id AND u.due_at <= now;
        END IF;
        IF r.deadline <= now THEN
            PERFORM weir_internal.task_fail(r.run_id, '57014', format('what it waits for did not come within %s', r.start_timeout));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION weir_internal.task_wait() IS 'moves runs on whose data is there, or whose time has come';

-- Everything that needs no process; says when to look again, and whether to stay.
CREATE FUNCTION weir_internal.task_step(OUT due timestamptz, OUT stay boolean)
LANGUAGE plpgsql AS $$
DECLARE
    here text := weir_internal.database_identity();
BEGIN
    UPDATE weir_internal.task_run u SET state = CASE WHEN u.state IN ('failed', 'success', 'cancelled') THEN u.state ELSE 'cancelled' END,
        activity = NULL, pid = NULL, failure_due = false, ended_at = coalesce(u.ended_at, clock_timestamp()),
        note = 'was under way in the database that this is a copy of'
    WHERE u.runs_on <> here AND (u.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry') OR u.activity IS NOT NULL OR u.failure_due);
    PERFORM weir_internal.task_plan();
    PERFORM weir_internal.task_wait();
    PERFORM weir_internal.task_resolve();
    PERFORM weir_internal.task_late();
    SELECT least(
        (SELECT min(t.interval_end) FROM weir_internal.task t WHERE t.schedule IS NOT NULL AND t.runs_on = here),
        (SELECT min(u.due_at) FROM weir_internal.task_run u WHERE u.runs_on = here AND u.state IN ('waiting', 'up_for_retry') AND u.activity IS NULL),
        (SELECT min(u.deadline) FROM weir_internal.task_run u WHERE u.runs_on = here AND u.state = 'waiting' AND u.activity IS NULL),
        (SELECT min(u.interval_end + t.sla) FROM weir_internal.task_run u JOIN weir_internal.task t ON t.name = u.task
         WHERE u.runs_on = here AND NOT u.is_late AND u.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')))
    INTO due;
    stay := weir_internal.has_open_runs()
        OR EXISTS (SELECT FROM weir_internal.task t WHERE t.schedule IS NOT NULL AND t.runs_on = here
                   AND t.interval_end <= clock_timestamp() + interval '75 s');
END $$;
COMMENT ON FUNCTION weir_internal.task_step() IS 'moves all runs on that can be without a process; says when the next is due, and whether that is soon';

-- Notices runs that take longer than their SLA.
CREATE FUNCTION weir_internal.task_late() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN UPDATE weir_internal.task_run u SET is_late = true FROM weir_internal.task t
        WHERE t.name = u.task AND u.interval_end + t.sla <= clock_timestamp() AND NOT u.is_late AND u.runs_on = weir_internal.database_identity()
          AND u.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')
        RETURNING u.run_id, u.task, u.state, t.sla
    LOOP
        PERFORM weir_internal.task_notice(r.task, r.run_id, 'late', format('run %s of task "%s" is %s after its SLA of %s', r.run_id, r.task, r.state, r.sla));
    END LOOP;
END $$;
COMMENT ON FUNCTION weir_internal.task_late() IS 'marks runs that are not over by their SLA, and raises alerts';

-- Raises an alert about a task, or resolves it.
CREATE FUNCTION weir_internal.task_notice(task text, run_id bigint, what text, message text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    owner oid := (SELECT t.owner FROM weir_internal.task t WHERE t.name = task_notice.task);
BEGIN
    IF what = 'success' THEN
        PERFORM weir_internal.resolve_alert('task_failed', task);
        PERFORM weir_internal.resolve_alert('task_late', task);
    ELSE
        PERFORM weir_internal.raise_alert('task_' || what, task, CASE what WHEN 'late' THEN 'warn' ELSE 'error' END, message,
            jsonb_build_object('run_id', run_id), owner);
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.task_notice(text, bigint, text, text) IS
'raises an alert about a task (failed, late), or resolves those there are (success)';

-- Picks what to start processes for, and marks it as started.
CREATE FUNCTION weir_internal.task_take(slots int, OUT run_id bigint, OUT activity text, OUT owner oid, OUT task text, OUT attempt int, OUT obstacle text)
    RETURNS SETOF record
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    c record;
    here text := weir_internal.database_identity();
    room int := slots - (SELECT count(*) FROM weir_internal.task_run u WHERE u.activity IS NOT NULL AND u.runs_on = here);
BEGIN
    FOR c IN SELECT u.run_id, u.task, u.attempt, u.state, u.backfill, u.failure_due, t.owner, o.rolcanlogin
        FROM weir_internal.task_run u JOIN weir_internal.task t ON t.name = u.task LEFT JOIN pg_catalog.pg_roles o ON o.oid = t.owner::oid
        WHERE u.runs_on = here AND u.activity IS NULL
          AND (u.state = 'queued' OR u.failure_due OR u.state = 'waiting' AND u.due_at <= clock_timestamp() AND u.note = 'waits for start_when')
        ORDER BY u.failure_due DESC, u.run_id
    LOOP
        EXIT WHEN room <= 0;
        -- one run of a task at a time; a backfill says itself how many
        CONTINUE WHEN c.state = 'queued' AND c.backfill IS NULL AND EXISTS (SELECT FROM weir_internal.task_run u
            WHERE u.task = c.task AND u.state = 'running' AND u.backfill IS NULL);
        run_id := c.run_id;
        task := c.task;
        owner := c.owner;
        activity := CASE WHEN c.failure_due THEN 'on_failure' WHEN c.state = 'waiting' THEN 'condition' ELSE 'command' END;
        attempt := c.attempt + (activity = 'command')::int;
        obstacle := CASE WHEN c.rolcanlogin IS NULL THEN 'its owner does not exist any more'
            WHEN NOT c.rolcanlogin THEN format('its owner, role %s, may not log in', c.owner) END;
        UPDATE weir_internal.task_run u SET activity = task_take.activity, attempt = task_take.attempt, pid = NULL, failure_due = false,
            state = CASE task_take.activity WHEN 'command' THEN 'running' ELSE u.state END,
            started_at = CASE task_take.activity WHEN 'command' THEN clock_timestamp() ELSE u.started_at END,
            ended_at = CASE task_take.activity WHEN 'command' THEN NULL ELSE u.ended_at END,
            sqlstate = CASE task_take.activity WHEN 'command' THEN NULL ELSE u.sqlstate END,
            error = CASE task_take.activity WHEN 'command' THEN NULL ELSE u.error END,
            note = CASE task_take.activity WHEN 'command' THEN NULL ELSE u.note END
        WHERE u.run_id = task_take.run_id;
        room := room - 1;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION weir_internal.task_take(int) IS 'picks what to start sessions for while there are fewer than that, and marks it as started; obstacle: why none can be';

-- Takes that back, where there was no process to be had.
CREATE FUNCTION weir_internal.task_put_back(id bigint, reason text) RETURNS void
LANGUAGE sql AS $$
    UPDATE weir_internal.task_run u SET note = CASE WHEN u.activity = 'condition' THEN u.note ELSE reason END,
        state = CASE WHEN u.activity = 'command' THEN 'queued' ELSE u.state END,
        attempt = u.attempt - (u.activity = 'command')::int,
        started_at = CASE WHEN u.activity = 'command' THEN NULL ELSE u.started_at END,
        failure_due = u.activity = 'on_failure',
        activity = NULL, pid = NULL
    WHERE u.run_id = id
$$;
COMMENT ON FUNCTION weir_internal.task_put_back(bigint, text) IS 'undoes task_take for a run, and notes why';

-- Those a session is there for, as far as is known.
CREATE FUNCTION weir_internal.task_active(OUT run_id bigint, OUT attempt int, OUT pid int, OUT cancel_requested boolean) RETURNS SETOF record
LANGUAGE sql AS $$
    SELECT u.run_id, u.attempt, u.pid, u.cancel_requested FROM weir_internal.task_run u
    WHERE u.activity IS NOT NULL AND u.runs_on = weir_internal.database_identity()
$$;
COMMENT ON FUNCTION weir_internal.task_active() IS 'the runs that a session is there for';

-- A session begins: what is it to do?  No row: nothing any more.
CREATE FUNCTION weir_internal.task_begin(id bigint, the_activity text, the_attempt int, the_pid int, OUT command text, OUT interval_start timestamptz,
    OUT interval_end timestamptz, OUT task text, OUT run_id bigint, OUT attempt int, OUT sqlstate text, OUT error text, OUT timeout_ms int)
    RETURNS SETOF record
LANGUAGE sql AS $$
    UPDATE weir_internal.task_run u SET pid = the_pid FROM weir_internal.task t
    WHERE u.run_id = id AND u.activity = the_activity AND u.attempt = the_attempt AND t.name = u.task
    RETURNING CASE the_activity WHEN 'command' THEN t.command WHEN 'condition' THEN 'SELECT (' || t.start_when || E'\n)' ELSE t.on_failure END,
        u.interval_start, u.interval_end, u.task, u.run_id, u.attempt, u.sqlstate, u.error,
        CASE WHEN t.execution_timeout IS NULL THEN 0
             ELSE greatest(1, least(2147483647, extract(epoch FROM t.execution_timeout) * 1000))::int END
$$;
COMMENT ON FUNCTION weir_internal.task_begin(bigint, text, int, int) IS 'tells a session what it is there for; no row if it is not wanted any more';

-- A session is done: the command, a condition (result true or false), or on_failure.
CREATE FUNCTION weir_internal.task_end(id bigint, the_activity text, the_attempt int, rows bigint, result jsonb) RETURNS text
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    now timestamptz := clock_timestamp();
    r weir_internal.task_run;
BEGIN
    SELECT k.* INTO r FROM weir_internal.task_run k WHERE k.run_id = id AND k.activity = the_activity AND k.attempt = the_attempt FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF the_activity = 'command' THEN
        UPDATE weir_internal.task_run k SET state = 'success', activity = NULL, pid = NULL, ended_at = now, rows = rows, result = result
        WHERE k.run_id = id;
        PERFORM weir_internal.task_notice(r.task, id, 'success', NULL);
    ELSIF the_activity = 'condition' THEN
        UPDATE weir_internal.task_run k SET activity = NULL, pid = NULL,
            state = CASE WHEN r.cancel_requested THEN 'cancelled' WHEN result = 'true' THEN 'queued' ELSE 'waiting' END,
            ended_at = CASE WHEN r.cancel_requested THEN now END, due_at = CASE WHEN result = 'true' THEN NULL ELSE now + interval '5 s' END
        WHERE k.run_id = id;
    ELSE
        UPDATE weir_internal.task_run k SET activity = NULL, pid = NULL WHERE k.run_id = id;
    END IF;
    RETURN the_activity;
END $$;
COMMENT ON FUNCTION weir_internal.task_end(bigint, text, int, bigint, jsonb) IS 'ends what a session did for a run, without an error';

-- A session has failed, or is gone without a word.
CREATE FUNCTION weir_internal.task_break(id bigint, the_activity text, the_attempt int, sqlstate text, error text) RETURNS text
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    r weir_internal.task_run;
    state text;
BEGIN
    SELECT k.* INTO r FROM weir_internal.task_run k
    WHERE k.run_id = id AND k.attempt = the_attempt AND k.activity = coalesce(the_activity, k.activity) FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF r.activity = 'on_failure' THEN
        UPDATE weir_internal.task_run k SET activity = NULL, pid = NULL, note = format('on_failure failed: %s', error) WHERE k.run_id = id;
        RETURN 'on_failure failed';
    END IF;
    state := weir_internal.task_fail(id, sqlstate, CASE r.activity WHEN 'condition' THEN format('start_when: %s', error) ELSE error END);
    IF state = 'failed' THEN
        PERFORM weir_internal.task_notice(r.task, id, 'failed', format('run %s of task "%s" failed: %s', id, r.task, error));
    END IF;
    RETURN state;
END $$;
COMMENT ON FUNCTION weir_internal.task_break(bigint, text, int, text, text) IS
'ends what a session did for a run with an error; returns what became of the run, NULL if it had ended before';

CREATE FUNCTION weir_internal.stream_watermark(stream regclass) RETURNS timestamptz
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_stream_watermark';
COMMENT ON FUNCTION weir_internal.stream_watermark(regclass) IS 'the watermark of a stream';

-- What a command does is kept, and yet its run is to fail: checks that fail.
CREATE FUNCTION weir_internal.fail_task(reason text) RETURNS void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'weir_fail_task';
COMMENT ON FUNCTION weir_internal.fail_task(text) IS 'makes the run that this session is there for fail when its command is done; does nothing in other sessions';

CREATE FUNCTION weir_internal.purge_runs(older_than interval) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM weir_internal.task_run u
    WHERE u.ended_at < clock_timestamp() - older_than AND u.activity IS NULL AND NOT u.failure_due
      AND u.state IN ('success', 'failed', 'upstream_failed', 'skipped', 'cancelled')
      AND NOT EXISTS (SELECT FROM weir_internal.task_run o WHERE o.flow = u.flow
                      AND o.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry'))
$$;
COMMENT ON FUNCTION weir_internal.purge_runs(interval) IS 'deletes runs that ended so long ago';
