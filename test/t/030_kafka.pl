# What only a real Kafka does: transactions, retention, topics that come and go.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $box = Sandbox->new('kafka', 'max_worker_processes=32');

# Transactions: aborted messages stay invisible, offsets are sparse.
$box->run('', 'topic', 'tx', '--partitions', 1);
$box->produce('tx', 1, 10, '--transaction', 'commit');
$box->produce('tx', 11, 20, '--transaction', 'abort');
$box->stream('tx', 'tx');
my $lag = "SELECT applied_offset || ' ' || lag FROM weir.stream_stats WHERE stream = 'tx'";
$box->poll('SELECT count(*), max(id) FROM tx', '10\|10', 'only committed messages are seen');
$box->poll($lag, '22 0', 'and the position passes those aborted');
$box->produce('tx', 21, 25, '--transaction', 'abort');
$box->poll($lag, '28 0', 'even if nothing else comes');
$box->produce('tx', 26, 30, '--transaction', 'commit');
$box->poll('SELECT count(*), max(id) FROM tx', '15\|30', 'and what comes then is seen');

# Where to start.
my %start = (
	earliest => 15,
	latest => 0,
	'2000-01-01' => 15,
	'2100-01-01' => 0,
	'{"0": 28}' => 5);
my $number = 0;
foreach my $from (sort keys %start)
{
	my $name = 'start' . $number++;

	$box->stream($name, 'tx', "start_from => '$from'");
	$box->poll("SELECT applied_offset || ' ' || consumed FROM weir.stream_stats"
		  . " WHERE stream = '$name'", "34 $start{$from}", "start_from $from");
	$box->sql("SELECT weir.drop_stream('$name')");
}

# A topic that is not there yet.
$box->run('', 'topic', 'sensors', '--partitions', 1);
$box->stream('late', 'senors');
$box->poll_state('late', 'retrying', 'a topic that never existed is waited for');
is($box->worker('late', 'last_error'), 'topic "senors" does not exist', 'by its name');
like($box->worker('late', 'last_hint'), qr/"sensors"/, 'with the nearest as a hint');
$box->run('', 'topic', 'senors', '--partitions', 1);
$box->produce('senors', 1, 10);
$box->poll('SELECT count(*) FROM late', '10', 'and read once it is there');

# Partitions that are added are read from their beginning.
$box->run('', 'topic', 'senors', '--add-partitions', 2);
$box->produce('senors', 11, 20, '--partition', 2);
$box->poll('SELECT count(*), sum(id) FROM late', '20\|210', 'new partitions are found');

# Those found later go on from the stream's watermark.
$box->run('', 'topic', 'tidal', '--partitions', 1);
$box->stream('tidal', 'tidal', "event_time => 'ts'");
$box->produce('tidal', 1, 10);
$box->poll("SELECT watermark FROM weir.status WHERE stream = 'tidal'", '2023-11-14 22:13:20\+00', 'a watermark');
$box->run('', 'topic', 'tidal', '--add-partitions', 2);
$box->run(qq({"id": 11, "ts": 1600000000000}\n), 'produce', 'tidal', '--partition', 1);
$box->poll('SELECT _watermark FROM tidal WHERE id = 11', '2023-11-14 22:13:20\+00',
	'events of new partitions get no less');
is($box->sql("SELECT watermark FROM weir.status WHERE stream = 'tidal'"), '2023-11-14 22:13:20+00', 'and it stays');
is($box->sql('SELECT DISTINCT floor, from_offset, count(*) OVER () FROM weir_internal.watermark_floor'
	  . " WHERE stream = 'tidal'::regclass"), '2023-11-14 22:13:20+00|0|2', 'which is logged');

# A compacted topic: of each key the last value stays, the other offsets are gaps.
my ($bootstrap) = $box->run('', 'env') =~ /^BOOTSTRAP=(.*)$/m;
my $kept = sub {
	my @offsets = split ' ', `kcat -C -q -e -b $bootstrap -t compact -f '%o '`;
	return scalar @offsets;
};
$box->run('', 'topic', 'compact', '--partitions', 1, map { ('--config', $_) }
	  qw(cleanup.policy=compact segment.ms=100 min.cleanable.dirty.ratio=0.01 min.compaction.lag.ms=0));
my ($rounds, $deadline) = (0, time + 60);
do
{
	# each round begins a new segment, which lets the one before be compacted
	$box->run(join('', map { "$_\t{\"id\": $_, \"ts\": $rounds}\n" } 1 .. 50), 'produce', 'compact', '--key');
} until ++$rounds > 3 && $kept->() < $rounds * 50 - 100 || time > $deadline;
$box->stream('compact', 'compact');
$box->poll("SELECT applied_offset || ' ' || lag FROM weir.stream_stats WHERE stream = 'compact'",
	$rounds * 50 . ' 0', 'a stream passes the gaps of compaction');
is($box->sql("SELECT count(DISTINCT id), bool_and(consumed < applied_offset), bool_and(consumed = (SELECT count(*) FROM compact))"
	  . " FROM compact, weir.stream_stats WHERE stream = 'compact'"), '50|t|t', 'and finds what is left');
is($box->sql('SELECT count(*) FROM compact WHERE extract(epoch FROM ts) * 1000 = ' . ($rounds - 1)), '50', 'the newest above all');

# Retention that was faster than the stream.
$box->run('', 'topic', 'short', '--partitions', 1);
$box->produce('short', 1, 10);
$box->stream('short', 'short');
$box->poll('SELECT count(*) FROM short', '10', 'read before retention strikes');
$box->sql("SELECT weir.stop('short')");
$box->produce('short', 11, 100);
$box->run('', 'topic', 'short', '--delete-records', '0:50');
$box->sql("SELECT weir.start('short')");
$box->poll_state('short', 'failed', 'lost messages stop a stream');
like($box->worker('short', 'last_error'), qr/begins at offset 50.*offset 10 had not been read/,
	'which says what is lost');
like($box->worker('short', 'last_hint'), qr/weir\.seek/, 'and what to do');
$box->sql("SELECT weir.alter_stream('short', on_data_loss => 'continue')");
$box->poll('SELECT count(*), min(id) FILTER (WHERE id > 10) FROM short', '60\|51',
	'unless it is to go on');

# A topic that vanishes, and comes back as another.
$box->run('', 'topic', 'senors', '--delete');
$box->poll_state('late', 'failed', 'a topic that vanished stops its stream');
is($box->worker('late', 'last_error'), 'topic "senors" is gone', 'and says so');
$box->run('', 'topic', 'senors', '--partitions', 3);
$box->sql("SELECT weir.start('late')");
$box->poll("SELECT state || ' ' || last_error FROM weir_internal.worker_slots()"
	  . " WHERE stream = 'late'::regclass", 'failed .*recreated or truncated', 'and another one of its name is noticed');

$box->down;
done_testing();
