# What PostgreSQL's own environment does to a stream: locks, timeouts,
# triggers that do not end, cancels.  Each ends with what is in the topic, once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;
use Time::HiRes qw(time);

# What a database sets for its sessions would end every batch; not ours here.
$ENV{PGOPTIONS} = join ' ', (map { "-c $_=0" } qw(statement_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout)),
  '-c default_transaction_isolation=read\\ committed', '-c default_transaction_read_only=off';

my $box = Sandbox->new('mock', 'weir.lock_timeout=400ms', 'weir.probe_timeout=0');
$box->sql(<<~'END');
	ALTER DATABASE weir SET statement_timeout = '10ms';
	ALTER DATABASE weir SET lock_timeout = '1ms';
	ALTER DATABASE weir SET idle_in_transaction_session_timeout = '1ms';
	ALTER DATABASE weir SET idle_session_timeout = '1ms';
	ALTER DATABASE weir SET default_transaction_isolation = 'repeatable read';
	ALTER DATABASE weir SET default_transaction_read_only = on;
	CREATE TABLE weather (kind text);
	END

my %produced;

# Sends n more events.
sub produce
{
	my ($name, $n) = @_;
	my $from = ($produced{$name} // 0) + 1;

	$box->produce($name, $from, $produced{$name} = $from + $n - 1);
}

# Waits until everything is applied, and checks that nothing else happened.
sub poll_all
{
	my ($name, $what) = @_;

	$box->poll_log($name, 1, $produced{$name}, $what);
	$box->poll("SELECT count(*), count(DISTINCT id), a.dead_lettered, a.balanced FROM $name, weir.audit('$name') a GROUP BY 3, 4",
		"$produced{$name}\\|$produced{$name}\\|0\\|t", 'each event is staged once, none is a dead letter');
	$box->poll_state($name, 'running|idle', 'and the stream runs');
}

# Returns a column of weir.status.
sub status
{
	my ($name, $column) = @_;

	return $box->sql("SELECT $column FROM weir.status WHERE stream = '$name'");
}

sub poll_status
{
	my ($name, $column, $expected, $what) = @_;

	$box->poll("SELECT $column FROM weir.status WHERE stream = '$name'", $expected, $what);
}

# ---- timeouts that are not ours ----

$box->logged_stream('slow', "PERFORM pg_sleep(0.3);");
produce('slow', 50);
poll_all('slow', 'a trigger may take longer than statement_timeout of the database');
is(status('slow', 'last_error'), '', 'at the first attempt');

# ---- transactions that are not ours ----

$box->sql(q{SELECT weir.create_upsert('slow_latest', 'SELECT id, ts FROM slow', '{id}', delete_when => 'id % 2 = 0')});
produce('slow', 50);
$box->poll('SELECT count(*) FROM slow_latest', '50', 'nor does it matter which isolation the database sets, or that it is to be read only');
poll_all('slow', 'where an upsert remembers deletes');

# ---- locks ----

$box->logged_stream('locked', '');
produce('locked', 50);
poll_all('locked', 'before');
my $child = $box->sql("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'locked'::regclass");
foreach (
	[ 'locked', 'ACCESS EXCLUSIVE', 'the stream was locked for too long', 'locked' ],
	[ $child, 'SHARE', 'the stream was locked for too long', $child ],
	[ 'locked_log', 'ACCESS EXCLUSIVE', 'a lock that locked_trigger\(\) needs was not free in time', 'locked_log' ])
{
	my ($table, $mode, $error, $what) = @$_;
	my $session = $box->busy_session("BEGIN; LOCK TABLE $table IN $mode MODE");

	produce('locked', 50);
	poll_status('locked', "waits_for || ' ' || (blocked_by = ARRAY[(SELECT pid FROM pg_locks WHERE granted"
		  . " AND mode = '" . join('', map { ucfirst lc } split / /, $mode) . "Lock' AND relation = '$table'::regclass)])",
		"\Q$what\E true", "status says which lock a batch waits for, and who has it: $what");
	poll_status('locked', "state || ': ' || last_error", "retrying: $error", 'and that it tries again');
	like(status('locked', 'last_hint'), qr/waits_for and blocked_by in weir.status/, 'and where to look');
	if ($table eq 'locked_log')
	{
		is(eval { $box->sql('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE; SELECT 1') }, '1',
			'nobody waits for ever behind a batch that waits');
		my $begin = time;
		$box->sql("SELECT weir.stop('locked'); SELECT weir.start('locked')");
		cmp_ok(time - $begin, '<', 10, 'nor does weir.stop');
	}
	$box->end_session($session, 'COMMIT');
	poll_all('locked', 'and is applied once the lock is free');
}

# The one who holds the lock may stop the stream.
my $session = $box->busy_session('BEGIN; LOCK TABLE locked_log');
produce('locked', 50);
poll_status('locked', 'waits_for', 'locked_log', 'a batch waits');
$session->{in} .= "SELECT weir.stop('locked', cancel_batch => true);\n";
is($box->end_session($session, 'COMMIT'), '', 'for somebody who stops the stream');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir worker' AND application_name ~ 'locked'",
	'0', 'its worker leaves');
$box->sql("SELECT weir.start('locked')");
poll_all('locked', 'what was canceled comes again');

# ---- triggers that do not end ----

$box->logged_stream('endless', <<~'END');
	WHILE EXISTS (SELECT FROM weather WHERE kind = 'endless') LOOP
		BEGIN
			PERFORM 1 / (random() * 0)::int;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	END

# Sends events while the trigger does not end, and waits until it runs.
sub produce_endless
{
	$box->sql("INSERT INTO weather VALUES ('endless')");
	produce('endless', 50);
	poll_status('endless', "batch_since > now() - interval '1 hour' AND state = 'running'", 't', 'status says since when a batch runs');
}

produce('endless', 50);
poll_all('endless', 'before');
produce_endless();
$box->sql('SELECT pg_cancel_backend(' . status('endless', 'pid') . ')');
poll_status('endless', "state || ': ' || last_error", 'retrying: the batch was canceled, in endless_trigger\(\)',
	'a batch that is canceled is tried again');
like(status('endless', 'last_hint'), qr/cancel_batch => true/, 'and status says how to stop it');
$box->sql('DELETE FROM weather');
poll_all('endless', 'no event is to blame');

produce_endless();
my $pid = status('endless', 'pid');
$box->sql("SELECT pg_terminate_backend($pid)");
poll_status('endless', "pid <> $pid", 't', 'its process can be terminated');
$box->sql('DELETE FROM weather');
poll_all('endless', 'and what it did comes again');

produce_endless();
my $stopping = $box->session("SELECT weir.stop('endless')");
$stopping->{process}->pump until $stopping->{err} =~ /HINT/;
like($stopping->{err}, qr/NOTICE:.*waiting for a batch of stream "endless" that process \d+ has been applying since.*cancel_batch => true/s,
	'weir.stop says whom it waits for');
$box->sql('SELECT pg_cancel_backend(' . status('endless', 'pid') . ')');
unlike($box->end_session($stopping), qr/ERROR/, 'and gets its turn');
$box->sql("SELECT weir.start('endless')");
poll_status('endless', 'batch_since IS NOT NULL', 't', 'started again it is stuck again');
my $begin = time;
$box->sql("SELECT weir.stop('endless', cancel_batch => true)");
cmp_ok(time - $begin, '<', 5, 'weir.stop can cancel');
$box->sql('DELETE FROM weather');
$box->sql("SELECT weir.start('endless')");
poll_all('endless', 'nothing is lost by that');

# A limit of our own.
$box->sql("ALTER SYSTEM SET weir.batch_timeout = '500ms'");
$box->sql('SELECT pg_reload_conf()');
$box->sql("INSERT INTO weather VALUES ('endless')");
produce('endless', 50);
poll_status('endless', "state || ': ' || last_error", 'retrying: the batch took longer than weir.batch_timeout, in endless_trigger\(\)',
	'weir.batch_timeout ends a batch');
$box->sql('DELETE FROM weather');
poll_all('endless', 'and it is tried again');
$box->logged_stream('sluggish', 'PERFORM pg_sleep(0.01 * (SELECT count(*) FROM batch));', 'start_from => \'earliest\'');
produce('sluggish', 200);
poll_all('sluggish', 'with fewer messages, until it is fast enough');
$box->sql('ALTER SYSTEM RESET weir.batch_timeout');
$box->sql('SELECT pg_reload_conf()');

# ---- errors of the environment where an event is being isolated ----

$box->logged_stream('twofold', <<~'END');
	IF EXISTS (SELECT FROM batch WHERE id = 37) THEN
		RAISE EXCEPTION 'poison';
	ELSIF EXISTS (SELECT FROM weather) THEN
		RAISE EXCEPTION 'bad weather' USING ERRCODE = (SELECT kind FROM weather);
	END IF;
	END
foreach my $code (qw(40P01 57014))
{
	$box->sql("INSERT INTO weather VALUES ('$code')");
	$produced{twofold} = 0;
	produce('twofold', 80);
	poll_status('twofold', "state || ': ' || last_error", 'retrying: bad weather', "$code while an event is isolated is tried again");
	$box->sql('DELETE FROM weather');
	$box->poll("SELECT count(*), count(DISTINCT id) FROM twofold_log", '79\|79', 'and at last applied');
	is($box->sql("SELECT string_agg(convert_from(value, 'UTF8')::jsonb ->> 'id', ' '), min(sqlstate) FROM weir.dead_letters"
		  . " WHERE stream = 'twofold'"), '37|P0001', 'one event is to blame');
	$box->sql('TRUNCATE twofold_log');
	$box->sql("SELECT weir.stop('twofold'); DELETE FROM weir_internal.dead_letter; SELECT weir.start('twofold')");
}

# ---- leaving in the middle of it ----

produce_endless();
$begin = time;
$box->sql("SELECT weir.drop_stream('endless')");
cmp_ok(time - $begin, '<', 5, 'a stream is dropped although its trigger does not end');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'endless'", '0', 'its worker leaves');

# What the database of a trigger that does not end is wanted for.
$box->sql('DELETE FROM weather; CREATE DATABASE other');
$box->run(<<~'END' . "SELECT weir.start('stuck');", qw(psql -X -q -v ON_ERROR_STOP=1 -d other -v), 'bootstrap=' . $box->run('', 'env') =~ s/.*BOOTSTRAP=(\S+).*/$1/sr);
	CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" :'bootstrap');
	SELECT weir.create_stream('stuck', columns => 'id int, ts text', server => 'kafka', topic => 'locked');
	CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1e6); RETURN NULL; END $$;
	CREATE TRIGGER stuck AFTER INSERT ON stuck REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION stuck();
	END
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND wait_event = 'PgSleep'", '1', 'a trigger sleeps');
$begin = time;
is(eval { $box->sql('DROP DATABASE other'); 'dropped' } // $@, 'dropped', 'its database can be dropped');
cmp_ok(time - $begin, '<', 5, 'at once');

# Shutting down: a trigger that sleeps, and a batch that waits for a lock.
$session = $box->busy_session('BEGIN; LOCK TABLE locked_log');
$box->sql("ALTER SYSTEM SET weir.lock_timeout = 0");
$box->sql('SELECT pg_reload_conf()');
produce('locked', 50);
poll_status('locked', 'waits_for', 'locked_log', 'a batch waits, without a limit');
$box->sql('CREATE OR REPLACE FUNCTION slow_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1e6); RETURN NULL; END $$');
produce('slow', 50);
poll_status('slow', 'batch_since IS NOT NULL', 't', 'and a trigger sleeps');
$begin = time;
$box->run('', 'restart');
cmp_ok(time - $begin, '<', 10, 'the server restarts meanwhile');
eval { $box->end_session($session) };
poll_all('locked', 'and everything is there');

$box->down;
done_testing();
