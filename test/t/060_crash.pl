# Exactly once on a real Kafka, whatever is killed, whenever.
#
# A producer sends numbered readings, some malformed, some tombstones, in
# transactions of which some are aborted, and keeps account of what it has
# committed.  Some readings are sent again, to whatever partition.  Meanwhile workers, backends and the whole server are killed at
# random moments.  At the end the tables that triggers of users maintain hold
# what the producer has in its books, and what a plain consumer finds in the
# topic: each message once, and by the stream that tells duplicates each
# reading.
#
# Environment: WEIR_SEED repeats a run's choices, WEIR_LONG=1 makes it long.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use List::Util qw(min shuffle sum);
use POSIX ();
use Sandbox;
use Storable qw(nstore retrieve);
use Test::More;
use Time::HiRes qw(sleep time);

my $partitions = 5;
my $sensors = 97;
my $block = 10_000;    # messages in a transaction
my $blocks = $ENV{WEIR_LONG} ? 1000 : 100;
my %streams = (alone => 1, shared => 2, once => 2);    # names and their parallelism

my $seed = $ENV{WEIR_SEED} // int(rand(2**31));
diag("WEIR_SEED=$seed");
srand($seed);

my $box = Sandbox->new('kafka');
my %env = $box->run('', 'env') =~ /^([A-Z]+)=(.*)$/mg;
my @connection = ('-h', $env{PGHOST}, '-p', $env{PGPORT}, '-U', $env{PGUSER}, '-d', $env{PGDATABASE});

# ---- the producer ----

# Writes one message, and the effect it shall have to the books.
sub message
{
	my ($books, $number) = @_;
	my $kind = int(rand(1000));
	my $sensor = $number % $sensors;

	if ($kind == 0)
	{
		my $message = "{\"sensor\": $sensor, \"n\": $number";

		# one that is sent again may be malformed both times
		push @{ $books->{malformed} }, $message;
		return $message;
	}
	if ($kind < 5)
	{
		$books->{tombstones}++;
		return 'NULL';
	}
	push @{ $books->{numbers} }, $number;
	return "{\"sensor\": $sensor, \"n\": $number}";
}

# Adds the books of a block to those of everything.
sub add_books
{
	my ($all, $books) = @_;

	foreach my $number (@{ $books->{numbers} })
	{
		$all->{count}[ $number % $sensors ]++;
		$all->{sum}[ $number % $sensors ] += $number;
		next if vec($all->{seen} //= '', $number, 1);
		vec($all->{seen}, $number, 1) = 1;
		$all->{once_count}[ $number % $sensors ]++;
		$all->{once_sum}[ $number % $sensors ] += $number;
	}
	$all->{tombstones} += $books->{tombstones} // 0;
	push @{ $all->{malformed} }, @{ $books->{malformed} // [] };
}

# Returns an earlier number: a near one, or any that was sent, or should have been.
sub again
{
	my ($number) = @_;

	return $block + int(rand($number - $block + 1)) if rand() < 0.5;
	return $number - int(rand(min(100, $number - $block + 1)));
}

# Sends a block in one way or another; adds it to the books if it was committed.
sub produce_block
{
	my ($all, $from) = @_;
	my $books = {};
	my @ways = ([], ['--transaction', 'commit'], ['--transaction', 'commit'], ['--transaction', 'abort']);
	my $way = $ways[ int(rand(@ways)) ];
	my $lines = join("\n", map { message($books, rand() < 0.1 ? again($_) : $_) } $from .. $from + $block - 1);

	$box->run("$lines\n", 'produce', 'readings', '--tombstone', 'NULL', @$way);
	add_books($all, $books) unless "@$way" =~ /abort/;
}

# Sends everything in a process of its own, which leaves its books in a file.
sub start_producer
{
	my ($file) = @_;
	my $pid = fork() // die "could not fork: $!";

	return $pid if $pid;
	my $done = eval {
		my $all = {};

		srand($seed + 1);
		foreach my $number (1 .. $blocks)
		{
			produce_block($all, $number * $block);
			# so that there is time to kill, and for a stream to catch up
			sleep(rand(0.6));
		}
		nstore($all, $file);
	};
	print STDERR "producer: $@" unless $done;
	# no exit handlers: the sandbox is our parent's
	POSIX::_exit($done ? 0 : 1);
}

# ---- the streams, and sessions that use them ----

sub make_stream
{
	my ($name, $parallelism) = @_;
	my $dedup = $name eq 'once' ? ", event_id => '{n}', dedup_ttl => '1 day'" : '';

	$box->sql(<<~"END");
		CREATE TABLE ${name}_sums (sensor int, kafka bool, n bigint, total numeric, PRIMARY KEY (sensor, kafka));
		SELECT weir.create_stream('$name', columns => 'sensor int NOT NULL, n bigint NOT NULL',
			server => 'kafka', topic => 'readings', tombstones => 'skip', parallelism => $parallelism$dedup);
		CREATE FUNCTION ${name}_add() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			INSERT INTO ${name}_sums AS s
			SELECT sensor, _partition >= 0, count(*), sum(batch.n) FROM batch GROUP BY 1, 2 ORDER BY 1, 2
			ON CONFLICT (sensor, kafka) DO UPDATE SET n = s.n + excluded.n, total = s.total + excluded.total;
			RETURN NULL;
		END \$\$;
		CREATE TRIGGER add AFTER INSERT ON $name REFERENCING NEW TABLE AS batch
			FOR EACH STATEMENT EXECUTE FUNCTION ${name}_add();
		SELECT weir.create_continuous_aggregate('${name}_totals',
			'SELECT sensor, _partition >= 0 AS kafka, count(*) AS n, sum(n) AS total FROM $name GROUP BY 1, 2');
		SELECT weir.create_continuous_aggregate('${name}_windows',
			'SELECT sensor, count(*) AS n, sum(n) AS total, count(DISTINCT _offset * 8 + _partition) AS different FROM $name GROUP BY sensor',
			time_window => weir.tumble('2 seconds'), allowed_lateness => '10 seconds');
		SELECT weir.create_transform('${name}_rows', 'SELECT sensor, n FROM $name WHERE sensor >= 0');
		SELECT weir.create_continuous_aggregate('${name}_chained',
			'SELECT sensor, count(*) AS n, sum(n) AS total FROM ${name}_rows WHERE _partition >= 0 GROUP BY sensor');
		SELECT weir.create_upsert('${name}_latest', 'SELECT sensor, n FROM $name WHERE sensor >= 0', '{sensor}',
			order_by => 'n', delete_when => 'n % 7 = 0');
		SELECT weir.start('$name');
		END
}

# Starts a session that has ingested, or reads, and stays in its transaction.
sub start_session
{
	my ($stream) = @_;
	my ($in, $out, $err) = ('', '', '');
	# a number that Kafka may have brought, or may bring while this is not committed
	my $number = $block + int(rand($block * $blocks));
	my $work = int(rand(2))
	  ? "SELECT accepted FROM weir.ingest('$stream', '{\"sensor\": -1, \"n\": $number}'::text)"
	  : "SELECT count(*) FROM $stream CROSS JOIN generate_series(1, 100)";
	my $session = IPC::Run::start([ 'psql', '-XAtq', @connection, '-c', 'SELECT pg_backend_pid()',
			'-c', "BEGIN; $work; SELECT pg_sleep(600)" ],
		\$in, \$out, \$err, IPC::Run::timeout(120));

	$session->pump until $out =~ /^(\d+)\n/ || !$session->pumpable;
	return ($session, $1);
}

# Ingests a row, and knows whether that is committed.
my %ingested;
my $unique = 0;

sub ingest
{
	my ($stream) = @_;

	$unique--;
	return unless eval { $box->sql("SELECT weir.ingest('$stream', '{\"sensor\": -2, \"n\": $unique}'::text)"); 1 };
	$ingested{$stream}++;
}

# ---- what is killed ----

sub any
{
	my (@of) = @_;

	return $of[ int(rand(@of)) ];
}

my %killed = (worker => 0, backend => 0, server => 0);
my %kill = (
	worker => sub { $box->run('', 'kill-worker', any(sort keys %streams)) },
	server => sub { $box->run('', 'crash') },
	backend => sub {
		my ($session, $pid) = start_session(any(sort keys %streams));

		die "no session\n" unless $pid;
		sleep(rand(0.2));
		kill(KILL => $pid) or die "could not kill backend $pid\n";
		eval { $session->finish };
		$box->await('SELECT 1', '1');
	});

# Each of them once, then as it comes.
my @victims = shuffle(qw(worker backend server));

sub kill_something
{
	my $victim = shift(@victims) // any(qw(worker worker backend server));

	# a moment that has nothing to do with what goes on
	sleep(rand(1));
	if (eval { $kill{$victim}->(); 1 })
	{
		$killed{$victim}++;
	}
	else
	{
		diag("could not kill a $victim: $@");
	}
	ingest($_) foreach keys %streams;
}

# ---- the test ----

$box->run('', 'topic', 'readings', '--partitions', $partitions);
make_stream($_, $streams{$_}) foreach sort keys %streams;

my $file = "$box->{directory}.books";
my $producer = start_producer($file);
my $ended;
kill_something() until ($ended = waitpid($producer, POSIX::WNOHANG()));
is($?, 0, 'the producer has sent everything');
kill_something() for 1 .. 2;
my $books = retrieve($file);
unlink $file;
note(join(', ', map { "$_ killed $killed{$_} times" } sort keys %killed));
ok($killed{worker} && $killed{server} && $killed{backend}, 'all kinds of processes were killed')
  or diag("in this run, that is: with WEIR_SEED=$seed");

# What each sensor should come to.
sub expected
{
	my ($stream) = @_;
	my $once = $stream eq 'once' ? 'once_' : '';
	return join("\n", map { "$_|$books->{\"${once}count\"}[$_]|$books->{\"${once}sum\"}[$_]" } 0 .. $sensors - 1);
}

my $sent = sum(@{ $books->{count} });
my $twice = $sent - sum(@{ $books->{once_count} });
note("$twice of $sent readings were sent again");
my @ends = map { [ split /\t/ ] } split /\n/, $box->run('', 'offsets', 'readings');
my $ends = join("\n", map { "$_->[0]|$_->[2]" } @ends);

# Another consumer's view of the topic: how many messages it has, and partitions and offsets of what is malformed.
sub consume
{
	my $malformed = '';
	my $total = 0;

	IPC::Run::run([ 'kcat', '-C', '-q', '-e', '-b', $env{BOOTSTRAP}, '-t', 'readings', '-Z',
			'-X', 'isolation.level=read_committed', '-f', "%p|%o|%s\n" ],
		'>', IPC::Run::new_chunker, sub {
			$total++;
			$malformed .= $_[0] if $_[0] !~ /(?:\}|NULL)$/;
		}) or die 'kcat failed';
	return ($total, $malformed);
}

# The broker may write the last transactions' ends after it has confirmed them.
my $committed = $sent + $books->{tombstones} + @{ $books->{malformed} };
my $deadline = time + 60;
my ($total, $malformed) = consume();
($total, $malformed) = consume() while $total < $committed && time < $deadline;
my $letters = join("\n", sort split(/\n/, $malformed));
is(join("\n", sort map { s/^\d+\|\d+\|//r } split(/\n/, $malformed)), join("\n", sort @{ $books->{malformed} }),
	'another consumer finds what was produced');

# it may be recovering from the last kill
$box->await('SELECT 1', '1');
foreach my $stream (sort keys %streams)
{
	my $expected = expected($stream);
	$box->sql("SELECT weir.wait('$stream', '120 s')");
	is($box->sql("SELECT sensor, n, total FROM ${stream}_sums WHERE kafka ORDER BY 1"), $expected,
		"$stream: every reading is counted once");
	is($box->sql("SELECT sensor, n, total FROM ${stream}_totals WHERE kafka ORDER BY 1"), $expected,
		"$stream: in a continuous aggregate, too");
	is($box->sql("SELECT sensor, sum(n), sum(total) FROM ${stream}_windows WHERE sensor >= 0 GROUP BY 1 ORDER BY 1"), $expected,
		"$stream: and in one with windows");
	is($box->sql("SELECT count(*) FILTER (WHERE different <> n AND sensor >= 0) FROM ${stream}_windows"), '0',
		"$stream: nothing twice");
	is($box->sql("SELECT sensor, count(*), sum(n) FROM ${stream}_rows GROUP BY 1 ORDER BY 1"), $expected,
		"$stream: a transform has a row of each");
	is($box->sql("SELECT count(*) - count(DISTINCT (_partition, _offset)) FROM ${stream}_rows"), '0', "$stream: and none twice");
	is($box->sql("SELECT * FROM ${stream}_chained ORDER BY 1"), $expected, "$stream: so does an aggregate over that");
	is($box->sql("SELECT sensor, n FROM ${stream}_latest ORDER BY 1"),
		$box->sql("SELECT * FROM (SELECT sensor, max(n) AS n FROM ${stream}_rows GROUP BY 1) x WHERE n % 7 <> 0 ORDER BY 1"),
		"$stream: an upsert has the latest of each that is not deleted");
	is($box->sql("SELECT * FROM weir.verify('${stream}_latest')"), '', "$stream: and weir.verify agrees");
	is($box->sql("SELECT n FROM ${stream}_sums WHERE NOT kafka"), $ingested{$stream},
		"$stream: so is what was ingested and committed, and nothing else");
	is(join("\n", sort split(/\n/, $box->sql("SELECT partition, kafka_offset, convert_from(value, 'UTF8')"
		  . " FROM weir.dead_letters WHERE stream = '$stream'"))), $letters,
		"$stream: what is malformed is a dead letter, once");
	is($box->sql("SELECT count(*) FROM weir.audit('$stream') WHERE NOT balanced"), '0', "$stream: the books balance");
	is($box->sql("SELECT sum(consumed), sum(skipped), sum(duplicate) FROM weir.audit('$stream') WHERE partition >= 0"),
		"$total|$books->{tombstones}|" . ($stream eq 'once' ? $twice : 0), "$stream: every message is accounted for");
	is($box->sql("SELECT partition, applied_offset FROM weir.stream_stats WHERE stream = '$stream'"
		  . " AND partition >= 0 ORDER BY 1"), $ends, "$stream: and all are applied");
}
unlike($box->run('', 'log', '-n', '100000'), qr/signal (?:6|11)|PANIC/, 'no process crashed by itself');

$box->down;
done_testing();
