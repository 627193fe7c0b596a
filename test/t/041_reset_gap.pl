# weir.seek with reset: the stream comes out as a new one would, whatever was
# going on.  Without: what a stream passes over is on record.  On a real Kafka.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use Sandbox;
use Test::More;

my $seed = $ENV{WEIR_SEED} // int(rand(2**31));
diag("WEIR_SEED=$seed");
srand($seed);

my $box = Sandbox->new('kafka', 'max_worker_processes=32');
my %env = $box->run('', 'env') =~ /^([A-Z]+)=(.*)$/mg;
my @psql = ('psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-h', $env{PGHOST}, '-p', $env{PGPORT},
	'-U', $env{PGUSER}, '-d', $env{PGDATABASE});
my $number = 0;

# Makes messages out of order in event time, some malformed, some tombstones.
sub messages
{
	my ($n) = @_;

	return join('', map {
		my $kind = int(rand(100));
		my $ts = 1_700_000_000_000 + $number * 10 + int(rand(20_000)) - 10_000;

		$number++;
		$kind < 5 ? "NULL\n"
		  : $kind < 10 ? qq({"n": $number, "ts": "nonsense"}\n)
		  : qq({"n": $number, "ts": $ts, "more": "$number"}\n);
	} 1 .. $n);
}

sub send_messages
{
	my ($n, @options) = @_;

	$box->run(messages($n), 'produce', 'readings', '--tombstone', 'NULL', @options);
}

# Runs SQL that may fail; returns all it says.
sub says
{
	my ($sql) = @_;
	my $out = '';

	IPC::Run::run([ @psql, '-c', $sql ], \'', '>', \$out, '2>&1', IPC::Run::timeout(180));
	$out =~ s/^LOCATION: .*\n//mg;
	chomp $out;
	return $out;
}

# A stream on the topic; what it is compared with is another one.
sub make_stream
{
	my ($name, $start_from, $more) = @_;

	$box->sql(qq{
		SELECT weir.create_stream('$name', columns => 'n bigint NOT NULL, ts timestamptz CHECK (ts IS NOT NULL)',
			server => 'kafka', topic => 'readings', event_time => 'ts', time_unit => 'ms', max_out_of_orderness => '5 s',
			event_id => '{n}', dedup_ttl => '1 hour',
			tombstones => 'skip', retention => '1 hour', start_from => '$start_from' $more)});
}

sub catch_up
{
	$box->sql("SELECT weir.wait('$_', '60 s')") for @_;
}

# Waits until all rows are back that a crash has emptied.
sub refilled
{
	my ($stream) = @_;

	$box->poll("SELECT count(*) FILTER (WHERE state NOT IN ('running', 'idle')) || ' ' || coalesce(max(refill_left), 0)"
		  . " FROM weir.status WHERE stream = '$stream'", '0 0', "$stream: the refill comes to its end");
}

# Are two streams the same in rows (with watermarks), accounts and dead letters?  The last as far as they have not been
# judged before the beginning.
sub same
{
	my ($one, $other, $name) = @_;
	my $rows = 'SELECT n, ts, _partition, _offset, _timestamp, _watermark, _extra FROM';

	catch_up($one, $other);
	is($box->sql("SELECT (SELECT count(*) FROM ($rows $one EXCEPT ALL $rows $other) d) || ' ' ||"
			  . " (SELECT count(*) FROM ($rows $other EXCEPT ALL $rows $one) d) || ' ' || (SELECT count(*) > 1000 FROM $one)"),
		'0 0 true', "$name: rows and their watermarks");
	is($box->sql("SELECT string_agg(a::text, ' ' ORDER BY a) FROM weir.audit('$one') a WHERE partition >= 0"),
		$box->sql("SELECT string_agg(a::text, ' ' ORDER BY a) FROM weir.audit('$other') a"), "$name: the books");
	is($box->sql("SELECT bool_and(balanced) FROM weir.audit('$one')"), 't', "$name: they balance");
	my $letters = q{SELECT md5(string_agg(l.partition || ' ' || kafka_offset || ' ' || (replayed_at IS NULL), ',' ORDER BY l.partition, kafka_offset))
		FROM weir.dead_letters l JOIN weir.stream_stats s USING (stream, partition)};
	is($box->sql("$letters WHERE stream = '$one'"), $box->sql("$letters WHERE stream = '$other'"), "$name: dead letters");
	is($box->sql("SELECT watermark FROM weir.status WHERE stream = '$one' LIMIT 1"),
		$box->sql("SELECT watermark FROM weir.status WHERE stream = '$other' LIMIT 1"), "$name: the watermark");
	my $notes = "SELECT count(*) FROM weir_internal.chunk_checkpoint c JOIN weir_internal.chunk k USING (chunk) WHERE c.stream = ";
	is($box->sql("$notes '$one'::regclass"), $box->sql("$notes '$other'::regclass"), "$name: what a refill goes by");
}

$box->run('', 'topic', 'readings', '--partitions', 3);
make_stream('readings', 'earliest', ', parallelism => 2');
make_stream('fresh', 'earliest', '');
$box->sql(q{
	CREATE TABLE brake (x int);
	CREATE FUNCTION braked(n bigint) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF n % 500 = 0 AND EXISTS (SELECT FROM public.brake) THEN PERFORM pg_sleep(0.5); END IF;
		RETURN true;
	END $$;
	ALTER TABLE readings ADD CHECK (braked(n));
	CREATE TABLE copy AS TABLE readings;
	CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO copy SELECT * FROM batch;
		RETURN NULL;
	END $$;
	CREATE TRIGGER copy AFTER INSERT ON readings REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION copy();
	SELECT weir.create_upsert('latest', 'SELECT n % 50 AS k, n, ts FROM readings', '{k}', delete_when => 'n % 3 = 0');
	SELECT weir.start('readings')});
send_messages(3000);
send_messages(300, '--transaction', 'abort');
catch_up('readings');

# ---------- forwards: a gap ----------

$box->sql(q{SELECT weir.stop('readings')});
my $applied = $box->sql(q{SELECT applied_offset FROM weir.stream_stats WHERE stream = 'readings' AND partition = 0});
send_messages(50, '--partition', 0);
is(says(sprintf(q{SELECT weir.seek('readings', '{"0": %d}')}, $applied + 20)), '', 'forwards');
my $gaps = q{SELECT partition, from_offset, to_offset, offsets, cause, recorded_by = session_user, void_since IS NULL FROM weir.gaps WHERE stream = };
is($box->sql("$gaps 'readings'"), sprintf('0|%d|%d|20|seek|t|t', $applied, $applied + 20), 'what is passed over is on record');
is($box->sql(q{SELECT string_agg(partition || ' ' || gap, ', ' ORDER BY partition) FROM weir.stream_stats WHERE stream = 'readings'}),
	'0 20, 1 0, 2 0', 'and counted apart');
is($box->sql(q{SELECT bool_and(balanced) FROM weir.audit('readings')}), 't', 'the audit balances');
is(says(q{BEGIN; SELECT weir.seek('readings', 'latest'); ROLLBACK}), '', 'a seek that is rolled back');
is(says(sprintf(q{SELECT weir.seek('readings', '{"0": %d}')}, $applied + 20)), '', 'one to where it is');
is($box->sql("SELECT count(*) FROM weir.gaps"), '1', 'leave no gap');
$box->sql(q{SELECT weir.start('readings')});
catch_up('readings');
is($box->sql(qq{SELECT count(*) FROM readings WHERE _partition = 0 AND _offset BETWEEN $applied AND $applied + 19}), '0',
	'the gap is not read');

# ---------- back to the beginning ----------

cmp_ok($box->sql(q{SELECT applied FROM weir.replay_dead_letters('readings', filter => 'kafka_offset % 2 = 0',
	transform => $$ replace(convert_from(value, 'UTF8'), '"nonsense"', '1700000000000') $$)}), '>', 10, 'dead letters are replayed');
is($box->sql(q{SELECT accepted FROM weir.ingest('readings', '{"n": 0, "ts": 1700000000000}'::text)}), '1', 'something is ingested');
like(says(q{SELECT weir.seek('readings', '{"0": 0}')}), qr/^ERROR:  22023: .*\nHINT:  .*reset => true/, 'not without reset');
like(says(q{SELECT weir.seek('readings', '{"0": 1000000}', reset => true)}),
	qr/^ERROR:  22023: .* cannot go to offset 1000000 of partition 0, which ends at offset/, 'not beyond the end');
like(says(q{SELECT weir.seek('readings', '{"3": 0}', reset => true)}), qr/^ERROR:  22023: .* has no partition 3/, 'no such partition');
cmp_ok($box->sql('SELECT count(*) FROM readings'), '>', 2000, 'nothing is emptied by that');

# What another session does meanwhile: it reads, so the reset waits; and messages come.
{
	my ($in, $out) = ("BEGIN; SELECT count(*) > 2000 FROM readings;\n", '');
	my $reader = IPC::Run::start([@psql], \$in, '>', \$out, '2>&1', IPC::Run::timeout(180));
	my $said = '';

	$reader->pump until $out =~ /t\n/;
	my $reset = IPC::Run::start([ @psql, '-c', q{BEGIN; TRUNCATE copy; SELECT weir.seek('readings', 'earliest', reset => true);
		SELECT 'empty', count(*) FROM readings; COMMIT} ], \'', '>', \$said, '2>&1', IPC::Run::timeout(180));
	$box->poll(q{SELECT count(*) FROM pg_stat_activity WHERE query ~ '^BEGIN; TRUNCATE copy' AND wait_event_type = 'Lock'}, '1',
		'the reset waits for who reads');
	send_messages(1000);
	$in .= "COMMIT;\n\\q\n";
	$reader->finish;
	$reset->finish;
	like($said, qr/NOTICE:  00000: trigger "copy" will fire again.*empty\|0/s, 'then it is empty, and says who will hear it again');
}
$box->sql(q{SELECT weir.start('fresh')});
same('readings', 'fresh', 'to the beginning');
is($box->sql('SELECT (SELECT count(*) FROM (SELECT * FROM copy EXCEPT ALL SELECT * FROM readings) d) || \' \' ||
	(SELECT count(*) FROM (SELECT * FROM readings EXCEPT ALL SELECT * FROM copy) d)'), '0 0', 'triggers have been told all of it');
is($box->sql("$gaps 'readings'"), sprintf('0|%d|%d|20|seek|t|f', $applied, $applied + 20), 'the gap does not count any more');
is($box->sql(q{SELECT count(*) FROM readings WHERE _partition = -1}), '0', 'what was ingested is gone');

# ---------- while rows are on their way back ----------

$box->sql('INSERT INTO brake VALUES (1)');
$box->run('', 'crash');
$box->poll("SELECT count(*) > 0 FROM weir.status WHERE stream = 'readings' AND state = 'refilling' AND refill_left > 0", 't',
	'a refill is on its way');
$box->sql(q{TRUNCATE brake, copy; SELECT weir.seek('readings', 'earliest', reset => true)});
is($box->sql(q{SELECT coalesce(max(refill_left), 0) FROM weir.status WHERE stream = 'readings'}), '0', 'a reset ends it');
refilled('fresh');
same('readings', 'fresh', 'during a refill');

# Rows are lost, and nobody has noticed yet.
$box->sql(q{SELECT weir.stop('readings')});
$box->run('', 'crash');
$box->sql(q{SELECT weir.seek('readings', 'earliest', reset => true); SELECT weir.start('readings')});
refilled('fresh');
same('readings', 'fresh', 'before a refill');
$box->run('', 'crash');
refilled($_) for 'readings', 'fresh';
same('readings', 'fresh', 'and a crash after it');

# ---------- to the middle ----------

# How the messages so far are spread is the producer's to say.
send_messages(600, '--partition', 0);
catch_up('readings', 'fresh');
make_stream('middle', '{"0": 500}', '');
my $below = q{SELECT count(*) FROM weir.dead_letters WHERE stream = 'readings' AND partition = 0 AND kafka_offset < 500};
my $letters = $box->sql($below);
cmp_ok($letters, '>', 10, 'there are dead letters');
$box->sql(q{SELECT weir.seek('readings', '{"0": 500}', reset => true); SELECT weir.start('middle')});
is($box->sql($below), $letters, 'those that will not be judged again stay');
catch_up('readings', 'middle');
is($box->sql($below), $letters, 'and are not doubled');
$box->sql(q{DELETE FROM weir_internal.dead_letter WHERE stream = 'readings'::regclass AND partition = 0 AND kafka_offset < 500});
same('readings', 'middle', 'to the middle');

# ---------- what is derived began anew each time ----------

catch_up('readings');
is($box->sql('SELECT * FROM weir.verify(\'latest\')'), '', 'an upsert is what its query gives');
$box->sql(q{
	CREATE TABLE theirs (n bigint PRIMARY KEY);
	SELECT weir.create_upsert('mine', 'SELECT n FROM readings', '{n}', into_table => 'theirs')});
like(says(q{SELECT weir.seek('readings', 'earliest', reset => true)}), qr/55000: stream "readings" cannot be reset: it writes into table "theirs"/,
	'a stream that writes into a table of a user is not reset');
ok($box->sql('SELECT count(*) FROM theirs') > 0, 'and the table is as it was');
$box->sql(q{SELECT weir.drop('theirs')});


# To the end, and back without reset, as nothing has been consumed since: letters are not doubled by that either.
$box->sql(q{SELECT weir.seek('readings', 'latest', reset => true)});
catch_up('readings');
is($box->sql(q{SELECT sum(consumed) || ' ' || (SELECT count(*) FROM readings) FROM weir.audit('readings')}), '0 0', 'to the end');
$box->sql(q{SELECT weir.seek('readings', 'earliest')});
same('readings', 'fresh', 'and back');

# A partition that is read to its end and left out for that while the reset holds the stream still.
$box->run('', 'topic', 'lazy', '--partitions', 1);
$box->sql(q{
	SELECT weir.create_stream('lazy', columns => 't bigint, ts timestamptz', server => 'kafka', topic => 'lazy',
		event_time => 'ts', time_unit => 's', idle_timeout => '1 s');
	SELECT weir.start('lazy')});
$box->run(qq({"t": 5, "ts": 5}\n), 'produce', 'lazy');
catch_up('lazy');
is(says(q{
	BEGIN;
	SELECT weir.seek('lazy', 'earliest', reset => true);
	DO $$ BEGIN
		FOR i IN 1 .. 600 LOOP
			EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted);
			PERFORM pg_sleep(0.1);
		END LOOP;
	END $$;
	COMMIT}), '', 'a worker waits for a reset');
$box->poll(q{SELECT count(*) FROM lazy}, '1', 'and reads again');
is($box->sql(q{SELECT count(*) FROM weir_internal.watermark_floor WHERE stream = 'lazy'::regclass}), '0',
	'it does not take what it knew for what is');

# What the stream's watermark was held at goes, too.
$box->poll(q{SELECT isfinite(held_watermark) FROM weir_internal.stream WHERE stream = 'lazy'::regclass}, 't', 'it is left out then');
is(says(q{BEGIN; SELECT weir.seek('lazy', 'earliest', reset => true); SELECT DISTINCT watermark FROM weir.status WHERE stream = 'lazy'; COMMIT}),
	"\n-infinity", 'the watermark begins anew');

# ---------- messages are lost ----------

$box->sql(q{SELECT weir.stop('readings'); SELECT weir.stop('fresh'); SELECT weir.alter_stream('readings', on_data_loss => 'continue')});
$applied = $box->sql(q{SELECT applied_offset FROM weir.stream_stats WHERE stream = 'readings' AND partition = 1});
send_messages(30, '--partition', 1);
$box->run('', 'topic', 'readings', '--delete-records', '1:' . ($applied + 10));
like(says(q{SELECT weir.seek('fresh', '{"1": 5}', reset => true)}),
	qr/^ERROR:  22023: .* cannot go to offset 5 of partition 1, which begins at offset \d+\nHINT:  Use earliest/, 'not before the beginning');
$box->sql(q{SELECT weir.start('readings')});
catch_up('readings');
is($box->sql("$gaps 'readings' AND void_since IS NULL"), sprintf('1|%d|%d|10|retention||t', $applied, $applied + 10),
	'what the topic has dropped is a gap');
is($box->sql(q{SELECT gap FROM weir.stream_stats WHERE stream = 'readings' AND partition = 1}), '10', 'and counted');

# A topic of the same name with fewer partitions: nobody knows what is missing.
$box->sql(q{SELECT weir.stop('readings')});
$box->run('', 'topic', 'readings', '--delete');
$box->run('', 'topic', 'readings', '--partitions', 2);
$box->sql(q{SELECT weir.start('readings')});
catch_up('readings');
$box->poll("SELECT string_agg(partition || ' ' || cause || ' ' || (to_offset IS NULL), ', ' ORDER BY partition) FROM weir.gaps"
	  . " WHERE stream = 'readings' AND void_since IS NULL AND cause <> 'retention'",
	'0 truncation true, 1 truncation true, 2 partitions true', 'a topic made anew');
is($box->sql(q{SELECT bool_and(gap IS NULL) FROM weir.stream_stats WHERE stream = 'readings' AND partition >= 0}), 't',
	'nobody says how many');
is($box->sql(q{SELECT weir.stop('readings'); SELECT count(*) FROM weir.gaps WHERE stream = 'readings' AND void_since IS NULL}), "\n4",
	'each is recorded once');

# A reset forgets the partition that is gone.
$box->sql(q{SELECT weir.seek('readings', 'earliest', reset => true)});
is($box->sql(q{SELECT string_agg(partition || ' ' || gap, ', ' ORDER BY partition) FROM weir.stream_stats WHERE stream = 'readings' AND partition >= 0}),
	'0 0, 1 0', 'a reset begins with the topic as it is');

unlike($box->run('', 'log', '-n', '100000'), qr/signal (?:6|11)|PANIC/, 'no process crashed by itself');

$box->down;
done_testing();
