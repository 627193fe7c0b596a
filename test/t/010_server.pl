# The connection to Kafka where it goes wrong: weir.test_server says why, in
# time, and never harms the server.  The library is not preloaded here.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = PostgreSQL::Test::Cluster->new('server');
# Whatever the machine says: streams need UTF8.
$node->init(extra => [ "--encoding=UTF8", "--locale=C.UTF-8" ]);
$node->start;

# statement_timeout is a net below tests that could hang.
$node->append_conf('postgresql.conf', "statement_timeout = '60s'\n");
$node->reload;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_weir');

# A crash of any process empties unlogged tables: this one is looked at last.
$node->safe_psql('postgres',
	'CREATE UNLOGGED TABLE witness AS SELECT generate_series(1, 10) AS n');

# Makes a server and returns what weir.test_server says of it.
sub test_server
{
	my ($bootstrap) = @_;

	$node->safe_psql('postgres', qq{
		DROP SERVER IF EXISTS kafka;
		CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '$bootstrap');
	});
	return $node->safe_psql('postgres', q{SELECT * FROM weir.test_server('kafka')});
}

# Opens a port that accepts connections and never says a word.
sub silent_port
{
	return IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		Proto => 'tcp',
		Listen => 20) || die "could not listen: $!";
}

# Starts weir.test_server in a session of its own; returns when its worker has connected.
sub start_test_server
{
	my ($listener, $out) = @_;
	my $address = '127.0.0.1:' . $listener->sockport;

	$node->safe_psql('postgres', qq{
		DROP SERVER IF EXISTS kafka;
		CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '$address');
	});
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-c', q{/* probing */ SELECT * FROM weir.test_server('kafka')} ],
		'>', $out, '2>&1',
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	IO::Select->new($listener)->can_read($PostgreSQL::Test::Utils::timeout_default)
	  or die 'the worker did not connect';
	return ($session, scalar $listener->accept);
}

# Is the connection closed, once what was sent on it has been read?
sub closes
{
	my ($connection) = @_;
	my $select = IO::Select->new($connection);
	my $buf;

	while ($select->can_read($PostgreSQL::Test::Utils::timeout_default))
	{
		return 1 unless sysread($connection, $buf, 1024);
	}
	return 0;
}

# Nobody listens.
my $closed = silent_port();
my $port = $closed->sockport;
close $closed;
is(test_server("127.0.0.1:$port"),
	qq{connect|f|could not connect to "127.0.0.1:$port": connection refused},
	'a port where nobody listens');

# There is no such host.
like(test_server('no-such-host.invalid:9092'),
	qr/^dns\|f\|could not resolve the host name of "no-such-host.invalid:9092": /,
	'a host that does not exist');

# Each of the brokers named has its row.
like(test_server("127.0.0.1:$port,no-such-host.invalid:9092"),
	qr/^connect\|f\|.*\ndns\|f\|[^\n]*$/, 'one row for each broker');

# Somebody listens and never answers.
my $listener = silent_port();
like(test_server('127.0.0.1:' . $listener->sockport),
	qr/^connect\|f\|no answer from .* within \d+ s: it accepts connections, but does not answer as a Kafka broker/,
	'a port that never answers');

# Somebody answers, but does not speak Kafka.
my $http = fork();
if ($http == 0)
{
	for (;;)
	{
		my $connection = $listener->accept or last;
		sysread($connection, my $buf, 1024);
		syswrite($connection, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
		close $connection;
	}
	POSIX::_exit(0);
}
like(test_server('127.0.0.1:' . $listener->sockport),
	qr/^connect\|f\|connection to .* failed: /, 'a port that speaks another language');
kill 'KILL', $http;
waitpid $http, 0;
close $listener;

# A cancelled session takes its worker along.
$listener = silent_port();
my ($out, $session, $connection) = ('');
($session, $connection) = start_test_server($listener, \$out);
$node->safe_psql('postgres',
	q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '/* probing */%'});
$session->finish;
like($out, qr/canceling statement due to user request/, 'the session is cancelled');
ok(closes($connection), 'the worker of a cancelled session goes');
close $listener;

# The same when the session is terminated.
$listener = silent_port();
$out = '';
($session, $connection) = start_test_server($listener, \$out);
$node->safe_psql('postgres',
	q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '/* probing */%'});
$session->finish;
ok(closes($connection), 'the worker of a terminated session goes');
close $listener;

is($node->safe_psql('postgres', 'SELECT count(*) FROM witness'), '10', 'nothing has crashed');

# A shutdown does not wait for a probe.
$listener = silent_port();
($session, $connection) = start_test_server($listener, \$out);
my $before = Time::HiRes::time();
$node->stop('fast');
note sprintf('shutdown took %.1f s', Time::HiRes::time() - $before);
$session->finish;
ok(closes($connection), 'a shutdown ends the worker');
close $listener;

# No room for a worker.
$node->append_conf('postgresql.conf', "max_worker_processes = 0\n");
$node->start;
is(test_server("127.0.0.1:$port"),
	'probe|f|there is no slot for a background worker. max_worker_processes is 0: raise it, or stop other workers.',
	'no slot for a worker');
is($node->safe_psql('postgres', 'SELECT count(*) FROM witness'), '10', 'the shutdown was clean');
$node->stop;

unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no process was killed by a signal');

done_testing();
