# After a crash the staged rows come back from Kafka as they were: compared
# with a logged copy that a trigger made when they were new.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;
use Time::HiRes qw(sleep);

my $seed = $ENV{WEIR_SEED} // int(rand(2**31));
diag("WEIR_SEED=$seed");
srand($seed);

my $box = Sandbox->new('kafka', 'max_prepared_transactions=1');
my $number = 0;

# Makes messages out of order in event time, some malformed, some tombstones, with and without keys.
# Some have the number of an earlier one, and a time of their own: if that is a duplicate, it moves the watermark.
sub messages
{
	my ($n) = @_;

	return join('', map {
		my $kind = int(rand(100));
		my $ts = 1_700_000_000_000 + $number * 10 + int(rand(20_000)) - 10_000;
		my $key = rand() < 0.9 ? 'k' . int(rand(50)) . "\t" : '';

		$number++;
		my $n = rand() < 0.2 ? $number - int(rand(200)) : $number;
		$kind < 5 ? "${key}NULL\n"
		  : $kind < 10 ? qq($key\{"n": $n, "ts": "nonsense"}\n)
		  : qq($key\{"n": $n, "ts": $ts, "more": "$number"}\n);
	} 1 .. $n);
}

sub send_messages
{
	my ($n, @options) = @_;

	$box->run(messages($n), 'produce', 'readings', '--key', '--tombstone', 'NULL', @options);
}

# Lets time pass for the children of a stream; the worker finds out within ten seconds.
sub let_pass
{
	my ($stream, $time) = @_;

	$box->sql("UPDATE weir_internal.chunk SET created_at = created_at - interval '$time',"
		  . " closed_at = closed_at - interval '$time' WHERE stream = '$stream'::regclass");
}

# Begins a new child.
sub rotate
{
	my ($stream) = @_;
	my $children = "SELECT count(*) FROM weir_internal.chunk WHERE stream = '$stream'::regclass AND closed_at IS NOT NULL";
	my $closed = $box->sql($children);

	let_pass($stream, '8 minutes');
	$box->poll($children, $closed + 1, "$stream: a new child begins");
}

# Is everything back, and nothing twice?
my $left = q{SELECT coalesce(max(refill_left), 0) FROM weir.status WHERE stream = };

sub refilled
{
	my ($stream) = @_;

	$box->poll("SELECT count(*) FILTER (WHERE state NOT IN ('running', 'idle')) || ' ' || coalesce(max(refill_left), 0)"
		  . " FROM weir.status WHERE stream = '$stream'", '0 0', "$stream: the refill comes to its end");
}

my $compare = q{
	SELECT (SELECT count(*) FROM (SELECT * FROM readings EXCEPT ALL SELECT * FROM copy) d) || ' ' ||
	       (SELECT count(*) FROM (SELECT * FROM copy EXCEPT ALL SELECT * FROM readings) d)};
my $placement = q{SELECT md5(string_agg(tableoid || ' ' || _partition || ' ' || _offset, ',' ORDER BY _partition, _offset)) FROM readings};
my $effects = q{SELECT md5(string_agg(c::text, ',' ORDER BY c)) FROM copy c};
my $aggregates = q{SELECT (SELECT md5(string_agg(a::text, ',' ORDER BY a)) FROM readings_10s a) || (SELECT md5(string_agg(a::text, ',' ORDER BY a)) FROM readings_sessions a)};
my $differences = q{SELECT count(*) FROM unnest('{readings_10s,readings_sessions}'::regclass[]) a, weir.verify(a)};
my $books = q{SELECT string_agg(a::text, ' ' ORDER BY a) FROM weir.audit('readings') a};
my $generation = q{SELECT staging_generation FROM weir_internal.stream WHERE stream = 'readings'::regclass};

# ---- a stream with everything in it ----

$box->run('', 'topic', 'readings', '--partitions', 3);
$box->sql(q{
	SELECT weir.create_stream('readings', columns => 'gone int, n bigint NOT NULL, ts timestamptz CHECK (ts IS NOT NULL)',
		server => 'kafka', topic => 'readings', event_time => 'ts', time_unit => 'ms', max_out_of_orderness => '5 s',
		event_id => '{n}', dedup_ttl => '10 s',
		tombstones => 'skip', metadata => '{key,headers}', parallelism => 2, retention => '1 hour');
	SELECT weir.expect('readings', 'no_thirds', 'n % 3 <> 0', 'keep'), weir.expect('readings', 'dropped', 'n % 29 <> 0', 'drop'),
		weir.expect('readings', 'refused', 'n % 31 <> 0');
	CREATE TABLE copy AS SELECT n, ts, _partition, _offset, _timestamp, _watermark, _extra, _key, _headers, _violations FROM readings;
	CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO copy SELECT n, ts, _partition, _offset, _timestamp, _watermark, _extra, _key, _headers, _violations FROM batch;
		RETURN NULL;
	END $$;
	CREATE TRIGGER copy AFTER INSERT ON readings REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION copy();
	SELECT weir.create_continuous_aggregate('readings_10s', 'SELECT count(*), sum(n) FROM readings', weir.tumble('10 s'));
	SELECT weir.create_continuous_aggregate('readings_sessions', 'SELECT n % 50 AS k, count(*), sum(n) FROM readings GROUP BY 1', weir.session('1 s'));
	SELECT weir.start('readings');
});
send_messages(3000);
$box->sql("SELECT weir.wait('readings', '60 s')");
# a while later, in the same child
$box->sql(q{UPDATE weir_internal.chunk_checkpoint SET noted_at = noted_at - interval '2 minutes';
	SELECT weir.alter_stream('readings', batch_rows => 5000)});
send_messages(1000, '--transaction', 'abort');
send_messages(3000, '--transaction', 'commit', '--header', 'h=v');
$box->sql("SELECT weir.wait('readings', '60 s')");
rotate('readings');
# what follows is in a child with other column numbers, and judged by more
$box->sql(q{SELECT weir.expect('readings', 'no_fifths', 'n % 5 <> 0', 'keep')});
$box->sql('ALTER TABLE readings DROP COLUMN gone');
send_messages(3000);
$box->sql("SELECT weir.wait('readings', '60 s')");
$box->sql(q{SELECT weir.alter_stream('readings', max_out_of_orderness => '2 s')});
rotate('readings');
send_messages(3000, '--transaction', 'commit');
send_messages(500, '--transaction', 'abort');
$box->sql("SELECT weir.wait('readings', '60 s')");
my $replayed = $box->sql(q{SELECT applied FROM weir.replay_dead_letters('readings', filter => 'kafka_offset % 2 = 0',
	transform => $$ replace(convert_from(value, 'UTF8'), '"nonsense"', '1700000000000') $$)});
cmp_ok($replayed, '>', 100, "$replayed dead letters are replayed");
rotate('readings');
send_messages(2000);
$box->sql("SELECT weir.wait('readings', '60 s')");

my $rows = $box->sql('SELECT count(*) FROM readings');
cmp_ok($rows, '>', 10_000, "there are $rows rows");
cmp_ok($box->sql(q{SELECT sum(duplicate) FROM weir.audit('readings')}), '>', 500, 'and duplicates gave none');
is($box->sql('SELECT count(DISTINCT tableoid) FROM readings'), '4', 'in four children');
is($box->sql($compare), '0 0', 'the copy has them');
is($box->sql(q{SELECT count(*) FILTER (WHERE ('no_thirds' = ANY (_violations)) IS NOT TRUE <> (n % 3 <> 0)) || ' '
		|| count(*) FILTER (WHERE n % 29 = 0 OR n % 31 = 0) || ' '
		|| (count(*) FILTER (WHERE n % 5 = 0 AND 'no_fifths' = ANY (_violations)) BETWEEN 1 AND count(*) FILTER (WHERE n % 5 = 0) - 1)
	FROM readings}), '0 0 true', 'all are as expected, or marked');
is($box->sql(q{SELECT bool_and(balanced) AND sum(dropped) > 0 FROM weir.audit('readings')}), 't', 'what was dropped is counted');
my %before = map { $_ => $box->sql($_) } ($placement, $effects, $aggregates, $books);
is($box->sql($differences), '0', 'continuous aggregates agree with them');

# ---- a clean restart, a crash ----

is($box->sql($generation), '1', 'nothing has been lost yet');
$box->run('', 'restart');
$box->sql("SELECT weir.wait('readings', '60 s')");
is($box->sql($generation), '1', 'a clean restart loses nothing');
is($box->sql($compare), '0 0', 'and reads nothing again');

$box->run('', 'crash');
refilled('readings');
is($box->sql($generation), '2', 'a crash loses the rows');
is($box->sql($compare), '0 0', 'they come back as they were');
is($box->sql($placement), $before{$placement}, 'each into its child');
is($box->sql($effects), $before{$effects}, 'no trigger has fired');
is($box->sql($aggregates), $before{$aggregates}, 'not for continuous aggregates either');
is($box->sql($differences), '0', 'which agree with what is back');
is($box->sql($books), $before{$books}, 'nothing is counted twice');

# ---- new messages during a refill, a crash during a refill ----

# A lock that outlives crashes holds the refill up in its middle: on the second child.
my $second = $box->sql("SELECT chunk FROM weir_internal.chunk WHERE stream = 'readings'::regclass ORDER BY created_at OFFSET 1 LIMIT 1");

sub held_up
{
	my ($name) = @_;

	$box->poll("SELECT count(*) FROM weir.status WHERE stream = 'readings' AND state = 'refilling' AND refill_left > 0"
		  . " AND last_error = (SELECT format('table \"%s\", whose rows are to come back, is locked by another session', relname)"
		  . " FROM pg_class WHERE oid = '$second'::regclass)"
		  . ' AND next_try IS NOT NULL', '2', $name);
	$box->poll('SELECT count(*) BETWEEN 1 AND 11000 FROM readings', 't', 'some rows are back');
}

$box->sql("BEGIN; LOCK TABLE $second IN SHARE MODE; PREPARE TRANSACTION 'holder'");
$box->run('', 'crash');
held_up('both workers wait for a child that somebody has locked, and say so');
is($box->run(q{\set VERBOSITY sqlstate
	SELECT weir.verify('readings_10s') \g
	SELECT :'SQLSTATE'} =~ s/^\t+//gmr, qw(psql -X -q -A -t)), '55000', 'what is not all back is not verified');
$box->run(qq({"n": -1, "ts": 1700000000000}\n), 'produce', 'readings', '--partition', $_) for 0 .. 2;
$box->poll(q{SELECT count(*) FROM copy WHERE n = -1}, '3', 'new messages are applied');
cmp_ok($box->sql("$left 'readings'"), '>', 0, 'while old ones are still to come');
is($box->sql("SELECT count(*) FROM ONLY $second"), '0', 'none to the locked child');
is($box->sql('SELECT count(*) FROM (SELECT * FROM readings EXCEPT ALL SELECT * FROM copy) d'), '0',
	'what is there is as it was, once');
$box->run('', 'kill-worker', 'readings');
held_up('a killed worker takes all down, and they wait again');
# a stop and a start take up where it was
$box->sql("SELECT weir.stop('readings')");
my $some = $box->sql('SELECT count(*) FROM readings');
$box->sql("ROLLBACK PREPARED 'holder'");
$box->sql("SELECT weir.start('readings')");
refilled('readings');
is($box->sql($compare), '0 0', 'all come back');
cmp_ok($some, '<', 11_000, "$some of them were there already");
is($box->sql('SELECT count(*) FROM copy'), $rows + 3, 'no trigger has fired for them');

# ---- what Kafka does not have any more ----

# Partition 0 of the first child loses its beginning; what came a while later has a checkpoint of its own.  Partition 1
# loses that, too.
my $first = $box->sql(q{SELECT chunk::oid FROM weir_internal.chunk WHERE stream = 'readings'::regclass ORDER BY created_at LIMIT 1});
my @from = map { $box->sql("SELECT min(first_offset) FROM weir_internal.chunk_checkpoint"
	. " WHERE chunk = $first AND partition = $_ AND first_offset > 0") } 0, 1;
my $in_child = "SELECT count(*) FROM readings WHERE tableoid = $first AND";
my $lost = $box->sql("$in_child (_partition = 0 AND _offset < $from[0] OR _partition = 1) AND (_partition, _offset) NOT IN"
	  . ' (SELECT partition, kafka_offset FROM weir.dead_letters)');
cmp_ok($box->sql("$in_child _partition = $_ AND _offset >= $from[$_]"), '>', 100, 'a child has more than one checkpoint') for 0, 1;
$box->run('', 'topic', 'readings', '--delete-records', '0:5');
$box->run('', 'topic', 'readings', '--delete-records', '1:' . ($from[1] + 5));
$box->run('', 'crash');
refilled('readings');
is($box->sql('SELECT count(*) FROM (SELECT * FROM readings EXCEPT ALL SELECT * FROM copy) d'), '0',
	'where the topic has lost messages, no row is another one than it was');
is($box->sql('SELECT count(*) FROM (SELECT * FROM copy EXCEPT ALL SELECT * FROM readings) d'), $lost,
	'and what is missing is what was there before the next checkpoint');
is($box->sql($differences), '0', 'continuous aggregates are compared from where all is there');
$box->sql('UPDATE readings_10s_results SET count = count + 1 WHERE window_start = (SELECT max(window_start) FROM readings_10s_results)');
is($box->sql("SELECT side FROM weir.verify('readings_10s') ORDER BY side"), "maintained\nrecomputed", 'and they are');
cmp_ok($box->sql(q{SELECT max(refill_lost) FROM weir.status WHERE stream = 'readings'}), '>=', $lost, 'which the status shows');
like($box->run('', 'log', '-n', '1000'), qr/WARNING:.*partition $_ of stream "readings" cannot be refilled/, 'and the log') for 0, 1;

# ---- an expectation stops a stream, in the middle of a batch ----

$box->run('', 'topic', 'strict', '--partitions', 1);
$box->run(join('', map { qq({"n": $_}\n) } 1 .. 100), 'produce', 'strict');
$box->sql(q{
	SELECT weir.create_stream('strict', columns => 'n int', server => 'kafka', topic => 'strict');
	SELECT weir.expect('strict', 'not_fifty', 'n <> 50', 'stop'), weir.expect('strict', 'whole', '1000 / (n - 20) <> 0'),
		weir.expect('strict', 'no_tens', 'n % 10 <> 0', 'drop');
	SELECT weir.start('strict')});
my $strict = q{SELECT (SELECT count(*) FROM strict) || ' ' || consumed || ' ' || dead_lettered || ' ' || dropped || ' ' || balanced FROM weir.audit('strict')};
my $state = q{SELECT state || ' ' || last_error FROM weir.status WHERE stream = 'strict'};
$box->poll($state, 'failed event at offset 49 of partition 0 violates expectation "not_fifty"', 'strict: it stops');
is($box->sql($strict), '45 49 1 3 true', 'strict: what came before is applied');
is($box->sql("SELECT failed FROM weir.expectation_stats WHERE name = 'not_fifty'"), '0', 'strict: what stops it is not counted');
$box->sql(q{SELECT weir.start('strict')});
$box->poll($state, 'failed event at offset 49 of partition 0 violates expectation "not_fifty"', 'strict: and again');
$box->sql(q{SELECT weir.seek('strict', '{"0": 50}'); SELECT weir.start('strict')});
$box->poll($strict, '90 99 1 8 true', 'strict: passed over by a seek, it goes on, and misses nothing');
$box->run(qq({"n": 50}\n{"n": 20}\n{"n": 1}\n), 'produce', 'strict');
$box->poll($state, 'failed event at offset 100 of partition 0 violates expectation "not_fifty"', 'strict: it stops again');
$box->sql(q{SELECT weir.alter_expectation('strict', 'not_fifty', on_violation => 'keep')});
$box->poll($strict, '91 102 2 9 true', 'strict: altered, it goes on by itself');
$box->sql(q{SELECT weir.drop_stream('strict')});

# ---- what is past retention does not come back; its watermark does ----

$box->run('', 'topic', 'late', '--partitions', 1);
$box->sql(q{
	SELECT weir.create_stream('late', columns => 't bigint, ts timestamptz', server => 'kafka', topic => 'late',
		event_time => 'ts', time_unit => 's', max_out_of_orderness => '4 s', retention => '1 hour', idle_timeout => NULL);
	SELECT weir.create_continuous_aggregate('late_10s', 'SELECT count(*), sum(t) FROM late', weir.tumble('10 s'));
	SELECT weir.start('late')});
# beside it a stream that lives without Kafka: nothing of it comes back
$box->sql(q{
	SELECT weir.create_stream('local', columns => 't bigint, ts timestamptz', event_time => 'ts', time_unit => 's');
	SELECT weir.create_continuous_aggregate('local_10s', 'SELECT count(*), sum(t) FROM local', weir.tumble('10 s'));
	SELECT weir.create_continuous_aggregate('local_totals', 'SELECT count(*), sum(t) FROM local');
	SELECT weir.ingest('local', ARRAY['{"t": 5, "ts": 5}', '{"t": 25, "ts": 25}'])});
$box->run(qq({"t": 25, "ts": 25}\n), 'produce', 'late');
$box->poll('SELECT t FROM late', '25', 'late: an event');
rotate('late');
let_pass('late', '61 minutes');
$box->run(qq({"t": 3, "ts": 3}\n), 'produce', 'late');
$box->poll('SELECT t FROM late', '3', 'late: one before it, which is past retention meanwhile');
my $windows = q{SELECT string_agg(format('%s: %s %s', extract(epoch FROM window_start)::int, count, sum), ', ' ORDER BY window_start) FROM };
is($box->sql("$windows late_10s"), '20: 1 25', 'late: it is too late for its window');
$box->run('', 'crash');
refilled('late');
is($box->sql('SELECT t, _offset, extract(epoch FROM _watermark)::int FROM late'), '3|1|21', 'late: its watermark is known');
is($box->sql("$windows late_10s"), '20: 1 25', 'late: the window is as it was');
# what begins with the rows that are back must not take it for one that was on time
$box->sql(q{SELECT weir.create_continuous_aggregate('since_10s', 'SELECT count(*), sum(t) FROM late', weir.tumble('10 s'))});
$box->run(qq({"t": 31, "ts": 31}\n{"t": 9, "ts": 9}\n{"t": 45, "ts": 45}\n), 'produce', 'late');
$box->poll('SELECT count(*) FROM late', '4', 'late: more events');
is($box->sql("$windows late_10s"), '20: 1 25, 30: 1 31, 40: 1 45', 'late: windows of all');
is($box->sql("$windows since_10s"), '30: 1 31, 40: 1 45', 'late: and of those that came after the crash');
is($box->sql("SELECT string_agg(aggregate || ' ' || kafka_offset || ' ' || extract(epoch FROM window_start)::int, ', ' ORDER BY aggregate DESC, kafka_offset)"
	  . " FROM weir.late_events WHERE stream = 'late'"), 'since_10s 1 0, since_10s 3 0, late_10s 1 0, late_10s 3 0', 'late: both say what was late');
is($box->sql("SELECT count(*) FROM (SELECT 'late_10s'::regclass a UNION SELECT 'since_10s') v, weir.verify(a)"), '0', 'late: they are right');

# ---- what no topic has is lost, and nobody takes that for a difference ----

my $local = "SELECT string_agg(format('%s: %s', extract(epoch FROM window_start)::int, sum), ', ' ORDER BY window_start) FROM ";
is($box->sql('SELECT count(*) FROM local'), '0', 'local: staged rows are lost');
is($box->sql("$local local_10s"), '0: 5, 20: 25', 'local: results are not');
is($box->sql(q{SELECT count(*) FROM weir.verify('local_10s')}), '0', 'local: windows that nothing is staged of are not compared');
$box->sql(qq{SELECT weir.ingest('local', '{"t": $_, "ts": $_}')}) for 28, 41, 52;
is($box->sql("$local local_10s"), '0: 5, 20: 53, 40: 41, 50: 52', 'local: it goes on');
is($box->sql(q{SELECT count(*) FROM weir.verify('local_10s')}), '0', 'local: nor is one that began before');
is($box->sql(q{UPDATE local_10s_results SET sum = 0 WHERE sum = 41; SELECT data->>'sum' FROM weir.verify('local_10s') ORDER BY side}), "0\n41",
	'local: those after are');
like($box->run(q{SELECT weir.verify('local_totals')}, qw(psql -X -q -A -t)) . $box->run('', 'log', '-n', '20'), qr/"local_totals" is not covered by what is staged/,
	'local: running totals cannot be any more');
is($box->sql(qq{SELECT weir.create_continuous_aggregate('local_new', 'SELECT sum(t) FROM local', weir.tumble('10 s')); $local local_new}), "local_new\n40: 41, 50: 52",
	'local: a new one begins with windows that are whole');

# ---- a partition that returns from idleness goes on with the stream's watermark, again ----

$box->run('', 'topic', 'lazy', '--partitions', 2);
$box->sql(q{
	SELECT weir.create_stream('lazy', columns => 't bigint, ts timestamptz', server => 'kafka', topic => 'lazy',
		event_time => 'ts', time_unit => 's', max_out_of_orderness => '4 s', idle_timeout => '1 s');
	SELECT weir.start('lazy')});
$box->run(qq({"t": 5, "ts": 5}\n), 'produce', 'lazy', '--partition', 1);
$box->poll('SELECT count(*) FROM lazy', '1', 'lazy: an event');
$box->poll(q{SELECT idle_since IS NOT NULL FROM weir_internal.stream_partition WHERE stream = 'lazy'::regclass AND partition = 1}, 't',
	'lazy: its partition is left out');
$box->run(qq({"t": 100, "ts": 100}\n), 'produce', 'lazy', '--partition', 0);
$box->poll(q{SELECT extract(epoch FROM watermark)::int FROM weir.status WHERE stream = 'lazy'}, '96', 'lazy: the others go on');
$box->run(qq({"t": 6, "ts": 6}\n{"t": 99, "ts": 99}\n{"t": 101, "ts": 101}\n{"t": 102, "ts": 102}\n), 'produce', 'lazy', '--partition', 1);
my $watermarks = q{SELECT string_agg(t || ': ' || extract(epoch FROM _watermark)::numeric::int, ', ' ORDER BY _partition, _offset)
	FROM lazy WHERE _partition = 1 AND _watermark > '-infinity'};
$box->poll($watermarks, '6: 96, 99: 96, 101: 96, 102: 97', 'lazy: it returns, with their watermark');
# what is ingested beside Kafka does not come back, nor does its window agree with what is staged
$box->sql(q{SELECT weir.create_continuous_aggregate('lazy_10s', 'SELECT count(*), sum(t) FROM lazy', weir.tumble('10 s'));
	SELECT weir.ingest('lazy', '{"t": 104, "ts": 104}')});
is($box->sql(q{SELECT count(*) FROM weir.verify('lazy_10s')}), '0', 'lazy: an aggregate agrees');
$box->run('', 'crash');
refilled('lazy');
is($box->sql('SELECT count(*) FROM lazy WHERE t = 104'), '0', 'lazy: what was ingested is lost');
is($box->sql(q{SELECT count(*) FROM weir.verify('lazy_10s')}), '0', 'lazy: its window is not compared');
is($box->sql($watermarks), '6: 96, 99: 96, 101: 96, 102: 97', 'lazy: that comes back');

# ---- what was taken back, and what was passed over ----

$box->run('', 'topic', 'odd', '--partitions', 1);
$box->sql(q{
	CREATE TABLE refusing (x int);
	CREATE FUNCTION copy_odd() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM public.refusing) THEN PERFORM 1 / 0; END IF;
		INSERT INTO public.odd_copy SELECT * FROM batch;
		RETURN NULL;
	END $$;
	SELECT weir.create_stream('odd', columns => 't bigint', server => 'kafka', topic => 'odd', tombstones => 'skip', batch_rows => 30);
	CREATE TABLE odd_copy AS TABLE odd;
	CREATE TRIGGER copy AFTER INSERT ON odd REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION copy_odd();
	SELECT weir.start('odd')});

sub send_odd
{
	my ($from, $to) = @_;

	$box->run(join('', map { $_ % 7 ? qq({"t": $_}\n) : "NULL\n" } $from .. $to), 'produce', 'odd', '--tombstone', 'NULL');
}

send_odd(1, 100);
$box->sql("SELECT weir.wait('odd', '60 s')");
# a trigger that refuses everything: batches with dead letters have committed when that is noticed
$box->sql('INSERT INTO refusing VALUES (1)');
send_odd(101, 400);
$box->poll_state('odd', 'failed', 'odd: a trigger refuses every event');
is($box->sql(q{SELECT count(*) FROM weir.dead_letters WHERE stream = 'odd'}), '0', 'odd: none of them is a dead letter');
$box->sql(q{DELETE FROM refusing; SELECT weir.start('odd'); SELECT weir.wait('odd', '60 s')});
# a gap that is never read
$box->sql(q{SELECT weir.stop('odd')});
send_odd(401, 500);
$box->sql(q{SELECT weir.seek('odd', '{"0": 450}'); SELECT weir.start('odd'); SELECT weir.wait('odd', '60 s')});
is($box->sql('SELECT count(*) FROM odd WHERE t BETWEEN 401 AND 450'), '0', 'odd: a seek has passed over some');
my $compare_odd = q{
	SELECT (SELECT count(*) FROM (SELECT * FROM odd EXCEPT ALL SELECT * FROM odd_copy) d) || ' ' ||
	       (SELECT count(*) FROM (SELECT * FROM odd_copy EXCEPT ALL SELECT * FROM odd) d) || ' ' || (SELECT count(*) FROM odd)};
my $odd = $box->sql($compare_odd);
is($odd, '0 0 386', 'odd: the rows');
$box->run('', 'crash');
refilled('odd');
is($box->sql($compare_odd), $odd, 'odd: come back, and only they');

# ---- what the table refuses altogether is not given up ----

$box->sql(q{
	CREATE TABLE picking (x int);
	CREATE FUNCTION picky(t bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF EXISTS (SELECT FROM public.picking) THEN PERFORM 1 / 0; END IF;
		RETURN t;
	END $$;
	CREATE INDEX ON odd (picky(t));
	INSERT INTO picking VALUES (1)});
$box->run('', 'crash');
$box->poll_state('odd', 'failed', 'odd: an index refuses every row');
like($box->worker('odd', 'last_error'), qr/^staged rows of stream "odd" cannot come back/, 'odd: which the status shows');
like($box->worker('odd', 'last_hint'), qr/such as an index, then start the stream again/, 'odd: with what to do');
$box->sql(q{DELETE FROM picking; SELECT weir.start('odd')});
refilled('odd');
is($box->sql($compare_odd), $odd, 'odd: then they come back');

# ---- what was taken back from the very beginning on: the stream may begin elsewhere, or as another one ----

for my $stream ('shy', 'moody')
{
	$box->run('', 'topic', $stream, '--partitions', 1);
	$box->sql(qq{
		CREATE FUNCTION refuse_$stream() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 / 0; RETURN NULL; END';
		SELECT weir.create_stream('$stream', columns => 't bigint', server => 'kafka', topic => '$stream', batch_rows => 30);
		CREATE TRIGGER refuse AFTER INSERT ON $stream FOR EACH STATEMENT EXECUTE FUNCTION refuse_$stream();
		SELECT weir.start('$stream')});
	$box->run(join('', map { qq({"t": $_}\n) } 1 .. 300), 'produce', $stream);
	$box->poll_state($stream, 'failed', "$stream: its trigger refuses every event");
	$box->sql("SELECT weir.stop('$stream'); DROP TRIGGER refuse ON $stream");
}
$box->sql(q{SELECT weir.seek('shy', '{"0": 200}'); SELECT weir.alter_stream('moody', max_out_of_orderness => '2 s')});
my %taken = (shy => 100, moody => 300);
$box->sql("SELECT weir.start('$_'); SELECT weir.wait('$_', '60 s')") for sort keys %taken;
is($box->sql("SELECT count(*) FROM $_"), $taken{$_}, "$_: the rows") for sort keys %taken;
$box->run('', 'crash');
for my $stream (sort keys %taken)
{
	refilled($stream);
	is($box->sql("SELECT count(*) FROM $stream"), $taken{$stream}, "$stream: come back, and only they");
}

unlike($box->run('', 'log', '-n', '100000'), qr/signal (?:6|11)|PANIC/, 'no process crashed by itself');
$box->down;
done_testing();
