# weir.seek, weir.wait and the warnings of weir.start, on a real Kafka.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $box = Sandbox->new('kafka', 'max_worker_processes=32');
my %env = $box->run('', 'env') =~ /^([A-Z]+)=(.*)$/mg;
my @psql = ('psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-h', $env{PGHOST}, '-p', $env{PGPORT},
	'-U', $env{PGUSER}, '-d', $env{PGDATABASE});

# Runs SQL, one transaction for each -c; returns what it printed, errors and warnings included.
sub sql
{
	my (@statements) = @_;
	my $out = '';

	IPC::Run::run([ @psql, map { ('-c', $_) } @statements ], \'', '>', \$out, '2>&1',
		IPC::Run::timeout(180));
	$out =~ s/^LOCATION: .*\n//mg;
	chomp $out;
	return $out;
}

# Sends rows {"n": …} to a partition.
sub produce
{
	my ($topic, $partition, @n) = @_;

	$box->run(join('', map { "{\"n\": $_}\n" } @n), 'produce', $topic, '--partition', $partition);
}

# Makes a topic and a stream of the same name.
sub make_stream
{
	my ($name, $partitions, $options) = @_;

	$box->run('', 'topic', $name, '--partitions', $partitions, '--config', 'retention.ms=-1');
	is(sql("SELECT weir.create_stream('$name', columns => 'n int', server => 'kafka', topic => '$name'"
				. ($options // '') . ")"), $name, "stream $name");
}

# The numbers that a stream holds.
sub numbers
{
	my ($stream) = @_;

	return sql("SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM $stream");
}

# ---------- waiting ----------

make_stream('readings', 2, ', parallelism => 2');
produce('readings', 0, 1, 2);
produce('readings', 1, 3);
like(sql("SELECT weir.wait('readings')"),
	qr/^ERROR:  55000: stream "readings" is stopped\nHINT:  Start it with weir.start/, 'a stopped stream');
like(sql("BEGIN; SELECT weir.start('readings'); SELECT weir.wait('readings')"),
	qr/ERROR:  55000: .* in this transaction\n.*\nHINT:  COMMIT first\./, 'a start that is not committed');
is(sql("SELECT weir.start('readings')", "SELECT weir.wait('readings')"), "\n", 'start and wait');
is(numbers('readings'), '1 2 3', 'all that was there is applied');

produce('readings', 1, 4);
{
	# The snapshot is taken first, then there is something new.
	my ($in, $out) = ('', '');
	my $session = IPC::Run::start([@psql], \$in, '>', \$out, '2>&1', IPC::Run::timeout(180));

	$in .= "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'snapshot';\n";
	$session->pump until $out =~ /snapshot/;
	produce('readings', 0, 5);
	$in .= "SELECT weir.wait('readings'); SELECT 'waited'; COMMIT; SELECT count(*) FROM readings;\n\\q\n";
	$session->finish;
	like($out, qr/^snapshot\n\nwaited\n5$/m, 'wait sees beyond its transaction\'s snapshot');
}

# The end is the last stable offset.
{
	my ($in, $out, $err) = ("{\"n\": 6}\n" x 3000, "", "");
	my $open = IPC::Run::start([ 'env', "WEIR_SANDBOX=$box->{directory}", "$FindBin::RealBin/../../tools/sandbox",
			'produce', 'readings', '--partition', '0', '--transaction', 'commit' ],
		\$in, \$out, \$err, IPC::Run::timeout(180));
	my $deadline = time() + 60;

	# Another stream on the topic sees it.
	sql("SELECT weir.create_stream('dirty', columns => 'n int', server => 'kafka', topic => 'readings',"
			. " isolation_level => 'read_uncommitted')", "SELECT weir.start('dirty')");
	$open->pump_nb until sql('SELECT count(*) > 0 FROM dirty WHERE n = 6') eq 't' || time() > $deadline;
	is(sql("SELECT weir.wait('dirty')", 'SELECT count(*) > 5 FROM dirty'), "\nt", 'read_uncommitted has another end');
	is(sql("SELECT weir.wait('readings')"), '', 'wait does not wait for an open transaction');
	is(numbers('readings'), '1 2 3 4 5', 'nothing of it is seen');
	$open->finish;
	is(sql("SELECT weir.wait('readings')"), '', 'the transaction is committed');
	is(sql('SELECT count(*) FROM readings WHERE n = 6'), '3000', 'now it is all there');
}

# ---------- seeking before anything is consumed ----------

make_stream('fresh', 1, ", start_from => 'latest'");
produce('fresh', 0, 1, 2, 3);
is(sql("SELECT weir.start('fresh')", "SELECT weir.wait('fresh')"), "\n", 'read from the end');
is(numbers('fresh'), '', 'nothing came');
is(sql("SELECT weir.seek('fresh', 'earliest')", "SELECT weir.wait('fresh')"), "\n", 'a running stream goes to the beginning');
$box->poll('SELECT count(*) FROM fresh', '3', 'and reads it all');

# ---------- seeking forward ----------

is(sql("SELECT weir.stop('fresh')"), '', 'stopped');
produce('fresh', 0, 4, 5, 6, 7);
like(sql(q{SELECT weir.seek('fresh', '{"0": 2}')}),
	qr/^ERROR:  22023: stream "fresh" cannot go back to offset 2 of partition 0, which is applied up to offset 3\nHINT:  .*twice/,
	'not back by offset');
like(sql(q{SELECT weir.seek('fresh', 'earliest')}), qr/^ERROR:  22023: .* offset 0 of partition 0/, 'not back to the beginning');
like(sql(q{SELECT weir.seek('fresh', '2001-01-01')}), qr/^ERROR:  22023: .* offset 0 of partition 0/, 'not back in time');
like(sql(q{SELECT weir.seek('fresh', '{"0": 8}')}),
	qr/^ERROR:  22023: stream "fresh" cannot go to offset 8 of partition 0, which ends at offset 7/, 'not beyond the end');
like(sql(q{SELECT weir.seek('fresh', '{"0": 4, "1": 0}')}), qr/^ERROR:  22023: stream "fresh" has no partition 1/, 'no such partition');
is(sql("SELECT applied_offset FROM weir.stream_stats WHERE stream = 'fresh'"), '3', 'the offset has not moved');
is(sql(q{SELECT weir.seek('fresh', '{"0": 5}')}, "SELECT weir.start('fresh')", "SELECT weir.wait('fresh')"),
	"\n\n", 'forward by offset');
is(numbers('fresh'), '1 2 3 6 7', 'two are left out');
is(sql(q{SELECT weir.seek('fresh', '2200-01-01')}, "SELECT weir.wait('fresh')"), "\n", 'a time after the last message is the end');

# By time, over two partitions.
make_stream('timed', 2);
is(sql("SELECT weir.start('timed')", "SELECT weir.wait('timed')"), "\n", 'nothing there yet');
$box->run("{\"n\": 0}\n", 'produce', 'timed', '--partition', '0', '--timestamp', '1000000000000');
is(sql("SELECT weir.wait('timed')", "SELECT weir.stop('timed')"), "\n", 'one event');
for my $n (1 .. 4)
{
	$box->run("{\"n\": $n}\n", 'produce', 'timed', '--partition', $n % 2, '--timestamp', 1000000000000 + $n * 1000);
}
is(sql("SET timezone = 'America/New_York'; SELECT weir.seek('timed', '2001-09-08 21:46:42.5')", "SELECT weir.start('timed')",
		"SELECT weir.wait('timed')"), "\n\n", 'forward in time');
is(numbers('timed'), '0 3 4', 'what is older is left out');

# ---------- a failed stream goes on from there ----------

is(sql("SELECT weir.stop('timed')"), '', 'stopped');
produce('timed', 0, 5, 6, 7);
$box->run('', 'topic', 'timed', '--delete-records', '0:5');
is(sql("SELECT weir.start('timed')"), '', 'started where messages are gone');
like(sql("SELECT weir.wait('timed', '60 s')"),
	qr/^ERROR:  55000: stream "timed" has failed\nDETAIL:  .*retention was faster.*\nHINT:  .*weir\.seek/, 'a failed stream');
is(sql(q{SELECT weir.seek('timed', '{"0": 5}')}, "SELECT weir.wait('timed', '60 s')"), "\n", 'seek helps');
is(numbers('timed'), '0 3 4 7', 'it went on with what is there');

# So does an alteration that tells it to go on.
is(sql("SELECT weir.stop('timed')"), '', 'stopped');
produce('timed', 1, 10, 11, 12);
$box->run('', 'topic', 'timed', '--delete-records', '1:4');
is(sql("SELECT weir.start('timed')"), '', 'started where messages are gone');
like(sql("SELECT weir.wait('timed', '60 s')"), qr/^ERROR:  55000: .*\nDETAIL:  .*retention was faster/, 'a failed stream');
is(sql("SELECT weir.alter_stream('timed', on_data_loss => 'continue')", "SELECT weir.wait('timed', '60 s')"), "\n",
	'alter_stream wakes a failed stream');
is(numbers('timed'), '0 3 4 7 12', 'it went on with what is there');
sql("SELECT weir.alter_stream('timed', on_data_loss => 'stop')");

# Too far: it would look like another partition than was read.
like(sql(q{SELECT weir.seek('timed', '{"1": 1000}')}),
	qr/^ERROR:  22023: .* cannot go to offset 1000 of partition 1, which ends at offset 5/, 'not beyond the end');
is(sql("SELECT weir.seek('timed', 'latest')", "SELECT weir.wait('timed', '60 s')"), "\n", 'to the end');

# The topic is another one: nothing in it can be counted twice.
is(sql("SELECT weir.stop('timed')"), '', 'stopped');
$box->run('', 'topic', 'timed', '--delete');
$box->run('', 'topic', 'timed', '--partitions', '2');
produce('timed', 0, 8);
is(sql("SELECT weir.start('timed')"), '', 'started on a topic made anew');
like(sql("SELECT weir.wait('timed', '60 s')"), qr/^ERROR:  55000: .*\nDETAIL:  .*recreated/, 'a failed stream');
is(sql("SELECT weir.seek('timed', 'earliest')", "SELECT weir.wait('timed', '60 s')"), "\n", 'back to its beginning');
is(numbers('timed'), '0 3 4 7 8 12', 'it is read');

# ---------- what is not there ----------

is(sql("SELECT weir.create_stream('typo', columns => 'n int', server => 'kafka', topic => 'reedings')"), 'typo', 'a wrong name');
like(sql("SELECT weir.start('typo')"),
	qr/^WARNING:  58P01: stream "typo" cannot read yet: topic "reedings" does not exist.*\nHINT:  Perhaps you meant "readings"\.\n?$/m,
	'start warns of an unknown topic, and names one like it');
like(sql("SELECT weir.wait('typo', '1.5 s')"),
	qr/^ERROR:  57014: stream "typo" has not caught up within 00:00:01\.5\nDETAIL:  .*topic "reedings" does not exist/,
	'wait says what is missing');

like(sql("SET statement_timeout = '400ms'; SELECT weir.wait('typo', '60 s')"),
	qr/^ERROR:  57014: canceling statement due to statement timeout/, 'a wait can be cancelled');

$box->run('', 'broker', 'kill');
like(sql("SELECT weir.start('readings')"),
	qr/^WARNING:  08006: stream "readings" cannot read yet: could not connect to "[^"]+": connection refused\nHINT:  /,
	'start warns of a broker that is not there');
like(sql("SELECT weir.wait('readings', '1.5 s')"),
	qr/^ERROR:  57014: .*\nDETAIL:  The broker could not be asked: could not connect to .*connection refused/,
	'wait says that the broker is not there');
like(sql("SELECT weir.seek('readings', 'latest')"), qr/^ERROR:  08\w+: could not connect to/, 'seek needs the broker for that');

# Waiting goes on when the broker is back.
{
	my $out = '';
	my $waiting = IPC::Run::start([ @psql, '-c', "SELECT weir.wait('readings', '120 s')" ], \undef, '>', \$out, '2>&1',
		IPC::Run::timeout(180));

	$box->poll("SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT weir.wait'", '1', 'waiting');
	$box->run('', 'broker', 'start');
	$waiting->finish;
	is($out, "\n", 'the broker is back');
}
produce('readings', 0, 7);
is(sql("SELECT weir.wait('readings', '60 s')"), '', 'all is well');
is(sql('SELECT count(*) FROM readings WHERE n = 7'), '1', 'and read');

$box->down;
done_testing();
