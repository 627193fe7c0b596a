# Commands that want a database to themselves, while streams run in it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

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

# Renamed.
$box->sql('ALTER DATABASE app RENAME TO application');
$box->produce('a', 201, 300);
poll_in('application', 'SELECT count(*), sum(id) FROM a', '300\|45150', 'a renamed database goes on');

# Whoever may not drop it disturbs nobody.
$box->sql('CREATE ROLE stranger LOGIN');
my $pid = sql_in('application', 'SELECT pid FROM weir.status');
my $refused = !eval { $box->sql('SET ROLE stranger; DROP DATABASE application'); 1 };
ok($refused, 'a stranger cannot drop it');
like($@, qr/must be owner of database/, 'and is told so');
is(sql_in('application', 'SELECT pid FROM weir.status'), $pid, 'and the worker has not even noticed');

# Dropped.
$box->sql('DROP DATABASE application');
$box->sql('DROP DATABASE copy');
$box->poll('SELECT count(*) FROM weir_internal.worker_slots()', '0', 'dropped databases leave no worker');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir worker'", '0', 'and no process');

done_testing();
