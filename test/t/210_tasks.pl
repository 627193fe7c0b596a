# Tasks, as processes run them: schedules with the real pg_cron, DAGs, retries,
# timeouts, backfills, crashes, cancels, and as whom.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use Sandbox;
use Test::More;

my $box = Sandbox->new('no-broker', 'weir.task_workers=4', 'max_worker_processes=14');

sub states
{
	my ($flow_of) = @_;

	return $box->sql("SELECT string_agg(task || ' ' || state, ', ' ORDER BY task) FROM weir.task_runs"
		  . " WHERE flow = (SELECT flow FROM weir.task_runs WHERE run_id = $flow_of)");
}

# Waits until a run and those of its flow are over, and compares how.
sub poll_states
{
	my ($run, $expected, $name) = @_;

	$box->await("SELECT count(*) FROM weir.task_runs WHERE flow = (SELECT flow FROM weir.task_runs WHERE run_id = $run)"
		  . " AND state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')", '0');
	is(states($run), $expected, $name);
}

# Runs tasks at once, waits until they are over, and compares how.
sub run_all
{
	my ($name, %expected) = @_;
	my $tasks = join ',', map { "'$_'" } sort keys %expected;

	$box->sql("SELECT weir.run_task(t) FROM unnest(ARRAY[$tasks]) t");
	$box->await("SELECT count(*) FROM weir.task_runs WHERE task IN ($tasks)"
		  . " AND state IN ('scheduled', 'queued', 'waiting', 'running', 'up_for_retry')", '0');
	is($box->sql("SELECT string_agg(task || ' ' || state || coalesce(' ' || sqlstate, ''), E'\n' ORDER BY task COLLATE \"C\") FROM weir.task_runs WHERE task IN ($tasks)"),
		join("\n", map { "$_ $expected{$_}" } sort keys %expected), $name);
}

sub run_task
{
	my ($task) = @_;

	return $box->sql("SELECT weir.run_task('$task')");
}

$box->sql('CREATE EXTENSION IF NOT EXISTS pg_cron; CREATE TABLE log (what text, a timestamptz, b timestamptz, who name DEFAULT current_user)');

# The tick: one, with the first schedule, and none where that is rolled back.
$box->sql(q(BEGIN; SELECT weir.create_task('gone', 'SELECT 1', '@hourly'); ROLLBACK));
is($box->sql('SELECT (SELECT count(*) FROM weir.tasks), (SELECT count(*) FROM cron.job)'), '0|0', 'nothing is left of a task that was rolled back');
$box->sql(q(SELECT weir.create_task('extract', 'INSERT INTO log VALUES (''extract'', :interval_start, :interval_end)', '@hourly')));
$box->sql(q(SELECT weir.create_task('every_five', 'SELECT 1', '*/5 * * * *')));
is($box->sql('SELECT schedule, command, database FROM cron.job'), '* * * * *|SELECT weir.tick()|weir', 'the first schedule installs the one tick');
is($box->sql("SELECT next_interval_end > created_at, next_interval_end - created_at <= '5 minutes', next_interval_end - next_interval_start FROM weir.tasks WHERE name = 'every_five'"),
	't|t|00:05:00', 'a schedule begins with the interval that ends next');

# A DAG of five, whose middle fails and recovers.
$box->sql(<<~'END');
	CREATE SEQUENCE tries MINVALUE -100 START 1;
	SELECT weir.create_task('check', 'SELECT 1 / (nextval(''tries'') / 3) AS ok', after => '{extract}', retries => 2, retry_delay => '50 ms', backoff => 2);
	SELECT weir.create_task('load', 'INSERT INTO log VALUES (''load'', :interval_start, :interval_end); INSERT INTO log VALUES (''load again'')', after => '{check}');
	SELECT weir.create_task('on_trouble', 'SELECT 1', after => '{check}', trigger_rule => 'one_failed');
	SELECT weir.create_task('report', 'SELECT count(*) AS n, ''x'' AS t FROM log', after => '{load,on_trouble}', trigger_rule => 'all_done');
	END
my $run = run_task('extract');
poll_states($run, 'check success, extract success, load success, on_trouble skipped, report success', 'a DAG whose middle recovers');
is($box->sql("SELECT attempt, result FROM weir.task_runs WHERE task = 'check'"), '3|{"ok": 1}', 'after three attempts');
is($box->sql("SELECT rows, result FROM weir.task_runs WHERE task = 'report'"), '1|{"n": 3, "t": "x"}', 'the last statement\'s row is the result');
is($box->sql("SELECT count(*), count(DISTINCT (a, b)), bool_and(b - a = '1 hour' AND b <= now()) FROM log WHERE what IN ('extract', 'load')"),
	'2|1|t', 'all over the same interval, which has ended');

# It fails for good; what was not run for it is run when it is tried again.
$box->sql(q(ALTER SEQUENCE tries RESTART WITH -2; TRUNCATE log; SELECT weir.alter_task('check', on_failure => 'INSERT INTO log VALUES (:task || '' '' || :sqlstate || '' '' || :error)')));
$run = run_task('extract');
poll_states($run, 'check failed, extract success, load upstream_failed, on_trouble success, report success', 'a DAG whose middle fails');
$box->poll(q(SELECT what FROM log WHERE what ~ '^check'), 'check 22012 division by zero', 'on_failure is run once, with the error');
is($box->sql("SELECT severity, message ~ 'division by zero' FROM weir.alerts WHERE source = 'task_failed' AND what = 'check' AND resolved_at IS NULL"),
	'error|t', 'an alert is raised');
$box->sql("ALTER SEQUENCE tries RESTART WITH 3; SELECT weir.retry_run(run_id) FROM weir.task_runs WHERE task = 'check' AND state = 'failed'");
poll_states($run, 'check success, extract success, load success, on_trouble success, report success', 'and is tried again with what follows');
is($box->sql("SELECT count(*) FROM weir.alerts WHERE source = 'task_failed' AND what = 'check' AND resolved_at IS NULL"), '0', 'which resolves the alert');

# What cannot be in a transaction, and what ends one.
$box->sql(<<~'END');
	CREATE PROCEDURE commits(until int, a timestamptz) LANGUAGE plpgsql AS $$
	BEGIN FOR i IN 1..until LOOP INSERT INTO log VALUES ('commit ' || i, a); COMMIT; END LOOP; PERFORM 1 / 0; END $$;
	SELECT weir.create_task('vacuum', 'VACUUM log');
	SELECT weir.create_task('call', 'CALL commits(3, :interval_end)');
	SELECT weir.create_task('vacuum_and_more', 'SELECT 1; VACUUM log');
	SELECT weir.create_task('left_open', 'BEGIN; INSERT INTO log VALUES (''left open'')');
	SELECT weir.create_task('two', 'INSERT INTO log VALUES (''first of two''); SELECT 1 / 0');
	SELECT weir.create_task('deferred', 'INSERT INTO child VALUES (7)');
	CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
	SELECT weir.create_task('copy', 'COPY log TO STDOUT');
	SELECT weir.create_task('read_only', 'SET default_transaction_read_only = on; SELECT 1 AS x');
	SELECT weir.create_task('self', 'SELECT task, run_id = :run_id AS same, attempt, interval_end = :interval_end AS same_end FROM weir.current_run()');
	END
run_all('each as in any session of a client\'s',
	vacuum => 'success', vacuum_and_more => 'failed 25001', call => 'failed 22012', left_open => 'failed 25001',
	two => 'failed 22012', deferred => 'failed 23503', copy => 'failed 0A000', read_only => 'success', self => 'success');
is($box->sql("SELECT count(*), bool_and(a IS NOT NULL) FROM log WHERE what ~ 'commit'"), '3|t', 'a procedure that fails after it has committed has committed');
is($box->sql("SELECT count(*) FROM log WHERE what IN ('left open', 'first of two')"), '0', 'several statements are one transaction, one that is left open is an error');
is($box->sql("SELECT result FROM weir.task_runs WHERE task = 'self'"), '{"same": true, "task": "self", "attempt": 1, "same_end": true}', 'by parameters and by weir.current_run');

# Parameters stand where values do, and nowhere else.
$box->sql(<<~'END');
	CREATE DOMAIN attempt AS text;
	SELECT weir.create_task('quoted', $c$
		SELECT ':task' AS a, 'it''s :task' AS b, E'\' :task' AS c, U&'\0041:task' AS d, $$ :task $$ AS e, $x$ $$ :task $x$ AS f, 1 AS ":task", -- :task
			/* :task /* :task */ it's :task */ 'x'::attempt AS g, :attempt::text AS h, (:interval_end)::date >= '2024-01-01'::date AS i,
			(ARRAY[1, 2, 3])[1: :attempt] AS j, 5/:attempt AS k, -:ATTEMPT AS l, CASE WHEN:attempt=1 THEN :task END AS m $c$);
	END
poll_states(run_task('quoted'), 'quoted success', 'parameters among quotes, comments and casts');
is($box->sql("SELECT result - 'm', result->'m' FROM weir.task_runs WHERE task = 'quoted'"),
	'{"a": ":task", "b": "it\'s :task", "c": "\' :task", "d": "A:task", "e": " :task ", "f": " $$ :task ", "g": "x", "h": "1", "i": true, "j": [1], "k": 5, "l": -1, ":task": 1}|"quoted"',
	'are told from text');

# Timeouts and cancels.
$box->sql(<<~'END');
	SELECT weir.create_task('slow', 'SELECT pg_sleep(600)', execution_timeout => '200 ms');
	SELECT weir.create_task('endless', 'SELECT pg_sleep(600)', retries => 5);
	SELECT weir.create_task('after_endless', 'SELECT 1', after => '{endless}');
	SELECT weir.create_task('stubborn', 'DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$');
	END
my $stubborn = run_task('stubborn');
$run = run_task('endless');
$box->await("SELECT count(*) FROM weir.task_runs WHERE run_id IN ($run, $stubborn) AND state = 'running' AND pid IS NOT NULL", '2');
is($box->sql("SELECT weir.cancel_run($stubborn), weir.cancel_run($run)"), 't|t', 'runs are canceled');
poll_states(run_task('slow'), 'slow failed', 'what takes too long is canceled');
is($box->sql("SELECT sqlstate, error FROM weir.task_runs WHERE task = 'slow'"), '57014|canceled after execution_timeout of 200 ms', 'and says so');
poll_states($run, 'after_endless upstream_failed, endless cancelled', 'a canceled run is over with its retries, and those after it are not run');

# Alerts.
$box->sql(<<~'END');
	SELECT weir.create_task('doubly', 'SELECT 1 / 0', on_failure => 'SELECT 1 / 0 FROM log; SELECT sqrt(-1)');
	SELECT weir.create_task('late', 'SELECT pg_sleep(0.1)', sla => '1 ms');
	SELECT weir.create_task('in_time', 'SELECT pg_sleep(0.1)', sla => '1 hour');
	END
run_all('an on_failure that fails, an SLA', doubly => 'failed 22012', late => 'success', in_time => 'success');
$box->poll("SELECT state, error, note FROM weir.task_runs WHERE task = 'doubly'", 'failed\|division by zero\|on_failure failed: division by zero',
	'an on_failure that fails is noted, and not repeated');
is($box->sql("SELECT what, severity, resolved_at IS NOT NULL, message ~ 'after its SLA of 00:00:00.001' FROM weir.alerts WHERE source = 'task_late'"),
	'late|warn|t|t', 'a run that is late raises an alert, which its success resolves');

# A backfill of two days, three hours at a time.
$box->sql(<<~'END');
	CREATE TABLE busy (n int);
	SELECT weir.create_task('hourly', 'INSERT INTO log VALUES (''hourly'', :interval_start, :interval_end);
		INSERT INTO busy SELECT count(*) FROM weir.task_runs WHERE task = ''hourly'' AND state = ''running''; SELECT pg_sleep(0.02)', '@hourly');
	SELECT weir.backfill('hourly', '2024-03-30 00:00Z', '2024-04-01 00:00Z', max_active => 3);
	END
$box->poll("SELECT state, count(*) FROM weir.task_runs WHERE task = 'hourly' GROUP BY 1", 'success\|48', 'a backfill of 48 intervals');
is($box->sql("SELECT count(*), count(DISTINCT a), min(a), max(b), bool_and(b - a = '1 hour') FROM log WHERE what = 'hourly'"),
	'48|48|2024-03-30 00:00:00+00|2024-04-01 00:00:00+00|t', 'each once');
is($box->sql('SELECT max(n) BETWEEN 2 AND 3 FROM busy'), 't', 'several, but no more than three at a time');
is($box->sql("SET client_min_messages = error; SELECT weir.backfill('hourly', '2024-03-30 00:00Z', '2024-04-01 01:00Z') > 0;"
	  . " SELECT count(*) FROM weir.task_runs WHERE task = 'hourly'"), "t\n49", 'what has run is not run again');

# Ticks that overlap: each interval runs once, by one scheduler.
sub make_due
{
	my ($task, $hours) = @_;

	return "UPDATE weir_internal.task SET interval_end = date_trunc('hour', now()) - interval '@{[$hours - 1]} hours',"
	  . " interval_start = date_trunc('hour', now()) - interval '$hours hours' WHERE name = '$task'";
}
$box->sql(<<~'END');
	SELECT weir.create_task('caught_up', 'INSERT INTO log VALUES (''caught up'', :interval_start, :interval_end)', '@hourly', catchup => true);
	SELECT weir.create_task('latest', 'INSERT INTO log VALUES (''latest'', :interval_start, :interval_end)', '@hourly');
	SELECT weir.create_task('in_order', 'SELECT 1 / (nextval(''order'') - 2)', '@hourly', catchup => true, depends_on_past => true);
	CREATE SEQUENCE "order";
	END
$box->sql(make_due('caught_up', 10) . '; ' . make_due('latest', 10) . '; ' . make_due('in_order', 4));
my @sessions = map { $box->session('SELECT weir.tick() FROM generate_series(1, 20)') } 1 .. 4;
$box->end_session($_) for @sessions;
$box->poll("SELECT task, count(*), count(DISTINCT interval_end) FROM weir.task_runs WHERE task IN ('caught_up', 'latest') AND state = 'success' GROUP BY 1 ORDER BY 1",
	'caught_up\|10\|10\nlatest\|1\|1', 'intervals that were missed: all with catchup, else the last');
is($box->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'"), '1', 'by one scheduler');
$box->poll("SELECT string_agg(state, ' ' ORDER BY run_id) FROM weir.task_runs WHERE task = 'in_order'", 'success failed scheduled scheduled',
	'after a failure nothing goes on that depends on the past');
$box->sql("SELECT weir.retry_run(run_id) FROM weir.task_runs WHERE task = 'in_order' AND state = 'failed'");
$box->poll("SELECT string_agg(state, ' ' ORDER BY run_id) FROM weir.task_runs WHERE task = 'in_order'", 'success success success success',
	'until it is tried again with success');

poll_states($stubborn, 'stubborn cancelled', 'a session that will not be canceled is ended');

# Waiting for data.
$box->sql(<<~'END');
	CREATE TABLE arrived (at timestamptz);
	SELECT weir.create_stream('events', 'ts timestamptz', event_time => 'ts');
	SELECT weir.create_task('waits', 'SELECT 1', start_when => 'EXISTS (SELECT FROM arrived WHERE at >= :interval_end)');
	SELECT weir.create_task('gives_up', 'SELECT 1', start_when => 'false', start_timeout => '100 ms');
	SELECT weir.create_task('misasked', 'SELECT 1', start_when => '1');
	SELECT weir.create_task('waits_for_stream', 'SELECT 1', wait_for => 'events');
	END
my $waits = run_task('waits');
my $stream = $box->sql("SELECT weir.run_task('waits_for_stream', '2024-01-01Z', '2024-01-02Z')");
poll_states(run_task('gives_up'), 'gives_up failed', 'what is waited for does not come');
poll_states(run_task('misasked'), 'misasked failed', 'a condition is a boolean');
is($box->sql("SELECT state, note FROM weir.task_runs WHERE run_id = $waits"), 'waiting|waits for start_when', 'a run waits for a condition');
$box->poll("SELECT state, note FROM weir.task_runs WHERE run_id = $stream", 'waiting\|waits for the watermark of stream public\.events, which is -infinity', 'and one for a stream');
$box->sql(q(INSERT INTO arrived VALUES ('infinity'); SELECT weir.ingest('events', '{"ts": "2024-01-02T00:00:01Z"}'::text)));
poll_states($stream, 'waits_for_stream success', 'the watermark passes');

# As whom.
$box->sql(<<~'END');
	CREATE ROLE worker LOGIN; CREATE ROLE mute; CREATE SCHEMA worker AUTHORIZATION worker;
	ALTER ROLE worker SET search_path = worker; ALTER ROLE worker SET work_mem = '77kB';
	CREATE TABLE secret (x int);
	SET SESSION AUTHORIZATION worker;
	SELECT weir.create_task('as_worker', 'SELECT current_user, session_user, current_setting(''search_path'') AS path, current_setting(''work_mem'') AS mem');
	SELECT weir.create_task('peeps', 'SELECT * FROM public.secret');
	SELECT weir.create_task('climbs', 'RESET SESSION AUTHORIZATION; RESET ROLE; SELECT current_user');
	RESET SESSION AUTHORIZATION; SET SESSION AUTHORIZATION mute; SET client_min_messages = error;
	SELECT weir.create_task('mute', 'SELECT 1');
	RESET SESSION AUTHORIZATION; CREATE ROLE leaver LOGIN; SET SESSION AUTHORIZATION leaver;
	SELECT weir.create_task('orphan', 'SELECT 1');
	RESET SESSION AUTHORIZATION; DROP ROLE leaver;
	END
poll_states(run_task('as_worker'), 'as_worker success', 'a task of another role\'s');
is($box->sql("SELECT result FROM weir.task_runs WHERE task = 'as_worker'"),
	'{"mem": "77kB", "path": "worker", "current_user": "worker", "session_user": "worker"}', 'runs as that role, with its settings');
run_all('with no more rights than its owner', peeps => 'failed 42501', climbs => 'success', mute => 'failed 28000', orphan => 'failed 28000');
is($box->sql("SELECT result->>'current_user' FROM weir.task_runs WHERE task = 'climbs'"), 'worker', 'RESET leads nowhere');
is($box->sql("SELECT string_agg(error, ', ' ORDER BY task) FROM weir.task_runs WHERE task IN ('mute', 'orphan')"),
	'its owner, role mute, may not log in, its owner does not exist any more', 'a role that may not log in, or is gone, has no sessions');
$box->sql("SELECT weir.alter_task('orphan', owner => 'worker')");
poll_states(run_task('orphan'), 'orphan success', 'a superuser gives such a task to another');

# Who takes his time to commit holds up nobody else's tasks.
$box->sql(<<~'END');
	ALTER SYSTEM SET weir.task_workers = 0; SELECT pg_reload_conf();
	SELECT weir.create_task('locked', 'SELECT 1'); SELECT weir.create_task('free', 'SELECT 1');
	END
my $locked = run_task('locked');
$box->await("SELECT state FROM weir.task_runs WHERE run_id = $locked", 'queued');
my $slow = $box->busy_session("BEGIN; SELECT weir.cancel_run($locked); SELECT weir.run_task('free')");
$box->sql('ALTER SYSTEM SET weir.task_workers = 4; SELECT pg_reload_conf()');
poll_states(run_task('free'), 'free success', 'a run that another transaction has locked holds up no others');
is($box->sql("SELECT state FROM weir.task_runs WHERE run_id = $locked"), 'queued', 'it waits itself');
$box->end_session($slow, 'ROLLBACK');
poll_states($locked, 'locked success', 'until that is rolled back');

# No process to be had for a while.
$box->sql('ALTER SYSTEM SET weir.task_workers = 0; SELECT pg_reload_conf()');
$run = run_task('self');
$box->poll("SELECT state FROM weir.task_runs WHERE run_id = $run", 'queued', 'a run waits for a process');
$box->sql('ALTER SYSTEM SET weir.task_workers = 4; SELECT pg_reload_conf()');
poll_states($run, 'self success', 'until there is one');

# More than max_worker_processes has.
$box->sql(<<~'END');
	ALTER SYSTEM SET weir.task_workers = 20; SELECT pg_reload_conf();
	SELECT weir.create_task('many', 'SELECT pg_advisory_lock_shared(7)', '@hourly');
	END
my $hold = $box->busy_session('SELECT pg_advisory_lock(7)');
$box->sql("SELECT weir.backfill('many', '2024-01-01 00:00Z', '2024-01-01 20:00Z', max_active => 20)");
$box->poll("SELECT DISTINCT state, attempt, note FROM weir.task_runs WHERE task = 'many' AND note IS NOT NULL",
	'queued\|0\|no process is left: max_worker_processes is \d+', 'a run for which no process is left stays queued, and says so');
$box->end_session($hold, 'SELECT pg_advisory_unlock(7)');
$box->poll("SELECT state, attempt, count(*) FROM weir.task_runs WHERE task = 'many' GROUP BY 1, 2", 'success\|1\|20', 'until there are processes again');
$box->sql("SELECT weir.drop_task('many'); ALTER SYSTEM SET weir.task_workers = 4; SELECT pg_reload_conf()");
poll_states($waits, 'waits success', 'meanwhile a condition has become true');

# The scheduler is ended: another one takes over what runs.
$run = run_task('endless');
$box->await("SELECT state FROM weir.task_runs WHERE run_id = $run AND pid IS NOT NULL", 'running');
$box->sql("UPDATE weir_internal.task_run SET ended_at = ended_at - interval '31 days' WHERE task = 'self'");
my $scheduler = $box->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'");
$box->sql("SELECT pg_terminate_backend($scheduler)");
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler' AND pid <> $scheduler", '1', 'another scheduler takes the place of one that was ended');
is($box->sql("SELECT state FROM weir.task_runs WHERE run_id = $run"), 'running', 'what ran goes on');
$box->poll("SELECT count(*) FILTER (WHERE task = 'self'), count(*) > 100 FROM weir.task_runs", '0\|t', 'runs that are older than weir.task_run_retention leave');
$box->sql("SELECT weir.cancel_run($run)");
poll_states($run, 'after_endless upstream_failed, endless cancelled', 'and can be canceled by it');

# The server is killed.
$box->sql(<<~'END');
	SELECT weir.create_task('interrupted', 'SELECT pg_sleep(CASE WHEN :attempt = 1 THEN 600 ELSE 0 END)', retries => 1, retry_delay => '0');
	END
$box->sql("SELECT weir.alter_task('endless', retries => 0)");
my $lost = run_task('endless');
my $again = run_task('interrupted');
$box->await("SELECT count(*) FROM weir.task_runs WHERE run_id IN ($lost, $again) AND state = 'running' AND pid IS NOT NULL", '2');
# pg_cron is to tick as soon as it is there again: its minutes are its own
$box->sql("UPDATE cron.job SET schedule = '\@reboot'");
$box->run('', 'crash');
poll_states($lost, 'after_endless upstream_failed, endless failed', 'after a crash nothing runs that did: it has failed');
is($box->sql("SELECT sqlstate, error ~ 'session ended before' FROM weir.task_runs WHERE run_id = $lost"), '08006|t', 'and says why');
poll_states($again, 'interrupted success', 'or is tried again');
is($box->sql("SELECT attempt FROM weir.task_runs WHERE run_id = $again"), '2', 'as a second attempt');

# Commands that want the database to themselves.
$box->sql('CREATE DATABASE other');
sub sql_in_other
{
	return $box->run($_[0], qw(psql -X -q -A -t -v ON_ERROR_STOP=1 -d other));
}
sql_in_other("CREATE EXTENSION pg_weir; SELECT weir.create_task('endless', 'SELECT pg_sleep(600)'); SELECT weir.run_task('endless')");
for (1 .. 300)
{
	last if $box->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND backend_type = 'pg_weir task'") eq '1';
	select undef, undef, undef, 0.1;
}
ok(eval { $box->sql('DROP DATABASE other'); 1 }, 'a database in which a task runs can be dropped') or diag($@);

# pg_cron has ticked.
$box->poll('SELECT DISTINCT command, status FROM cron.job_run_details', 'SELECT weir\.tick\(\)\|succeeded', 'pg_cron runs the tick');

# The scheduler leaves when nothing is due.
$box->sql('SELECT weir.pause_task(name) FROM weir.tasks');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'", '0', 'nothing is due: no scheduler');
# A tick is all it takes: the house's own tasks, a check on a schedule among them.
$box->sql(<<~'END');
	SELECT weir.create_check('too_many', 'log', 'row_count', '{"max": 1}', schedule => '@hourly');
	INSERT INTO cron.job_run_details (runid, jobid, status, end_time) VALUES (-3, 1, 'succeeded', now() - interval '9 days'),
		(-2, 1, 'failed', NULL), (-4, 1, 'running', NULL), (-1, 1, 'succeeded', now() - interval '8 days'), (0, 1, 'succeeded', now() - interval '6 days');
	BEGIN; SELECT weir.schedule(); SELECT weir.pause_task(name) FROM weir.tasks; COMMIT;
	END
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'", '0', 'paused: no scheduler');
$box->sql("UPDATE weir_internal.check_definition SET scheduled_at = scheduled_at - interval '3 hours';"
	. " UPDATE weir_internal.task SET runs_on = weir_internal.database_identity(), interval_end = date_trunc('minute', now()) WHERE name ~ '^weir_'");
is($box->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'"), '0', 'nothing runs by itself');
$box->sql('SELECT weir.tick()');
$box->poll("SELECT string_agg(DISTINCT task || ' ' || state, ', ') FROM weir.task_runs WHERE task ~ '^weir_' AND state IN ('success', 'failed')",
	'weir_evaluate_alerts success, weir_purge_alerts success, weir_purge_check_results success, weir_purge_pg_cron success, weir_run_checks success', 'a tick runs the tasks of the house');
is($box->sql("SELECT status, count(*) FROM weir.check_results WHERE check_name = 'too_many' GROUP BY 1"), 'fail|1', 'with a check that was missed, once');
is($box->sql('SELECT string_agg(runid::text, \',\' ORDER BY runid) FROM cron.job_run_details WHERE runid <= 0'), '-4,0', 'pg_cron\'s old rows are deleted');
is($box->sql('SELECT weir.unschedule()'), '5', 'the tasks of the house are dropped');
unlike($box->run('', 'log', '-n', 100000), qr/(?:PANIC|terminated by signal (?!9)|TRAP)/, 'nothing has crashed');

# The last schedule takes the tick along, and so does the extension.
is($box->sql('SELECT count(*) FROM cron.job'), '1', 'there is a tick');
$box->sql('DROP EXTENSION pg_weir CASCADE');
is($box->sql('SELECT count(*) FROM cron.job'), '0', 'which goes with the extension');

done_testing();
