# commit_to_group: a consumer group is told how far a stream is applied, never
# more than is on disk; nobody reads it back, and its failures disturb nobody.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;
use Time::HiRes qw(sleep time);

# What nobody waits for is not on disk for long.
my $box = Sandbox->new('kafka', 'wal_writer_delay=10000', 'weir.synchronous_commit=off');

# What a group has committed of the topic, by partition.
sub committed
{
	my ($box, $group) = @_;

	return { map { split /\t/ } split /\n/, $box->run('', 'group', $group, 'readings') };
}

# How far a stream is applied.
sub applied
{
	my ($box) = @_;

	return { map { split /\|/ }
		  split /\n/, $box->sql(q{SELECT partition, applied_offset FROM weir.stream_stats WHERE stream = 'readings' AND partition >= 0}) };
}

sub text
{
	my ($offsets) = @_;

	return join ' ', map { "$_:$offsets->{$_}" } sort keys %$offsets;
}

# Waits until the group has what is applied.
sub agree
{
	my ($box, $group, $name) = @_;
	my $deadline = time + 60;
	my ($committed, $applied) = ('', 'not yet');

	while ($committed ne $applied && time < $deadline)
	{
		$applied = text(applied($box));
		$committed = text(committed($box, $group));
	}
	is($committed, $applied, $name);
}

# Is the group never ahead?
sub behind
{
	my ($committed, $applied) = @_;

	return !grep { $committed->{$_} > ($applied->{$_} // 0) } keys %$committed;
}

sub produce
{
	my ($box, $n, @options) = @_;

	$box->run(join('', map { qq({"n": $_}\n) } 1 .. $n), 'produce', 'readings', @options);
}

sub caught_up
{
	my ($box) = @_;

	$box->sql(q{SELECT weir.wait('readings', '60 s')});
}

sub make_stream
{
	my ($box) = @_;

	$box->run('', 'topic', 'readings', '--partitions', 3);
	$box->sql(q{
		SELECT weir.create_stream('readings', columns => 'n int', server => 'kafka', topic => 'readings', parallelism => 2,
			commit_to_group => 'reporting');
		SELECT weir.start('readings')});
}

# Meanwhile another stream has nothing to do, on a cluster of several brokers.
my $mock = Sandbox->new('mock');
make_stream($mock);
produce($mock, 100);

make_stream($box);
produce($box, 1000);
caught_up($box);
agree($box, 'reporting', 'the group has what is applied, of all workers');
produce($box, 100, '--transaction', 'commit');
caught_up($box);
agree($box, 'reporting', 'up to behind the marks of transactions');

# ---------- never ahead ----------

my $ahead = 0;
for (1 .. 5)
{
	produce($box, 500);
	my $committed = committed($box, 'reporting');
	$ahead++ if !behind($committed, applied($box));
}
is($ahead, 0, 'while messages come, the group is never ahead');
agree($box, 'reporting', 'and then has caught up');

# Nor after a crash, which takes back what was not on disk.
my $before = text(committed($box, 'reporting'));
my $committed;
my $deadline = time + 60;
produce($box, 300);
do { $committed = committed($box, 'reporting') } until text($committed) ne $before || time > $deadline;
$box->run('', 'broker', 'pause');
$box->run('', 'crash');
my $after = applied($box);
$box->run('', 'broker', 'resume');
isnt(text($committed), $before, 'the group has moved');
ok(behind($committed, $after), 'a crash leaves the group behind') or diag(text($committed) . ' is ahead of ' . text($after));

# ---------- stopping, and what others do to the group ----------

caught_up($box);
agree($box, 'reporting', 'it goes on after the crash');
produce($box, 100);
caught_up($box);
$box->sql(q{SELECT weir.stop('readings')});
$box->poll(q{SELECT count(*) FROM weir_internal.worker_slots()}, '0', 'the workers have left');
is(text(committed($box, 'reporting')), text(applied($box)), 'they told it for the last time');

my $books = q{SELECT string_agg(a::text, ' ' ORDER BY a) FROM weir.audit('readings') a};
my $audit = $box->sql($books);
$box->run('', 'group', 'reporting', 'readings', '--commit', '0:1');
is(committed($box, 'reporting')->{0}, '1', 'somebody else commits something else');
$box->sql(q{SELECT weir.start('readings')});
caught_up($box);
agree($box, 'reporting', 'the group is told again');
is($box->sql($books), $audit, 'nothing was read again');

# ---------- changes ----------

$box->sql(q{SELECT weir.alter_stream('readings', commit_to_group => 'second')});
caught_up($box);
agree($box, 'second', 'another group');
$box->sql(q{SELECT weir.alter_stream('readings', commit_to_group => '')});
my $left = text(committed($box, 'second'));
produce($box, 100);
caught_up($box);
$box->sql(q{SELECT weir.stop('readings')});
$box->poll(q{SELECT count(*) FROM weir_internal.worker_slots()}, '0', 'stopped without a group');
is(text(committed($box, 'second')), $left, 'no group is told');
unlike($box->run('', 'log', '-n', '100000'), qr/signal (?:6|11)|PANIC|committed to consumer group/, 'nothing went wrong');
$box->down;

# ---------- failures ----------

$box = $mock;
caught_up($box);
agree($box, 'reporting', 'a mock broker');
unlike($box->run('', 'log', '-n', '100000'), qr/is retrying/, 'no worker misses brokers that only others read from');
$box->run('', 'mock', 'errors', 'OffsetCommit', 'GROUP_AUTHORIZATION_FAILED', '2');
produce($box, 100);
caught_up($box);
$box->poll(q{SELECT sum(staged) FROM weir.audit('readings')}, '200', 'a group that may not be told disturbs nobody');
agree($box, 'reporting', 'and is told when it may');
my $log = $box->run('', 'log', '-n', '100000');
like($log, qr/WARNING:.*applied offsets of stream "readings" could not be committed to consumer group "reporting": .*\n(?:.*\n)?.*HINT:.*Read the group/,
	'the log says so');
like($log, qr/applied offsets of stream "readings" are committed to consumer group "reporting" again/, 'and when it is over');

# Nobody there to be told: stopping does not wait for that.
$box->run('', 'mock', 'errors', 'OffsetCommit', '_TRANSPORT', '1000');
produce($box, 100);
caught_up($box);
my $start = time;
$box->sql(q{SELECT weir.stop('readings')});
$box->poll(q{SELECT count(*) FROM weir_internal.worker_slots()}, '0', 'stopped while the coordinator is away');
cmp_ok(time - $start, '<', 20, 'soon');    # half a second and processes that come and go, on a machine that is busy
$box->down;
done_testing();
