# What only a real Kafka does: transactions, retention, topics that come and go.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;

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
