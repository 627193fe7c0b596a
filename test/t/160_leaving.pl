# Whatever takes a stream's ground away, its worker is gone, or another one in
# its place, within two seconds: with a broker that is well, with one whose
# packets vanish, and with one that accepts connections and never says a word.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sandbox;
use Test::More;
use Time::HiRes qw(sleep time);

# Two seconds, and as much again twice for a machine with other things to do.
my $soon = 6;

my $box = Sandbox->new('mock');
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 50) || die "could not listen: $!";
my ($bootstrap) = $box->run('', 'env') =~ /BOOTSTRAP=(\S+)/;
my %brokers = (well => $bootstrap, dark => '192.0.2.1:9092', mute => '127.0.0.1:' . $silent->sockport);

$box->run('', 'topic', 't', '--partitions', 2);
$box->produce('t', 1, 100);

my $node = PostgreSQL::Test::Cluster->new('leaving');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_weir'\nmax_worker_processes = 32\nweir.probe_timeout = 0\n");
$node->start;

# Runs code, and says whether a query is true soon after.
sub soon
{
	my ($name, $query, $code) = @_;
	my $begin = time;
	my $took;

	$code->();
	do
	{
		sleep 0.02 if defined $took;
		$took = time - $begin;
	} until $node->safe_psql('postgres', $query) eq 't' || $took > 60;
	cmp_ok($took, '<', $soon, $name);
}

sub sql
{
	my ($query, $database) = @_;

	return $node->safe_psql($database // 'postgres', "SET client_min_messages = error; $query");
}

sub pids
{
	my ($database, $streams) = @_;
	my $pids = join ',', split /\n/, sql("SELECT pid FROM weir.status WHERE stream ~ '$streams' AND pid IS NOT NULL", $database);

	isnt($pids, '', "workers of $streams run");
	return $pids || 0;
}

sub gone
{
	my ($pids) = @_;

	return "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid IN ($pids))";
}

# The streams have workers again, which are others than before.
sub others
{
	my ($pids) = @_;

	return "SELECT count(*) = 6 AND bool_and(pid IS NOT NULL AND pid NOT IN ($pids)) FROM weir.status";
}

# A statement for each of the streams a_…, whose kind stands for %s.
sub each_kind
{
	my ($statement) = @_;

	sql(join '; ', map { $statement =~ s/%s/$_/gr } sort keys %brokers);
}

# Makes servers, and streams that have workers, in these states.
sub make_streams
{
	my ($database, $prefix, @states) = @_;
	my $owner = $prefix eq 'b_' ? 'app' : 'postgres';
	my $states = @states ? 'state IN (' . join(', ', map { "'$_'" } @states) . ')' : 'true';

	for my $kind (sort keys %brokers)
	{
		sql(qq{CREATE SERVER $prefix$kind FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '$brokers{$kind}');
			GRANT USAGE ON FOREIGN SERVER $prefix$kind TO PUBLIC;
			SET ROLE $owner;
			SELECT weir.create_stream('$prefix$kind', 'id int, ts text', server => '$prefix$kind', topic => 't', parallelism => 2);
			SELECT weir.start('$prefix$kind')}, $database);
	}
	ok($node->poll_query_until($database, "SELECT count(*) = 6 AND bool_and(pid IS NOT NULL AND $states)
		FROM weir.status WHERE stream LIKE '$prefix%'"), "$prefix: streams run, or try to");
}

sql('CREATE EXTENSION pg_weir; CREATE ROLE app; GRANT CREATE ON SCHEMA public TO app');
make_streams('postgres', 'a_', 'running', 'idle', 'retrying');
my $pids = pids('postgres', '^a_');
soon('terminated workers are replaced', others($pids), sub { sql("SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[$pids]) pid") });
$pids = pids('postgres', '^a_');
soon('stopped streams have no worker', gone($pids), sub { each_kind(q{SELECT weir.stop('a_%s')}) });
soon('started, they have', others(0), sub { each_kind(q{SELECT weir.start('a_%s')}) });
# while they are at their very beginning
$pids = pids('postgres', '^a_');
soon('stopped again, they have none', gone($pids), sub { each_kind(q{SELECT weir.stop('a_%s')}) });
soon('started again', others(0), sub { each_kind(q{SELECT weir.start('a_%s')}) });
for my $change ('ALTER SERVER a_%s OPTIONS (ADD "client.id" \'x\')', 'ALTER SERVER a_%s RENAME TO renamed_%s',
	'CREATE USER MAPPING FOR postgres SERVER renamed_%s OPTIONS ("sasl.username" \'x\')', 'DROP USER MAPPING FOR postgres SERVER renamed_%s')
{
	$pids = pids('postgres', '^a_');
	soon("other workers after $change", others($pids), sub { each_kind($change) });
}
$pids = pids('postgres', '^a_');
soon('servers that are dropped take workers along', gone($pids), sub { each_kind('DROP SERVER renamed_%s CASCADE') });

# Streams that are dropped, one way or another.
make_streams('postgres', 'b_');
$pids = pids('postgres', '^b_dark$');
soon('dropped by weir.drop_stream', gone($pids), sub { sql(q{SELECT weir.drop_stream('b_dark')}) });
$pids = pids('postgres', '^b_mute$');
soon('dropped by DROP TABLE', gone($pids), sub { sql('DROP TABLE b_mute') });
$pids = pids('postgres', '^b_well$');
soon('dropped with their owner', gone($pids), sub { sql('DROP OWNED BY app; DROP ROLE app') });

# The extension itself, and the database.
for my $how ('DROP EXTENSION pg_weir CASCADE', 'DROP OWNED BY boss CASCADE', 'DATABASE')
{
	sql('CREATE DATABASE other');
	sql('CREATE ROLE boss SUPERUSER') if $how =~ /boss/;
	sql(($how =~ /boss/ ? 'SET ROLE boss; ' : '') . 'CREATE EXTENSION pg_weir', 'other');
	make_streams('other', 'c_');
	$pids = pids('other', '^c_');
	soon("$how leaves no worker", gone($pids), sub { $how eq 'DATABASE' ? sql('DROP DATABASE other') : sql($how, 'other') });
	sql('DROP DATABASE IF EXISTS other');
}
soon('nothing is left', 'SELECT count(*) = 0 FROM weir_internal.worker_slots()', sub { });

# The server, while workers run, begin, and wait.
make_streams('postgres', 'd_', 'running', 'idle', 'retrying');
my $begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', $soon, 'a shutdown waits for no broker');
$node->start;
$begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', $soon, 'nor where workers have just begun');
$node->start;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 200 FROM d_well, generate_series(1, 2)}), 'whoever can, goes on');
ok($node->poll_query_until('postgres', q{SELECT bool_and(last_error IS NOT NULL) FROM weir.status WHERE stream IN ('d_dark', 'd_mute')}),
	'whoever cannot, says so');
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP|deadlock/, 'no process crashed, none stood in another one\'s way');

$box->down;
done_testing();
