# Continuous aggregates under several workers: what they make together is what
# one makes alone, while they get in each other's way as much as they can.
# Windows are over even if nobody's batch has seen it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{WEIR_SEED} // int(rand(2**31));
diag("WEIR_SEED=$seed");
srand($seed);

my $box = Sandbox->new('kafka', 'max_worker_processes=32', 'deadlock_timeout=100ms');

sub produce_times
{
	my ($topic, $partition, @seconds) = @_;

	$box->run(join('', map { qq({"k": 1, "ts": $_}\n) } @seconds), 'produce', $topic, '--partition', $partition);
}

sub create_stream
{
	my ($name, $topic, $more) = @_;

	$box->sql("SELECT weir.create_stream('$name', columns => 'k int, v int, ts timestamptz', server => 'kafka', topic => '$topic',"
		  . " event_time => 'ts', time_unit => 's', $more)");
}

# ---- only idleness moves the watermark ----

$box->run('', 'topic', 'lazy', '--partitions', 2);
create_stream('lazy', 'lazy', "idle_timeout => '1 s'");
$box->sql(q{SELECT weir.create_continuous_aggregate('lazy_10s', 'SELECT count(*) FROM lazy', weir.tumble('10 s'));
	SELECT weir.create_continuous_aggregate('lazy_sessions', 'SELECT count(*) FROM lazy', weir.session('10 s'));
	SELECT weir.start('lazy')});
# the other partition never brings anything: until it is left out, nothing is over
produce_times('lazy', 0, 5, 25);
$box->poll('SELECT count(*), sum(count), count(*) FILTER (WHERE is_final) FROM lazy_10s', '2\|2\|1', 'a window is over when partitions are idle');
$box->poll('SELECT count(*), sum(count) FROM lazy_10s_results', '1\|1', 'and moved to the results without another batch');
$box->poll('SELECT count(*), sum(count) FROM lazy_sessions_results', '1\|1', 'so is a session');
$box->sql("SELECT weir.stop('lazy')");

# ---- two commits that do not see each other ----

$box->run('', 'topic', 'pair', '--partitions', 2);
create_stream('pair', 'pair', 'parallelism => 2');
$box->sql(q{SELECT weir.create_continuous_aggregate('pair_10s', 'SELECT count(*) FROM pair', weir.tumble('10 s'));
	SELECT weir.start('pair')});
produce_times('pair', $_, 5) for 0, 1;
$box->poll('SELECT sum(count) FROM pair_10s', '2', 'two workers');
# both have looked at the watermark, and wait before they can say so
my $holder = $box->busy_session('BEGIN; LOCK TABLE weir_internal.aggregate_progress');
produce_times('pair', $_, 12) for 0, 1;
$box->poll(q{SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'weir_internal.aggregate_progress'::regclass AND NOT granted}, '2',
	'both are in the middle of a batch');
$box->end_session($holder, 'COMMIT');
$box->poll('SELECT count(*), sum(count) FROM pair_10s_results', '1\|2', 'what neither could close is closed after both');
is($box->sql('SELECT count(*), sum(count), count(*) FILTER (WHERE is_final) FROM pair_10s'), '2|4|1', 'once');
$box->sql("SELECT weir.stop('pair')");

# ---- upserts and alerts of the same keys, by batches that are halved ----

$box->run('', 'topic', 'keyed', '--partitions', 4);
for my $partition (0 .. 3)
{
	# one in a hundred raises an error; its neighbours delete, or do not
	$box->run(join('', map { sprintf(qq({"k": %d, "v": %d, "ts": %d}\n), int(rand(200)), rand() < 0.01 ? 0 : 1 + int(rand(50)), int(rand(500))) } 1 .. 4000),
		'produce', 'keyed', '--partition', $partition);
}
for my $case ([ 'keyed_many', 'parallelism => 4, batch_rows => 300' ], [ 'keyed_alone', 'batch_rows => 1000' ])
{
	my ($name, $more) = @$case;

	create_stream($name, 'keyed', "start_from => 'earliest', $more");
	$box->sql(qq{
		CREATE TABLE ${name}_own (k int PRIMARY KEY, v int);
		SELECT weir.create_upsert('${name}_latest', 'SELECT k, 100 / v AS v, ts FROM $name', '{k}');
		SELECT weir.create_upsert('${name}_left', 'SELECT k, v, ts FROM $name', '{k}', order_by => 'ts', delete_when => 'v % 5 = 1');
		SELECT weir.create_upsert('${name}_theirs', 'SELECT k, v FROM $name', '{k}', delete_when => 'v % 7 = 1', into_table => '${name}_own');
		SELECT weir.create_alert('${name}_rare', 'SELECT k FROM $name WHERE v = 1', key => 'k'),
			weir.create_alert('${name}_high', 'SELECT k % 20 AS k FROM $name WHERE v > 35', key => 'k');
		SELECT weir.start('$name')});
}
$box->sql("SELECT weir.wait('$_', '60 s')") for qw(keyed_many keyed_alone);
my $letters = q{SELECT count(*) FROM weir.dead_letters WHERE stream = };
cmp_ok($box->sql("$letters 'keyed_alone'"), '>', 50, 'many batches are halved');
is($box->sql("$letters 'keyed_many'"), $box->sql("$letters 'keyed_alone'"), 'by the same events');
for my $upsert (qw(latest left own))
{
	is($box->sql("SELECT (SELECT count(*) FROM (TABLE keyed_many_$upsert EXCEPT ALL TABLE keyed_alone_$upsert) d) || ' ' ||"
		  . " (SELECT count(*) FROM (TABLE keyed_alone_$upsert EXCEPT ALL TABLE keyed_many_$upsert) d)"), '0 0', "$upsert: four workers make what one makes");
	cmp_ok($box->sql("SELECT count(*) FROM keyed_alone_$upsert"), '>', 100, "$upsert: of many keys");
}
is($box->sql(q{SELECT sum(count), count(*) FROM weir.alerts WHERE what LIKE 'keyed_alone_high/%'}),
	$box->sql('SELECT count(*), count(DISTINCT k % 20) FROM keyed_alone WHERE v > 35'), 'alerts are raised for each row, and folded by key');
is($box->sql("SELECT string_agg(split_part(what, '_', 3) || ' ' || count, ',' ORDER BY what) FROM weir.alerts WHERE what LIKE 'keyed_many%'"),
	$box->sql("SELECT string_agg(split_part(what, '_', 3) || ' ' || count, ',' ORDER BY what) FROM weir.alerts WHERE what LIKE 'keyed_alone%'"),
	'alerts: four workers raise what one raises');
unlike($box->run('', 'log', '-n', '100000'), qr/deadlock detected/, 'and do not wait for each other in a circle');
$box->sql("SELECT weir.stop('$_')") for qw(keyed_many keyed_alone);

# ---- several workers, and one ----

my @aggregates = qw(minutes hops sessions all_sessions totals);

sub create_aggregates
{
	my ($stream) = @_;

	# their names are in another order than that of their creation
	$box->sql(qq{
		SELECT weir.create_continuous_aggregate('${stream}_sessions', 'SELECT k, count(*), sum(v), min(ts) FROM $stream GROUP BY k', weir.session('30 s'));
		SELECT weir.create_continuous_aggregate('${stream}_all_sessions', 'SELECT count(*), max(v), count(DISTINCT k) AS ks FROM $stream WHERE v < 50',
			weir.session('2 s'), '5 s');
		SELECT weir.create_continuous_aggregate('${stream}_minutes', 'SELECT k % 7 AS k, count(*), avg(v) FROM $stream GROUP BY k % 7', weir.tumble('1 minute'));
		SELECT weir.create_continuous_aggregate('${stream}_hops', 'SELECT k % 3 AS k, sum(v), sum(DISTINCT v % 50) AS vs FROM $stream GROUP BY k % 3',
			weir.hop('1 minute', '25 s'), '10 s');
		SELECT weir.create_continuous_aggregate('${stream}_totals', 'SELECT count(*), sum(v), count(DISTINCT k) AS ks FROM $stream')});
}

$box->run('', 'topic', 'events', '--partitions', 4);
# the one lets rows go after seconds, the other keeps them
create_stream('many', 'events', "max_out_of_orderness => '8 s', parallelism => 4, batch_rows => 200, retention => '6 s'");
create_stream('alone', 'events', "max_out_of_orderness => '8 s', batch_rows => 1000");
create_aggregates($_) for qw(many alone);
$box->sql("SELECT weir.start('many'); SELECT weir.start('alone')");

# Sends events to all partitions, each a little ahead of others or behind.
my $clock = 1_767_225_600;

sub send_events
{
	my ($n) = @_;
	my @ahead = map { int(rand(20)) } 0 .. 3;

	for my $partition (0 .. 3)
	{
		$box->run(join('', map {
			sprintf(qq({"k": %d, "v": %d, "ts": %.3f}\n), int(rand(40)), int(rand(100)),
				$clock + $ahead[$partition] + $_ / 50 - (rand() < 0.2 ? rand(15) : 0))
		} 1 .. $n), 'produce', 'events', '--partition', $partition);
	}
	# now and then a pause, which ends sessions of all keys
	$clock += $n / 50 + (rand() < 0.5 ? 40 : 0);
}

my $differences = q{SELECT coalesce(string_agg(a || ' ' || v, E'\n'), '') FROM unnest('{many_minutes,many_hops,many_sessions,many_all_sessions}'::regclass[]) a, weir.verify(a) v};
my $children = q{SELECT max(created_at) FROM weir_internal.chunk WHERE stream = 'many'::regclass};
my $compared = q{SELECT count(*) FROM many_minutes_results WHERE window_start > (SELECT max(seen) FROM (SELECT DISTINCT ON (partition) seen
	FROM weir_internal.chunk_checkpoint WHERE stream = 'many'::regclass ORDER BY partition, first_offset) c)};
my $rows = 0;
my $checks = 0;
my $different = '';
my %children;
my $until = time + 8;
my $sent = 0;
while (time < $until || keys %children < 5)
{
	send_events(500);
	$sent += 2000;
	$children{ $box->sql($children) } = 1;
	$different ||= $box->sql($differences);
	$checks++;
	$rows += $box->sql($compared);
}
is($different, '', "$checks times verified while workers go on and children come and go");
cmp_ok($rows, '>', 100, 'there is something to compare');
$box->sql("SELECT weir.wait('$_', '60 s')") for qw(many alone);
$different = $box->sql($differences);
is($different, '', 'and when they have come to an end');

for my $aggregate (@aggregates)
{
	is($box->sql("SELECT (SELECT count(*) FROM (TABLE many_$aggregate EXCEPT ALL TABLE alone_$aggregate) d) || ' ' ||"
		  . " (SELECT count(*) FROM (TABLE alone_$aggregate EXCEPT ALL TABLE many_$aggregate) d)"), '0 0', "$aggregate: four workers make what one makes");
	cmp_ok($box->sql("SELECT count(*) FROM alone_$aggregate"), '>', $aggregate eq 'totals' ? 0 : 3, "$aggregate: of more than a few windows");
	is($box->sql("SELECT count(*) FROM weir.verify('alone_$aggregate')"), '0', "$aggregate: and the query gives");
}
is($box->sql('SELECT count FROM many_totals'), $sent, 'no event is lost, none counts twice');
my $late = q{SELECT md5(string_agg(concat_ws(' ', substring(aggregate, '_.*'), partition, kafka_offset, window_start), ',' ORDER BY substring(aggregate, '_.*'), partition, kafka_offset, window_start))
	FROM weir.late_events WHERE stream = };
is($box->sql("$late 'many'"), $box->sql("$late 'alone'"), 'the same events are late');
cmp_ok($box->sql(q{SELECT count(*) FROM weir.late_events WHERE stream = 'alone'}), '>', 10, 'and there are some');
is($box->sql(q{SELECT sum(count), count(*) FROM weir.alerts WHERE what LIKE 'keyed_alone_high/%'}),
	$box->sql('SELECT count(*), count(DISTINCT k % 20) FROM keyed_alone WHERE v > 35'), 'alerts are raised for each row, and folded by key');
is($box->sql("SELECT string_agg(split_part(what, '_', 3) || ' ' || count, ',' ORDER BY what) FROM weir.alerts WHERE what LIKE 'keyed_many%'"),
	$box->sql("SELECT string_agg(split_part(what, '_', 3) || ' ' || count, ',' ORDER BY what) FROM weir.alerts WHERE what LIKE 'keyed_alone%'"),
	'alerts: four workers raise what one raises');
unlike($box->run('', 'log', '-n', '100000'), qr/deadlock detected|signal (?:6|11)|PANIC/, 'nobody stood in another one\'s way for good');

$box->down;
done_testing();
