-- Tasks: what they are, and what has become of them.  What moves runs from one
-- state to the next is in task_run.sql, what users call in task_api.sql.

CREATE TABLE weir_internal.task (
    name text PRIMARY KEY,
    owner regrole NOT NULL,                     -- runs as this role, in sessions of its own
    command text NOT NULL,
    schedule text,                              -- cron expression; NULL: run after others, or by hand
    time_zone text NOT NULL,                    -- whose wall clock the schedule means
    after text[] NOT NULL,                      -- tasks; they and this one form a DAG
    trigger_rule text NOT NULL,
    retries int NOT NULL,
    retry_delay interval NOT NULL,
    backoff float8 NOT NULL,
    max_retry_delay interval NOT NULL,
    execution_timeout interval,
    on_failure text,
    catchup boolean NOT NULL,
    depends_on_past boolean NOT NULL,
    start_when text,                            -- SQL condition
    wait_for regclass,                          -- stream whose watermark is to pass the interval's end
    start_timeout interval NOT NULL,
    sla interval,
    runs_on text,                               -- database that its schedule runs in; NULL: paused
    interval_start timestamptz,                 -- the next interval of the schedule
    interval_end timestamptz,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE weir_internal.task IS 'tasks: one row each';
CREATE INDEX ON weir_internal.task (interval_end) WHERE schedule IS NOT NULL AND runs_on IS NOT NULL;
-- Dumped: the user's definitions.  runs_on names the database that was dumped,
-- so the schedules of a restored copy stand still until resumed.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.task', '');

CREATE SEQUENCE weir_internal.task_run_id;
COMMENT ON SEQUENCE weir_internal.task_run_id IS 'ids of runs of tasks';
-- Dumped: ids that it gave are in use.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.task_run_id', '');

CREATE TABLE weir_internal.task_run (
    run_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('weir_internal.task_run_id'),
    task text NOT NULL,
    flow bigint NOT NULL,                       -- runs that were made together, of tasks after each other
    backfill bigint,                            -- flows that were made together
    max_active int,                             -- of the backfill: flows at a time
    trigger text NOT NULL CHECK (trigger IN ('schedule', 'manual', 'backfill')),
    state text NOT NULL CHECK (state IN ('scheduled', 'queued', 'waiting', 'running', 'success', 'failed',
        'up_for_retry', 'upstream_failed', 'skipped', 'cancelled')),
    attempt int NOT NULL DEFAULT 0,             -- begun so far
    max_attempt int NOT NULL,
    interval_start timestamptz NOT NULL,
    interval_end timestamptz NOT NULL,
    runs_on text NOT NULL,                      -- database that it was made in: copies leave it alone
    due_at timestamptz,                         -- up_for_retry, waiting: when to look again
    deadline timestamptz,                       -- waiting: fails then
    activity text CHECK (activity IN ('command', 'condition', 'on_failure')),   -- what a session is doing for it
    pid int,                                    -- of that session
    cancel_requested boolean NOT NULL DEFAULT false,
    failure_due boolean NOT NULL DEFAULT false, -- on_failure is to be run
    is_late boolean NOT NULL DEFAULT false,     -- its SLA has passed
    unseen boolean NOT NULL DEFAULT true,       -- what depends on its state has not been looked at since that changed
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    started_at timestamptz,                     -- of the last attempt
    ended_at timestamptz,
    sqlstate text,
    error text,
    note text,
    rows bigint,
    result jsonb
);
COMMENT ON TABLE weir_internal.task_run IS 'runs of tasks';
CREATE INDEX ON weir_internal.task_run (task, interval_start);
CREATE INDEX ON weir_internal.task_run (flow);
-- Open runs may be many, those that something is to be done for are few.
CREATE INDEX ON weir_internal.task_run (runs_on, run_id) WHERE state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')
    OR activity IS NOT NULL OR failure_due;
CREATE INDEX ON weir_internal.task_run (run_id) WHERE state IN ('queued', 'waiting', 'running', 'up_for_retry') OR activity IS NOT NULL OR failure_due;
CREATE INDEX ON weir_internal.task_run (task) WHERE state = 'running';
CREATE INDEX ON weir_internal.task_run (run_id) WHERE unseen;
CREATE INDEX ON weir_internal.task_run (backfill, flow) WHERE state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry');
CREATE INDEX ON weir_internal.task_run (task, interval_end) WHERE state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry') AND NOT is_late;
-- Dumped: tells which intervals have been run, and how.
SELECT pg_catalog.pg_extension_config_dump('weir_internal.task_run', '');

CREATE FUNCTION weir_internal.note_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.unseen := true;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION weir_internal.note_change() IS 'notes that what depends on a run is to be looked at';
CREATE TRIGGER note_change BEFORE UPDATE OF state ON weir_internal.task_run FOR EACH ROW
    WHEN (old.state <> new.state AND new.state IN ('scheduled', 'success', 'failed', 'upstream_failed', 'skipped', 'cancelled'))
    EXECUTE FUNCTION weir_internal.note_change();
-- Whatever session_replication_role the command of a task has set.
ALTER TABLE weir_internal.task_run ENABLE ALWAYS TRIGGER note_change;

CREATE FUNCTION weir_internal.database_identity() RETURNS text
    LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'weir_database_identity';
COMMENT ON FUNCTION weir_internal.database_identity() IS 'a name for this database that no copy of it has';

CREATE FUNCTION weir_internal.condition_query(condition text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT 'SELECT (' || condition || E'\n)' $$;        -- it may end with a comment
COMMENT ON FUNCTION weir_internal.condition_query(text) IS 'the query that asks what start_when says';

-- Cron expressions.
CREATE FUNCTION weir.cron_next(schedule text, after timestamptz DEFAULT now(), time_zone text DEFAULT 'UTC') RETURNS timestamptz
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_cron_next_sql';
COMMENT ON FUNCTION weir.cron_next(text, timestamptz, text) IS
'When a cron expression next comes due after a moment, by the wall clock of a time zone. Five fields (minute 0-59, hour 0-23, day 1-31, month 1-12 or jan-dec, weekday 0-7 or sun-sat), each *, a number, a range, with /step, or a list of those; or @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually. Where day and weekday are both given, either will do. Error 22023 for any other, and for one that never comes.';
CREATE FUNCTION weir.cron_previous(schedule text, before timestamptz DEFAULT now(), time_zone text DEFAULT 'UTC') RETURNS timestamptz
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_cron_previous_sql';
COMMENT ON FUNCTION weir.cron_previous(text, timestamptz, text) IS
'When a cron expression last came due before a moment: see weir.cron_next.';

-- What is known inside of a run.
CREATE FUNCTION weir.current_run(OUT task text, OUT run_id bigint, OUT attempt int, OUT interval_start timestamptz, OUT interval_end timestamptz)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'weir_current_run';
COMMENT ON FUNCTION weir.current_run() IS
'The run of a task that this session is there for, with its data interval, for functions and procedures that a task calls; NULLs in other sessions.';

CREATE VIEW weir.tasks WITH (security_barrier) AS
SELECT t.name, pg_catalog.pg_get_userbyid(t.owner) AS owner,
       CASE WHEN t.runs_on IS NULL THEN 'paused'
            WHEN NOT weir_internal.runs_here(t.runs_on) THEN 'copy'
            ELSE 'enabled' END AS state,
       t.command, t.schedule, t.time_zone, t.after, t.trigger_rule, t.retries, t.retry_delay, t.backoff, t.max_retry_delay,
       t.execution_timeout, t.on_failure, t.catchup, t.depends_on_past, t.wait_for, t.start_when, t.start_timeout, t.sla,
       t.interval_start AS next_interval_start, t.interval_end AS next_interval_end,
       l.run_id AS last_run, l.state AS last_state, t.created_at
FROM weir_internal.task t
LEFT JOIN LATERAL (
    SELECT r.run_id, r.state FROM weir_internal.task_run r WHERE r.task = t.name ORDER BY r.run_id DESC LIMIT 1) l ON true
WHERE pg_catalog.pg_has_role(t.owner, 'USAGE');
COMMENT ON VIEW weir.tasks IS
'The tasks whose owner''s rights the reader has. state: enabled, paused, or copy (this database is a copy of the one they run in: weir.resume_task makes them run here). A task with a schedule is run when next_interval_end has come.';

CREATE VIEW weir.task_runs WITH (security_barrier) AS
SELECT r.run_id, r.task, r.state, r.attempt, r.interval_start, r.interval_end, r.started_at, r.ended_at, r.sqlstate, r.error,
       r.rows, CASE WHEN r.started_at IS NOT NULL THEN coalesce(r.ended_at, pg_catalog.clock_timestamp()) - r.started_at END AS duration,
       r.result, r.trigger, r.flow, r.backfill, r.due_at, r.is_late, r.note, r.pid, r.created_at
FROM weir_internal.task_run r
JOIN weir_internal.task t ON t.name = r.task
WHERE pg_catalog.pg_has_role(t.owner, 'USAGE');
COMMENT ON VIEW weir.task_runs IS
'Runs of tasks. state: scheduled (waits for those before it), waiting (for data: wait_for, start_when), queued (for a process), running, up_for_retry (again at due_at), success, failed, upstream_failed (not run, as one before it failed), skipped (not run, as the trigger rule says, or its task is paused), cancelled. attempt counts those begun. sqlstate and error are the last attempt''s; rows counts what its last statement returned or changed, result is the first row that returned. flow: runs that were made together; backfill: flows that were. note says what it waits for.';
