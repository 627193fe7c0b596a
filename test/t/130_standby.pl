# Failover to an asynchronous standby while a stream is read: results and
# applied offsets step back together, the new primary goes on by itself, staged
# rows come back from Kafka, and nothing counts twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sandbox;
use Test::More;
use Time::HiRes qw(sleep time);

my $partitions = 3;
my $sensors = 7;
my $block = 1000;
my $next = 1;           # the number of the next reading
my $malformed = 0;      # every hundredth message is no JSON

my $box = Sandbox->new('kafka');
my ($bootstrap) = $box->run('', 'env') =~ /BOOTSTRAP=(\S+)/;

# ---- messages ----

sub send_block
{
	my ($from) = @_;

	$box->run(join('', map { $_ % 100 ? qq({"sensor": @{[$_ % $sensors]}, "n": $_}\n) : "broken $_\n" } $from .. $from + $block - 1),
		'produce', 'readings');
}

# Sends blocks in a process of its own, one after the other.
sub start_producer
{
	my ($blocks) = @_;
	my $pid = fork() // die "could not fork: $!";

	if ($pid == 0)
	{
		my $done = eval {
			for (1 .. $blocks)
			{
				send_block($next);
				$next += $block;
				sleep 0.05;
			}
			1;
		};
		print STDERR "producer: $@" unless $done;
		POSIX::_exit($done ? 0 : 1);    # the sandbox and the clusters are our parent's
	}
	$next += $blocks * $block;
	return $pid;
}

sub end_producer
{
	my ($pid) = @_;

	waitpid $pid, 0;
	is($?, 0, 'the producer has sent everything');
}

# ---- clusters ----

# Makes a standby of a server, which follows it.
sub make_standby
{
	my ($name, $primary) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	$standby->start;
	return $standby;
}

# Polls a query on a server; PostgreSQL's own patience is three minutes.
sub poll
{
	my ($node, $query, $name, $expected) = @_;

	ok($node->poll_query_until('postgres', $query, $expected // 't'), $name);
}

# Says what psql says of an error.
sub error_of
{
	my ($node, $query) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', $query);

	return $stderr;
}

my $consumed = 'SELECT coalesce(sum(consumed), 0) FROM weir.stream_stats';
# In one snapshot: what triggers wrote, and what the books say.
my $agreement = q{SELECT (SELECT sum(n) FROM sums) = sum(staged)
	AND (SELECT count(*) FROM weir.dead_letters) = sum(dead_lettered) AND bool_and(balanced) FROM weir.audit('readings')};

# What every standby is, while its primary works.
sub check_standby
{
	my ($standby) = @_;

	is($standby->safe_psql('postgres', q{SELECT state, last_error, last_hint FROM weir.status}),
		'standby||Streams run here once this server is promoted.', 'the status of a standby says what it is');
	is($standby->safe_psql('postgres', 'SELECT count(*) FROM weir.stream_stats'), $partitions, 'statistics can be read');
	for (1 .. 5)
	{
		is($standby->safe_psql('postgres', $agreement), 't', 'results and offsets agree at any moment');
	}
	is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_weir%'}), '0',
		'no process of pg_weir runs');
	like(error_of($standby, 'SELECT count(*) FROM readings'), qr/cannot access temporary or unlogged relations during recovery/,
		'staged rows cannot be read');
	for my $call (q{start('readings')}, q{stop('readings')}, q{wait('readings')}, q{ingest('readings', '{}'::text)},
		q{create_stream('other', 'n int')})
	{
		my ($name) = $call =~ /^(\w+)/;

		like(error_of($standby, "SELECT weir.$call"), qr/cannot execute weir\.$name\(\) during recovery/, "weir.$name says so");
	}
	is($standby->safe_psql('postgres', q{SELECT bool_and(ok) FROM weir.test_server('kafka')}), 't', 'the broker can be tried out');
}

# Everything sent so far, each once.
sub check_all
{
	my ($node, $what) = @_;
	my $last = $next - 1;
	my @good = grep { $_ % 100 } 1 .. $last;
	my (@n, @total);

	$n[ $_ % $sensors ]++, $total[ $_ % $sensors ] += $_ for @good;
	$node->safe_psql('postgres', q{SELECT weir.wait('readings', '120 s')});
	is($node->safe_psql('postgres', 'SELECT sensor, n, total FROM sums ORDER BY 1'),
		join("\n", map { "$_|$n[$_]|$total[$_]" } 0 .. $sensors - 1), "$what: every reading counts once");
	is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT value) FROM weir.dead_letters}),
		join('|', ($last - @good) x 2), "$what: every malformed one is a dead letter once");
	is($node->safe_psql('postgres', $agreement), 't', "$what: the books balance");
	is($node->safe_psql('postgres', $consumed), $last, "$what: and have every message");
	poll($node, q{SELECT bool_and(state IN ('running', 'idle')) AND coalesce(max(refill_left), 0) = 0 FROM weir.status},
		"$what: the refill comes to its end");
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n), max(refill_lost) IS NULL FROM readings, weir.status WHERE worker = 0'),
		join('|', (scalar @good) x 2, 't'), "$what: the rows are all back, each once");
}

# ---- a primary, a stream, a standby ----

my $first = PostgreSQL::Test::Cluster->new('first');
$first->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$first->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_weir'\nmax_worker_processes = 16\ntimezone = 'UTC'\n");
$first->start;

$box->run('', 'topic', 'readings', '--partitions', $partitions);
$first->safe_psql('postgres', qq{
	CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '$bootstrap');
	SELECT weir.create_stream('readings', 'sensor int, n bigint', server => 'kafka', topic => 'readings', parallelism => 2);
	CREATE TABLE sums (sensor int PRIMARY KEY, n bigint, total numeric);
	CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO sums AS s SELECT sensor, count(*), sum(n) FROM batch GROUP BY sensor ORDER BY sensor
		ON CONFLICT (sensor) DO UPDATE SET n = s.n + excluded.n, total = s.total + excluded.total;
		RETURN NULL;
	END \$\$;
	CREATE TRIGGER add_up AFTER INSERT ON readings REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION add_up();
	SELECT weir.start('readings')});
my $second = make_standby('second', $first);

# ---- the primary is killed, and the standby had fallen behind ----

my $producer = start_producer(40);
poll($second, "SELECT ($consumed) > 5000", 'the standby follows');
check_standby($second);
# cut off, it falls behind
$second->append_conf('postgresql.conf', "primary_conninfo = ''\n");
$second->reload;
poll($first, 'SELECT count(*) = 0 FROM pg_stat_replication', 'the standby is cut off');
my $behind = $second->safe_psql('postgres', $consumed);
poll($first, "SELECT ($consumed) > $behind + 3000", 'the primary goes on');
$first->stop('immediate');
cmp_ok($second->safe_psql('postgres', $consumed), '<', $behind + 3000, 'the standby lacks what came last');
$second->promote;
poll($second, q{SELECT count(*) = 2 AND bool_and(state IN ('refilling', 'running', 'idle')) FROM weir.status},
	'promoted, it reads by itself');
end_producer($producer);
check_all($second, 'killed');

# ---- the primary is shut down in order ----

my $third = make_standby('third', $second);
check_standby($third);
my $begin = time;
$third->restart;
cmp_ok(time - $begin, '<', 20, 'a standby restarts without delay');
$producer = start_producer(20);
poll($second, "SELECT ($consumed) > @{[$next - 20 * $block + 3000]}", 'messages are on their way');
$second->stop('fast');
$third->promote;
end_producer($producer);
check_all($third, 'shut down');

$third->stop;
unlike(slurp_file($_->logfile), qr/terminated by signal (?:6|11)|PANIC/, 'no process of ' . $_->name . ' crashed by itself')
  for $first, $second, $third;

$box->down;
done_testing();
