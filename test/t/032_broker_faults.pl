# Brokers that fail: leaders that move, requests that are refused, brokers that
# stay away or come back elsewhere, names that cannot be resolved, a log that
# has lost its end.  Each fault ends with what the topic has, or with a state
# that names it and says what to do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IO::Socket::INET;
use Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $box;
my %produced;

# Sends so many events, numbered on, to a partition or to any.
sub produce
{
	my ($topic, $count, @options) = @_;
	my $from = $produced{$topic} // 0;

	$box->produce($topic, $from + 1, $produced{$topic} = $from + $count, @options);
}

# Waits until a stream has what was sent, each once.
sub poll_all
{
	my ($stream, $what) = @_;
	my $count = $produced{$stream};

	$box->poll("SELECT count(*), count(DISTINCT id), coalesce(max(id), 0) FROM $stream", "$count\\|$count\\|$count", $what);
}

sub poll_error
{
	my ($stream, $state, $error, $hint, $what) = @_;

	$box->poll("SELECT state || ': ' || last_error || ' ' || coalesce(last_hint, '') FROM weir.status WHERE stream = '$stream'",
		"$state: .*$error.*$hint.*", $what);
}

# ================= the mock: requests that are refused =================

$box = Sandbox->new('mock', 'max_worker_processes=32');
sub mock { $box->run('', 'mock', @_) }

# what a fetch meets is met by the next one soon
$box->sql(q(ALTER SERVER kafka OPTIONS (ADD "fetch.wait.max.ms" '100', ADD "fetch.error.backoff.ms" '100')));
$box->run('', 'topic', 'moving', '--partitions', 3);
mock('leader', 'moving', $_, $_ + 1) foreach 0 .. 2;
$box->stream('moving', 'moving');
produce('moving', 30);
poll_all('moving', 'three brokers, three leaders');

# Leaders move while events come.
foreach my $round (1 .. 4)
{
	mock('leader', 'moving', $_, ($_ + $round) % 3 + 1) foreach 0 .. 2;
	produce('moving', 30);
}
poll_all('moving', 'leaders that move lose nothing');

# Whatever a broker says to a fetch, it is asked again.  As long as there are
# errors left, every fetch gets one: who has all events has got them all.
foreach my $errors ([qw(NOT_LEADER_FOR_PARTITION LEADER_NOT_AVAILABLE UNKNOWN_LEADER_EPOCH FENCED_LEADER_EPOCH)],
	[qw(KAFKA_STORAGE_ERROR REQUEST_TIMED_OUT REPLICA_NOT_AVAILABLE OFFSET_NOT_AVAILABLE)],
	[qw(UNKNOWN_TOPIC_OR_PART OFFSET_OUT_OF_RANGE BROKER_NOT_AVAILABLE UNKNOWN _TRANSPORT)])
{
	mock('errors', 'Fetch', $_, 2) foreach @$errors;
	produce('moving', 30);
	poll_all('moving', "@$errors in answer to fetches");
	mock('clear-errors', 'Fetch');
}

# A beginning meets errors as well.
foreach my $api (qw(Metadata ListOffsets FindCoordinator))
{
	my $error = $api eq 'FindCoordinator' ? 'COORDINATOR_NOT_AVAILABLE' : 'LEADER_NOT_AVAILABLE';

	mock('errors', $api, $error, 6);
	$box->stream("begun_$api", 'moving');
	$box->poll("SELECT count(*), count(DISTINCT id) FROM begun_$api", "$produced{moving}\\|$produced{moving}",
		"$error in answer to $api");
	mock('clear-errors', $api);
	$box->sql("SELECT weir.drop_stream('begun_$api')");
}

# One broker of three is down, and its partition has no other leader yet.
mock('leader', 'moving', $_, $_ + 1) foreach 0 .. 2;
produce('moving', 30);
poll_all('moving', 'three leaders again');
my $bootstrap = $box->run('', 'mock', 'bootstrap');
my $second = (split /,/, $bootstrap)[1];
mock('down', 2);
poll_error('moving', 'retrying', "broker $second is not connected", 'another leader', 'one broker that is down is named');
my $fed = $produced{moving};
produce('moving', 10, '--partition', 0);
$box->poll('SELECT count(*) FROM moving', $fed + 10, 'the partitions of others go on');
poll_error('moving', 'retrying', "broker $second is not connected", 'another leader', 'which does not hide that one is missing');
mock('leader', 'moving', 1, 3);
produce('moving', 30);
poll_all('moving', 'with another leader all partitions are read');
$box->poll_state('moving', 'running|idle', 'and all is well');
mock('up', 2);

# All of them, for longer: tried again all the time, back as soon as they are.
$box->run('', 'broker', 'kill');
poll_error('moving', 'retrying', '(?i:refused|disconnected|closed)', 'Are the brokers up', 'no broker is left');
$box->stream('orphan', 'moving');
poll_error('orphan', 'retrying', '(?i:refused|disconnected|closed|answers)', 'Are the brokers up', 'nor for one that begins');
# long enough for the pauses between attempts to have grown
$box->poll("SELECT clock_timestamp() > max(since) + '8 seconds' FROM weir.status", 't', 'and none for a while');
is($box->sql("SELECT bool_and(next_try IS NULL OR next_try < clock_timestamp() + '6 seconds') FROM weir.status"), 't',
	'attempts are never far apart');
my $begin = time;
$box->sql("SELECT weir.stop('orphan')");
$box->poll("SELECT count(*) FROM weir.status WHERE stream = 'orphan' AND pid IS NULL AND state = 'stopped'", '1', 'a stream stops meanwhile');
cmp_ok(time - $begin, '<', 5, 'at once');
$box->sql("SELECT weir.start('orphan')");
$box->run('', 'broker', 'start');
$begin = time;
produce('moving', 30);
poll_all('moving', 'brokers come back, so do streams');
$box->poll('SELECT count(*) FROM orphan', $produced{moving}, 'one that never had a broker, too');
cmp_ok(time - $begin, '<', 30, 'within seconds');
$box->poll_state('moving', 'running|idle', 'and says so');
is($box->sql("SELECT last_error_at < since FROM weir.status WHERE stream = 'moving'"), 't', 'the last error is over, and says since when');

# No name can be resolved.
$box->sql(q(ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" 'no-such-host.invalid:9092')));
poll_error('moving', 'retrying', 'could not resolve the host name of "no-such-host.invalid:9092"', 'Check "bootstrap.servers"',
	'a name that does not resolve');
$box->sql(qq(ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" '$bootstrap')));
produce('moving', 30);
poll_all('moving', 'the right one helps');
$box->down;

# ================= a real one: addresses and logs =================

$box = Sandbox->new('kafka', 'max_worker_processes=32');
%produced = ();
my ($directory) = $box->run('', 'status') =~ /^directory\s+(\S+)/m;
my ($host, $port) = $box->run('', 'env') =~ /^BOOTSTRAP=(.*):(\d+)$/m;

# Kills the broker, does something, and starts it again.
sub while_down
{
	my ($do) = @_;

	$box->run('', 'broker', 'kill');
	$do->();
	$box->run('', 'broker', 'start');
}

sub edit_properties
{
	my ($edit) = @_;
	my $file = "$directory/kafka/server.properties";

	open(my $in, '<', $file) or die "could not read $file: $!";
	my @lines = <$in>;
	$edit->() foreach @lines;
	open(my $out, '>', $file) or die "could not write $file: $!";
	print $out @lines;
	close $out;
}

# Deletes a topic, and creates it again with other events.
sub recreate
{
	my ($topic, $from, $to) = @_;

	$box->run('', 'topic', $topic, '--delete');
	$box->run('', 'topic', $topic, '--partitions', 1);
	$box->produce($topic, $from, $to);
}

foreach my $topic (qw(stays cut again shrunk kept))
{
	$box->run('', 'topic', $topic, '--partitions', 1);
	$box->stream($topic, $topic);
	produce($topic, 50);
	produce($topic, 50);
	poll_all($topic, "$topic is read");
}

# Messages that were applied may go: nothing is lost.
$box->sql("SELECT weir.stop('kept')");
$box->run('', 'topic', 'kept', '--delete-records', '0:100');
$box->sql("SELECT weir.start('kept')");
produce('kept', 10);
poll_all('kept', 'retention of what was applied is no loss');
$box->poll_state('kept', 'running|idle', 'and does not stop the stream');

# A topic that is another one, though it has as many messages, or more.
$box->sql("SELECT weir.stop('again')");
recreate('again', 1001, 1150);
$box->sql("SELECT weir.start('again')");
poll_error('again', 'failed', 'has another message at offset 99 than was read there: the topic was recreated or truncated', 'weir\.seek',
	'a topic that was recreated is noticed, however long it is');
is($box->sql('SELECT count(*), max(id) FROM again'), '100|100', 'before anything of it is applied');
$box->sql("SELECT weir.alter_stream('again', on_data_loss => 'continue')");
$box->poll('SELECT count(*), count(DISTINCT id), max(id) FROM again', '250\|250\|1150', 'and read from its beginning on demand');

$box->sql("SELECT weir.stop('shrunk')");
recreate('shrunk', 1001, 1099);
$box->sql("SELECT weir.start('shrunk')");
poll_error('shrunk', 'failed', 'ends before offset 100', 'weir\.seek', 'one message less than was read is noticed, too');

# The same while a stream runs.
recreate('shrunk', 2001, 2300);
$box->sql("SELECT weir.seek('shrunk', 'latest'); SELECT weir.start('shrunk')");
$box->poll_state('shrunk', 'running|idle', 'a stream that goes on');
$box->produce('shrunk', 2301, 2310);
$box->poll('SELECT max(id) FROM shrunk', '2310', 'with what comes');
recreate('shrunk', 3001, 3100);
poll_error('shrunk', 'failed', 'topic.*(?:gone|recreated)', 'weir\.seek', 'a topic that is recreated under a stream is noticed');

# The last batch of the log is lost, and others have come since.
while_down(sub {
	my $log = "$directory/kafka/data/cut-0/00000000000000000000.log";

	truncate($log, (-s $log) - 10) or die "could not truncate $log: $!";
	# what the brokers call themselves cannot be resolved
	edit_properties(sub { s/^(advertised\.listeners=PLAINTEXT:\/\/).*/$1no-such-host.invalid:$port/ });
});
poll_error('stays', 'retrying', 'could not resolve the host name of "no-such-host.invalid:\d+"', 'advertised\.listeners',
	'a broker that gives itself a wrong name');
my $free = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 1) or die $!;
my $other = $free->sockport;
close $free;
while_down(sub {
	edit_properties(sub { s/$port/$other/ if /^listeners/; s/^(advertised\.listeners=PLAINTEXT:\/\/).*/$1$host:$other/ });
	open(my $file, '>', "$directory/run/bootstrap") or die $!;
	print $file "$host:$other\n";
	close $file;
});
poll_error('stays', 'retrying', '.', '.', 'a broker that has moved is not found');
is($box->run('', 'offsets', 'cut'), "0\t0\t50", 'a log has lost its end');
$box->produce('cut', 51, 250);
$box->sql(qq(ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" '$host:$other')));
produce('stays', 50);
poll_all('stays', 'its new address helps');
poll_error('cut', 'failed', 'has another message at offset 99 than was read there', 'weir\.seek', 'an end that was lost is noticed');
$box->sql(qq(SELECT weir.seek('cut', '{"0": 100}')));
$box->poll('SELECT count(*), sum(id) FROM cut', '250\|31375', 'and the offset to go on at may be the one where it is');
is($box->sql("SELECT count(*) FROM weir.gaps WHERE stream = 'cut'"), '0', 'which is no gap');

$box->down;
done_testing();
