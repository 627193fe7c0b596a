# Commands that want a database to themselves, while streams run in it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use Sandbox;
use Test::More;

my $box = Sandbox->new('mock');

sub sql_in
{
	my ($database, $query) = @_;

	return $box->run($query, qw(psql -X -q -A -t -v ON_ERROR_STOP=1 -d), $database);
}

sub poll_in
{
	my ($database, $query, $expected, $name) = @_;
	my $answer;

	for (1 .. 300)
	{
		$answer = eval { sql_in($database, $query) } // "error: $@";
		last if $answer =~ /^(?:$expected)$/;
		select undef, undef, undef, 0.1;
	}
	like($answer, qr/^(?:$expected)$/, $name);
}

my ($server) = $box->run('', 'env') =~ /BOOTSTRAP=(\S+)/;

$box->run('', 'topic', 'a', '--partitions', 1);
$box->produce('a', 1, 100);
$box->sql('CREATE DATABASE app');
sql_in('app', "CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS (\"bootstrap.servers\" '$server');
	SELECT weir.create_stream('a', columns => 'id int, ts timestamptz', server => 'kafka', topic => 'a', time_unit => 'ms');
	SELECT weir.start('a')");
poll_in('app', 'SELECT count(*), sum(id) FROM a', '100\|5050', 'a stream runs in another database');

# As a template: the stream goes on, the copy's does not start.
$box->sql('CREATE DATABASE copy TEMPLATE app');
pass('a database with a running stream can be a template');
$box->produce('a', 101, 200);
poll_in('app', 'SELECT count(*), sum(id) FROM a', '200\|20100', 'its stream goes on');
is(sql_in('copy', 'SELECT state FROM weir.status'), 'stopped', 'the stream of the copy is stopped');
my $copied = sql_in('copy', 'SELECT applied_offset FROM weir.stream_stats');
sql_in('copy', "SELECT weir.start('a')");
poll_in('copy', 'SELECT applied_offset FROM weir.stream_stats', '200', 'and goes on from its own offset when started');
cmp_ok($copied, '<=', 200, 'which was the copy\'s');

# Dumped and restored while it runs: the same.
my %env = $box->run('', 'env') =~ /^([A-Z]+)=(.*)$/mg;
my @connection = ('-h', $env{PGHOST}, '-p', $env{PGPORT}, '-U', $env{PGUSER});
$box->produce('a', 201, 300);
$box->sql('CREATE DATABASE dumped');
IPC::Run::run([ 'pg_dump', @connection, '-Fc', 'app' ], '|', [ 'pg_restore', @connection, '-e', '-d', 'dumped' ])
  or die 'the dump was not restored';
is(sql_in('dumped', 'SELECT state FROM weir.status'), 'stopped', 'the stream of a dump is stopped');
my $dumped = sql_in('dumped', 'SELECT applied_offset, (SELECT count(*) FROM a), consumed FROM weir.stream_stats');
like($dumped, qr/^(\d+)\|\1\|\1$/, 'its rows and offsets are of one moment');
poll_in('app', 'SELECT count(*), sum(id) FROM a', '300\|45150', 'the original goes on');
sql_in('dumped', "SELECT weir.start('a')");
poll_in('dumped', 'SELECT count(*), sum(id), count(DISTINCT id) FROM a', '300\|45150\|300', 'started, it reads what it lacks');
is(sql_in('dumped', 'SELECT consumed FROM weir.stream_stats'), '300', 'and nothing twice');

# Data alone, where nobody has read what the guard of staging tables says.
$box->sql('CREATE DATABASE apart');
for my $part ('-s', '-a')
{
	my $said = '';

	IPC::Run::run([ 'pg_dump', @connection, $part, 'app' ], '|', [ 'psql', @connection, qw(-X -q -d apart) ], '>', \my $out, '2>', \$said)
	  or die "the dump $part was not restored";
	like($said, $part eq '-s' ? qr/^$/ : qr/cannot insert into stream "a_chunk" directly/, "pg_dump $part");
}
is(sql_in('apart', 'SELECT (SELECT count(*) FROM a), consumed FROM weir.stream_stats'), '0|300', 'offsets came over, rows did not');
sql_in('apart', "SELECT weir.start('a')");
poll_in('apart', 'SELECT count(*), sum(id), count(DISTINCT id) FROM a', '300\|45150\|300', 'started, it reads them again');
is(sql_in('apart', 'SELECT consumed FROM weir.stream_stats'), '300', 'and counts nothing twice');

# Renamed.
$box->sql('ALTER DATABASE app RENAME TO application');
$box->produce('a', 301, 400);
poll_in('application', 'SELECT count(*), sum(id) FROM a', '400\|80200', 'a renamed database goes on');

# Whoever may not drop it disturbs nobody.
$box->sql('CREATE ROLE stranger LOGIN CREATEDB');
my $pid = sql_in('application', 'SELECT pid FROM weir.status');
foreach (
	[ 'DROP DATABASE application', 'must be owner of database' ],
	[ 'CREATE DATABASE other TEMPLATE application', 'permission denied to copy database' ])
{
	my ($command, $refusal) = @$_;
	my $refused = !eval { $box->sql("SET ROLE stranger; $command"); 1 };

	ok($refused, "$command is not for a stranger");
	like($@, qr/$refusal/, 'who is told so');
	is(sql_in('application', 'SELECT pid FROM weir.status'), $pid, 'and the worker has not even noticed');
}

# Dropped.
$box->sql('DROP DATABASE application');
$box->sql('DROP DATABASE copy');
$box->sql('DROP DATABASE dumped');
$box->sql('DROP DATABASE apart');
$box->poll('SELECT count(*) FROM weir_internal.worker_slots()', '0', 'dropped databases leave no worker');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir worker'", '0', 'and no process');

done_testing();
