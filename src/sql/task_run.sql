-- Tasks: how runs get from one state to the next.
--
--    scheduled ─▶ waiting ─▶ queued ─▶ running ─▶ success
--        │           │          ▲         │  └──▶ failed ─▶ on_failure
--        │           └▶ failed  └─ up_for_retry ◀─┘
--        └▶ upstream_failed, skipped               any that is not over ─▶ cancelled
--
-- The scheduler (task_scheduler.c) calls task_step, task_take and what follows;
-- the session that runs a command (task_session.c) task_begin and task_end.  All
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
        ORDER BY s.name FOR NO KEY UPDATE SKIP LOCKED      -- somebody who alters it may take his time
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
CREATE FUNCTION weir_internal.is_held_back(r weir_internal.task_run, depends_on_past boolean, last_flow bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    before record;
BEGIN
    IF r.flow > last_flow THEN
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
COMMENT ON FUNCTION weir_internal.is_held_back(weir_internal.task_run, boolean, bigint) IS
'why a run may not begin yet, apart from those before it in its flow; NULL: it may. last_flow: of its backfill, that may be under way (NULL: any)';

-- Up to which flow may a backfill be under way?
CREATE FUNCTION weir_internal.last_flow(backfill bigint, max_active int) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT max(f.flow) FROM (
        SELECT DISTINCT o.flow FROM weir_internal.task_run o
        WHERE o.backfill = last_flow.backfill AND o.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')
        ORDER BY o.flow LIMIT last_flow.max_active) f);
END $$;
COMMENT ON FUNCTION weir_internal.last_flow(bigint, int) IS 'the last of the flows of a backfill that are not over, as many as may be under way at a time';

-- Which runs could begin, or never will, because these have changed?
CREATE FUNCTION weir_internal.runs_after(changed bigint[]) RETURNS TABLE (run_id bigint, last_flow bigint)
LANGUAGE sql STABLE AS $$
    WITH c AS (
        SELECT u.run_id, u.flow, u.task, u.interval_start, u.backfill, u.max_active, t.depends_on_past
        FROM weir_internal.task_run u JOIN weir_internal.task t ON t.name = u.task
        WHERE u.run_id = ANY (changed)
    ), b AS (
        SELECT d.backfill, weir_internal.last_flow(d.backfill, d.max_active) AS last_flow
        FROM (SELECT DISTINCT c.backfill, c.max_active FROM c WHERE c.backfill IS NOT NULL) d
    ), ids AS (
        SELECT u.run_id, u.backfill FROM (SELECT DISTINCT c.flow FROM c) f JOIN weir_internal.task_run u ON u.flow = f.flow
        WHERE u.state = 'scheduled'
        UNION
        SELECT u.run_id, u.backfill FROM b JOIN weir_internal.task_run u ON u.backfill = b.backfill AND u.flow <= b.last_flow
        WHERE u.state = 'scheduled'
        UNION
        SELECT u.run_id, u.backfill FROM c JOIN weir_internal.task_run u ON u.task = c.task AND u.interval_start = (
            SELECT min(n.interval_start) FROM weir_internal.task_run n WHERE n.task = c.task AND n.interval_start > c.interval_start)
        WHERE c.depends_on_past AND u.state = 'scheduled'
    )
    SELECT i.run_id, CASE WHEN i.backfill IS NOT NULL THEN coalesce(b.last_flow, weir_internal.last_flow(i.backfill, u.max_active)) END
    FROM ids i JOIN weir_internal.task_run u USING (run_id) LEFT JOIN b ON b.backfill = i.backfill
$$;
COMMENT ON FUNCTION weir_internal.runs_after(bigint[]) IS
'the scheduled runs that could be moved on because some runs have changed: those of their flows, the next ones of their backfills, and those of the next interval where tasks depend on the past';

-- Looks at one scheduled run, given how those before it in its flow ended.
CREATE FUNCTION weir_internal.resolve_run(r weir_internal.task_run, t weir_internal.task, last_flow bigint) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    now timestamptz := clock_timestamp();
    n bigint;
    verdict text;
    held text;
BEGIN
    SELECT count(*), weir_internal.trigger_verdict(t.trigger_rule, count(*), count(*) FILTER (WHERE b.state = 'success'),
            count(*) FILTER (WHERE b.state IN ('failed', 'upstream_failed', 'cancelled')), count(*) FILTER (WHERE b.state = 'skipped'))
    INTO n, verdict FROM weir_internal.task_run b WHERE b.flow = r.flow AND b.task = ANY (t.after);
    IF verdict IS NULL THEN
        RETURN;
    ELSIF verdict <> 'go' THEN
        UPDATE weir_internal.task_run u SET state = verdict, ended_at = now, note = NULL WHERE u.run_id = r.run_id;
        RETURN;
    END IF;
    held := weir_internal.is_held_back(r, t.depends_on_past, CASE WHEN n = 0 THEN last_flow END);
    IF held IS NOT NULL THEN
        UPDATE weir_internal.task_run u SET note = held WHERE u.run_id = r.run_id AND u.note IS DISTINCT FROM held;
    ELSIF t.wait_for IS NOT NULL OR t.start_when IS NOT NULL THEN
        UPDATE weir_internal.task_run u SET state = 'waiting', note = NULL, due_at = now, deadline = now + t.start_timeout WHERE u.run_id = r.run_id;
    ELSE
        UPDATE weir_internal.task_run u SET state = 'queued', note = NULL WHERE u.run_id = r.run_id;
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.resolve_run(weir_internal.task_run, weir_internal.task, bigint) IS 'moves a scheduled run on, if its trigger rule says so and nothing holds it back';

-- Moves runs on whose turn has come.  Looks at nothing but what has changed
-- since, so that thousands of runs that wait cost nothing.  Runs that another
-- transaction has locked (somebody cancels one, and has not committed yet) are
-- left for the next time, and with them what has led to them.
CREATE FUNCTION weir_internal.task_resolve() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    changed bigint[];
    k record;
    r weir_internal.task_run;
    left_out boolean := false;
BEGIN
    WHILE NOT left_out LOOP
        -- locked from here on: what changes later is noted after that
        WITH seen AS (
            SELECT u.run_id FROM weir_internal.task_run u
            WHERE u.unseen AND u.runs_on = weir_internal.database_identity() ORDER BY u.run_id FOR UPDATE SKIP LOCKED
        ), updated AS (
            UPDATE weir_internal.task_run u SET unseen = false FROM seen s WHERE u.run_id = s.run_id RETURNING u.run_id
        )
        SELECT array_agg(u.run_id) INTO changed FROM updated u;
        EXIT WHEN changed IS NULL;
        FOR k IN SELECT a.run_id, a.last_flow FROM weir_internal.runs_after(changed) a ORDER BY a.run_id LOOP
            SELECT u.* INTO r FROM weir_internal.task_run u WHERE u.run_id = k.run_id FOR UPDATE SKIP LOCKED;
            IF NOT FOUND THEN
                left_out := true;
            ELSIF r.state = 'scheduled' THEN
                PERFORM weir_internal.resolve_run(r, t, k.last_flow) FROM weir_internal.task t WHERE t.name = r.task;
            END IF;
        END LOOP;
        IF left_out THEN
            UPDATE weir_internal.task_run u SET unseen = true WHERE u.run_id = ANY (changed);
        END IF;
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
    PERFORM weir_internal.task_notice(r.task, id, 'failed', format('run %s of task "%s" failed: %s', id, r.task, error));
    RETURN 'failed';
END $$;
COMMENT ON FUNCTION weir_internal.task_fail(bigint, text, text) IS 'ends an attempt at a run with an error; returns the run''s new state';

-- Locks a run, unless it has left that state or another transaction has locked
-- it: somebody may have asked to cancel it, and taken his time to commit.
CREATE FUNCTION weir_internal.lock_run(id bigint, state text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM weir_internal.task_run u WHERE u.run_id = id AND u.state = lock_run.state FOR UPDATE SKIP LOCKED;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION weir_internal.lock_run(bigint, text) IS 'locks a run that is in a state; false: it is not, or is locked already';

-- Looks at runs that wait for data, or to be tried again.
CREATE FUNCTION weir_internal.task_wait() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    now timestamptz := clock_timestamp();
BEGIN
    WITH again AS (
        SELECT u.run_id FROM weir_internal.task_run u
        WHERE u.state = 'up_for_retry' AND u.due_at <= now AND u.runs_on = weir_internal.database_identity() FOR UPDATE SKIP LOCKED
    )
    UPDATE weir_internal.task_run u SET state = 'queued', due_at = NULL FROM again a WHERE u.run_id = a.run_id;
    FOR r IN SELECT u.run_id, u.interval_end, u.deadline, t.wait_for, t.start_when, t.start_timeout
        FROM weir_internal.task_run u JOIN weir_internal.task t ON t.name = u.task
        WHERE u.state = 'waiting' AND u.activity IS NULL AND u.runs_on = weir_internal.database_identity()
          AND (u.due_at <= now OR u.deadline <= now)
        ORDER BY u.run_id
    LOOP
        CONTINUE WHEN NOT weir_internal.lock_run(r.run_id, 'waiting');
        IF r.wait_for IS NOT NULL AND NOT EXISTS (SELECT FROM weir_internal.stream s WHERE s.stream = r.wait_for) THEN
            PERFORM weir_internal.task_fail(r.run_id, '42P01', 'the stream that it waits for has been dropped');
            CONTINUE;
        ELSIF r.wait_for IS NULL OR weir_internal.stream_watermark(r.wait_for) >= r.interval_end THEN
            IF r.start_when IS NULL THEN
                UPDATE weir_internal.task_run u SET state = 'queued', due_at = NULL, note = NULL WHERE u.run_id = r.run_id;
                CONTINUE;
            END IF;
            UPDATE weir_internal.task_run u SET note = 'waits for start_when' WHERE u.run_id = r.run_id AND u.note IS DISTINCT FROM 'waits for start_when';
        ELSE
            UPDATE weir_internal.task_run u SET due_at = now + interval '1 s',
                note = format('waits for the watermark of stream %s, which is %s', r.wait_for, weir_internal.stream_watermark(r.wait_for))
            WHERE u.run_id = r.run_id;
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
    WHERE (u.runs_on < here OR u.runs_on > here) AND (u.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry') OR u.activity IS NOT NULL OR u.failure_due);
    PERFORM weir_internal.task_plan();
    PERFORM weir_internal.task_wait();
    PERFORM weir_internal.task_resolve();
    PERFORM weir_internal.task_late();
    SELECT least(
        (SELECT min(t.interval_end) FROM weir_internal.task t WHERE t.schedule IS NOT NULL AND t.runs_on = here),
        (SELECT min(u.due_at) FROM weir_internal.task_run u WHERE u.runs_on = here AND u.state IN ('waiting', 'up_for_retry') AND u.activity IS NULL),
        (SELECT min(u.deadline) FROM weir_internal.task_run u WHERE u.runs_on = here AND u.state = 'waiting' AND u.activity IS NULL),
        (SELECT min(u.interval_end + t.sla) FROM weir_internal.task t CROSS JOIN LATERAL (
            SELECT min(k.interval_end) AS interval_end FROM weir_internal.task_run k
            WHERE k.task = t.name AND k.runs_on = here AND NOT k.is_late AND k.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')) u
         WHERE t.sla IS NOT NULL))
    INTO due;
    stay := weir_internal.tick_is_due();
    IF stay THEN
        due := least(due, clock_timestamp() + interval '5 s');      -- what was locked by others now may be free then
    END IF;
END $$;
COMMENT ON FUNCTION weir_internal.task_step() IS 'moves all runs on that can be without a process; says when the next is due, and whether that is soon';

-- Notices runs that take longer than their SLA.
CREATE FUNCTION weir_internal.task_late() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT u.run_id, u.task, u.state, t.sla FROM weir_internal.task t JOIN weir_internal.task_run u ON u.task = t.name
        WHERE u.interval_end <= clock_timestamp() - t.sla AND NOT u.is_late AND u.runs_on = weir_internal.database_identity()
          AND u.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')
    LOOP
        CONTINUE WHEN NOT weir_internal.lock_run(r.run_id, r.state);
        UPDATE weir_internal.task_run u SET is_late = true WHERE u.run_id = r.run_id;
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
    taken text[] := '{}';
    room int := slots - (SELECT count(*) FROM weir_internal.task_run u WHERE u.activity IS NOT NULL AND u.runs_on = here);
BEGIN
    FOR c IN SELECT u.run_id, u.task, u.attempt, u.state, u.backfill, u.failure_due, t.owner, o.rolcanlogin
        FROM weir_internal.task_run u JOIN weir_internal.task t ON t.name = u.task LEFT JOIN pg_catalog.pg_roles o ON o.oid = t.owner::oid
        WHERE u.runs_on = here AND u.activity IS NULL
          AND (u.state = 'queued' OR u.failure_due OR u.state = 'waiting' AND u.due_at <= clock_timestamp() AND u.note = 'waits for start_when')
          -- one run of a task at a time; a backfill says itself how many
          AND NOT (u.state = 'queued' AND u.backfill IS NULL AND EXISTS (SELECT FROM weir_internal.task_run o
              WHERE o.task = u.task AND o.state = 'running' AND o.backfill IS NULL))
        ORDER BY u.failure_due DESC, u.run_id
    LOOP
        EXIT WHEN room <= 0;
        CONTINUE WHEN c.state = 'queued' AND c.backfill IS NULL AND c.task = ANY (taken);
        CONTINUE WHEN NOT weir_internal.lock_run(c.run_id, c.state);
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
        IF activity = 'command' AND c.backfill IS NULL THEN
            taken := taken || c.task;
        END IF;
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
    RETURNING CASE the_activity WHEN 'command' THEN t.command WHEN 'condition' THEN weir_internal.condition_query(t.start_when) ELSE t.on_failure END,
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
BEGIN
    IF the_activity IS NULL THEN            -- by the scheduler, which waits for nobody
        SELECT k.* INTO r FROM weir_internal.task_run k
        WHERE k.run_id = id AND k.attempt = the_attempt AND k.activity IS NOT NULL FOR UPDATE SKIP LOCKED;
    ELSE
        SELECT k.* INTO r FROM weir_internal.task_run k
        WHERE k.run_id = id AND k.attempt = the_attempt AND k.activity = the_activity FOR UPDATE;
    END IF;
    IF r.run_id IS NULL THEN
        RETURN NULL;
    ELSIF r.activity = 'on_failure' THEN
        UPDATE weir_internal.task_run k SET activity = NULL, pid = NULL, note = format('on_failure failed: %s', error) WHERE k.run_id = id;
        RETURN 'on_failure failed';
    END IF;
    RETURN weir_internal.task_fail(id, sqlstate, CASE r.activity WHEN 'condition' THEN format('start_when: %s', error) ELSE error END);
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
    WITH old AS (
        SELECT u.run_id FROM weir_internal.task_run u
        WHERE u.ended_at < clock_timestamp() - older_than AND u.activity IS NULL AND NOT u.failure_due
          AND u.state IN ('success', 'failed', 'upstream_failed', 'skipped', 'cancelled')
          AND NOT EXISTS (SELECT FROM weir_internal.task_run o WHERE o.flow = u.flow
                          AND o.state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry'))
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM weir_internal.task_run u USING old WHERE u.run_id = old.run_id;
    -- one of those may have held others back
    UPDATE weir_internal.task_run u SET unseen = true WHERE u.run_id IN (
        SELECT o.run_id FROM weir_internal.task_run o WHERE o.state = 'scheduled' AND o.note IS NOT NULL FOR UPDATE SKIP LOCKED);
$$;
COMMENT ON FUNCTION weir_internal.purge_runs(interval) IS 'deletes runs that ended so long ago';
