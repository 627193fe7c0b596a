# Topics at their extremes: none of a thousand partitions, no message at all,
# messages of ten megabytes.  What a stream has is compared with the topic.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;

my $box = Sandbox->new('kafka', 'max_worker_processes=32');
my $well = 'idle|running|refilling';

# How far each partition is in the topic, and how far the stream says it is.
sub topic_ends
{
	my ($topic) = @_;

	return join ',', map { (split /\t/)[0, 2] } split /\n/, $box->run('', 'offsets', $topic);
}

sub stream_ends
{
	my ($stream) = @_;

	return $box->sql("SELECT string_agg(partition || ',' || applied_offset, ',' ORDER BY partition)"
		  . " FROM weir.stream_stats WHERE stream = '$stream'");
}

# Waits until a stream has all that the topic has now.
sub wait_for
{
	my ($stream, $what) = @_;

	ok(eval { $box->sql("SELECT weir.wait('$stream', '60 seconds')"); 1 }, $what) or diag $@;
}

sub poll_workers
{
	my ($stream, $state, $what) = @_;

	$box->poll("SELECT state FROM weir.status WHERE stream = '$stream'", $state, $what);
}

# ---- no message ----

$box->run('', 'topic', 'empty', '--partitions', 1);
foreach my $from (qw(earliest latest))
{
	$box->stream($from, 'empty', "start_from => '$from'");
	wait_for($from, "an empty topic is read to its end, from $from");
	$box->poll("SELECT state || ' ' || lag || ' ' || applied_offset || ' ' || consumed FROM weir.status"
		  . " JOIN weir.stream_stats USING (stream, lag, consumed) WHERE stream = '$from'", 'idle 0 0 0', 'and idle');
}
$box->produce('empty', 1, 1);
foreach my $from (qw(earliest latest))
{
	$box->poll("SELECT count(*), min(id) FROM \"$from\"", '1\|1', "its first message arrives, from $from");
	$box->sql("SELECT weir.drop_stream('$from')");
}

# ---- a thousand partitions ----

my $partitions = 1000;
$box->run('', 'topic', 'wide', '--partitions', $partitions);
$box->stream('wide', 'wide', "event_time => 'ts', parallelism => 2");
poll_workers('wide', "(?:$well)\n(?:$well)", "two workers read $partitions partitions");
$box->run(join('', map { qq(key$_\t{"id": $_, "ts": 1700000000000}\n) } 1 .. 50_000), 'produce', 'wide', '--key');
wait_for('wide', 'to their ends');
is($box->sql('SELECT count(*), count(DISTINCT id), sum(id), count(DISTINCT _partition) FROM wide'),
	"50000|50000|1250025000|$partitions", 'every message once');
is(stream_ends('wide'), topic_ends('wide'), 'as far as the topic goes');

# A batch costs what is in it: partitions that have nothing new are not written.
$box->poll("SELECT count(end_offset) || ' ' || (max(updated_at) < clock_timestamp() - interval '2 seconds')"
	  . " FROM weir.stream_stats WHERE stream = 'wide'", "$partitions true", 'all ends are known');
$box->sql('CREATE TABLE before AS SELECT partition, ctid AS at FROM weir_internal.stream_partition');
$box->produce('wide', 50_001, 50_010, '--partition', 7);
$box->poll('SELECT count(*) FROM wide', '50010', 'one partition brings something');
is($box->sql("SELECT string_agg(partition::text, ',') FROM weir_internal.stream_partition s"
	  . " JOIN before USING (partition) WHERE s.ctid <> at AND stream = 'wide'::regclass"), '7', 'and no other is touched');

# One that is empty holds the watermark back, and is named.
$box->run('', 'topic', 'wide', '--add-partitions', 1);
$box->poll("SELECT DISTINCT held_back_by || ' ' || watermark FROM weir.status WHERE stream = 'wide'",
	"$partitions 2023-11-14 22:13:20\\+00", 'an empty partition is named');

# The memory of each worker's own.
my $anonymous = sub {
	my ($stream) = @_;
	my $most = 0;

	foreach my $pid (split /\n/, $box->sql("SELECT pid FROM weir.status WHERE stream = '$stream'"))
	{
		my ($kb) = `cat /proc/$pid/status` =~ /^RssAnon:\s+(\d+)/m;
		$most = $kb if $kb > $most;
	}
	return $most / 1024;
};
cmp_ok($anonymous->('wide'), '<', 128, 'in bounded memory (MB)');

$box->run('', 'crash');
$box->poll('SELECT count(*), count(DISTINCT id), sum(id) FROM wide', '50010\|50010\|1250525055', 'a crash takes nothing');
poll_workers('wide', "(?:$well)\n(?:$well)", 'both are back');
$box->produce('wide', 50_011, 50_011, '--partition', $partitions);
$box->poll('SELECT count(*) FROM wide', '50011', 'and go on');
is(stream_ends('wide'), topic_ends('wide'), 'as far as the topic goes');
$box->sql("SELECT weir.drop_stream('wide')");

# ---- messages of ten megabytes ----

my $size = 10_000_000;
my ($count, $bytes) = (6, 0);
$box->run('', 'topic', 'big', '--partitions', 2, '--config', 'max.message.bytes=16777216');
$box->run('', 'topic', 'rotten', '--partitions', 1, '--config', 'max.message.bytes=16777216');
foreach my $id (1 .. $count)
{
	my $body = sprintf('%08d', $id) x ($size / 8);

	$box->run(qq({"id": $id, "body": "$body"}\n), 'produce', 'big', '--partition', $id % 2);
	my $rotten = qq({"id": $id, "body": "$body);
	$box->run("$rotten\n", 'produce', 'rotten');
	$bytes += length $rotten;
}
my $create = "SELECT weir.create_stream('%s', columns => '%s', server => 'kafka', topic => '%s'); SELECT weir.start('%1\$s')";
my $whole = "count(*), count(DISTINCT id), sum(id), bool_and(%s = repeat(lpad(id::text, 8, '0'), $size / 8))";

$box->sql(sprintf($create, 'big', 'id int, body text', 'big'));
wait_for('big', 'messages of 10 MB get through');
is($box->sql(sprintf("SELECT $whole FROM big", 'body')), '6|6|21|t', 'as they are');
is(stream_ends('big'), topic_ends('big'), 'as far as the topic goes');
cmp_ok($anonymous->('big'), '<', 256, 'in bounded memory (MB)');

# The least memory that can be given is enough: one message is more than all of it.
$box->sql("ALTER SYSTEM SET weir.worker_memory = '8MB'");
$box->sql('SELECT pg_reload_conf()');
$box->sql(sprintf($create, 'extra', 'id int', 'big'));
wait_for('extra', 'also with less memory than that');
is($box->sql(sprintf("SELECT $whole FROM extra", "_extra ->> 'body'")), '6|6|21|t', 'also as jsonb');
$box->sql('ALTER SYSTEM RESET weir.worker_memory');
$box->sql('SELECT pg_reload_conf()');

$box->sql(sprintf($create, 'rotten', 'id int, body text', 'rotten'));
wait_for('rotten', 'those that are no JSON get through');
is($box->sql("SELECT count(*), count(DISTINCT kafka_offset), sum(length(value)), min(error_stage)"
	  . " FROM weir.dead_letters WHERE stream = 'rotten'"), "6|6|$bytes|decode", 'as dead letters');
cmp_ok($anonymous->('rotten'), '<', 256, 'in bounded memory (MB)');

$box->down;
done_testing();
