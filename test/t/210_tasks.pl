# Tasks, as processes run them: schedules with the real pg_cron, DAGs, retries,
# timeouts, backfills, crashes, cancels, and as whom.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use Sandbox;
use Test::More;

my $box = Sandbox->new('no-broker', 'weir.task_workers=4');

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
$box->sql(q(SELECT weir.create_task('every_minute', 'INSERT INTO log VALUES (''minute'', :interval_start, :interval_end)', '* * * * *')));
is($box->sql('SELECT schedule, command, database FROM cron.job'), '* * * * *|SELECT weir.tick()|weir', 'the first schedule installs the one tick');

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
poll_states(run_task('vacuum'), 'vacuum success', 'VACUUM runs');
poll_states(run_task('call'), 'call failed', 'a procedure that fails after it has committed');
is($box->sql("SELECT count(*), bool_and(a IS NOT NULL) FROM log WHERE what ~ 'commit'"), '3|t', 'has committed');
poll_states(run_task('vacuum_and_more'), 'vacuum_and_more failed', 'VACUUM beside others does not');
is($box->sql("SELECT sqlstate FROM weir.task_runs WHERE task = 'vacuum_and_more'"), '25001', 'as in any session');
poll_states(run_task('left_open'), 'left_open failed', 'a transaction that is left open is an error');
poll_states(run_task('two'), 'two failed', 'several statements');
is($box->sql("SELECT count(*) FROM log WHERE what IN ('left open', 'first of two')"), '0', 'are one transaction');
poll_states(run_task('deferred'), 'deferred failed', 'what fails at commit fails');
is($box->sql("SELECT sqlstate FROM weir.task_runs WHERE task = 'deferred'"), '23503', 'with its SQLSTATE');
poll_states(run_task('copy'), 'copy failed', 'there is no client to copy to');
poll_states(run_task('read_only'), 'read_only success', 'a session may be read-only');
poll_states(run_task('self'), 'self success', 'a command sees its run');
is($box->sql("SELECT result FROM weir.task_runs WHERE task = 'self'"), '{"same": true, "task": "self", "attempt": 1, "same_end": true}', 'by parameters and by weir.current_run');

# Timeouts and cancels.
$box->sql(<<~'END');
	SELECT weir.create_task('slow', 'SELECT pg_sleep(600)', execution_timeout => '200 ms');
	SELECT weir.create_task('endless', 'SELECT pg_sleep(600)', retries => 5);
	SELECT weir.create_task('after_endless', 'SELECT 1', after => '{endless}');
	SELECT weir.create_task('stubborn', 'DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$');
	END
poll_states(run_task('slow'), 'slow failed', 'what takes too long is canceled');
is($box->sql("SELECT sqlstate, error FROM weir.task_runs WHERE task = 'slow'"), '57014|canceled after execution_timeout of 200 ms', 'and says so');
$run = run_task('endless');
$box->await("SELECT state FROM weir.task_runs WHERE run_id = $run AND pid IS NOT NULL", 'running');
is($box->sql("SELECT weir.cancel_run($run)"), 't', 'a run is canceled');
poll_states($run, 'after_endless upstream_failed, endless cancelled', 'with its retries, and those after it are not run');
$run = run_task('stubborn');
$box->await("SELECT state FROM weir.task_runs WHERE run_id = $run AND pid IS NOT NULL", 'running');
$box->sql("SELECT weir.cancel_run($run)");
poll_states($run, 'stubborn cancelled', 'a session that will not be canceled is ended');

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
poll_states($waits, 'waits success', 'the condition becomes true');

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
	END
poll_states(run_task('as_worker'), 'as_worker success', 'a task of another role\'s');
is($box->sql("SELECT result FROM weir.task_runs WHERE task = 'as_worker'"),
	'{"mem": "77kB", "path": "worker", "current_user": "worker", "session_user": "worker"}', 'runs as that role, with its settings');
poll_states(run_task('peeps'), 'peeps failed', 'it may do what its owner may');
is($box->sql("SELECT sqlstate FROM weir.task_runs WHERE task = 'peeps'"), '42501', 'and no more');
poll_states(run_task('climbs'), 'climbs success', 'RESET');
is($box->sql("SELECT result->>'current_user' FROM weir.task_runs WHERE task = 'climbs'"), 'worker', 'leads nowhere');
poll_states(run_task('mute'), 'mute failed', 'a role that may not log in has no sessions');
is($box->sql("SELECT error FROM weir.task_runs WHERE task = 'mute'"), 'its owner, role mute, may not log in', 'which is said');

# No process to be had for a while.
$box->sql('ALTER SYSTEM SET weir.task_workers = 0; SELECT pg_reload_conf()');
$run = run_task('self');
$box->poll("SELECT state FROM weir.task_runs WHERE run_id = $run", 'queued', 'a run waits for a process');
$box->sql('ALTER SYSTEM RESET weir.task_workers; SELECT pg_reload_conf()');
poll_states($run, 'self success', 'until there is one');

# The scheduler is ended: another one takes over what runs.
$run = run_task('endless');
$box->await("SELECT state FROM weir.task_runs WHERE run_id = $run AND pid IS NOT NULL", 'running');
my $scheduler = $box->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'");
$box->sql("SELECT pg_terminate_backend($scheduler)");
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler' AND pid <> $scheduler", '1', 'another scheduler takes the place of one that was ended');
is($box->sql("SELECT state FROM weir.task_runs WHERE run_id = $run"), 'running', 'what ran goes on');
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

# pg_cron has ticked meanwhile, without anybody else.
$box->poll("SELECT count(*) > 0, bool_and(b - a = '1 minute') FROM log WHERE what = 'minute'", 't\|t', 'pg_cron\'s tick runs what is due');
is($box->sql("SELECT count(*) FROM weir.task_runs WHERE task = 'every_minute' AND interval_start < (SELECT date_trunc('minute', created_at) FROM weir.tasks WHERE name = 'every_minute')"),
	'0', 'from the interval on that ended next');
$box->poll("SELECT status FROM cron.job_run_details ORDER BY runid LIMIT 1", 'succeeded', 'and it is content itself');

# The scheduler leaves when nothing is due.
$box->sql('SELECT weir.pause_task(name) FROM weir.tasks');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir task scheduler'", '0', 'nothing is due: no scheduler');
unlike($box->run('', 'log', '-n', 100000), qr/(?:PANIC|terminated by signal (?!9)|TRAP)/, 'nothing has crashed');

# The last schedule takes the tick along, and so does the extension.
is($box->sql('SELECT count(*) FROM cron.job'), '1', 'there is a tick');
$box->sql('DROP EXTENSION pg_weir CASCADE');
is($box->sql('SELECT count(*) FROM cron.job'), '0', 'which goes with the extension');

done_testing();
