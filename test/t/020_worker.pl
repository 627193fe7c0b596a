# Workers and their launcher, with a mock broker that can be made to fail.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $box = Sandbox->new('mock', 'max_worker_processes=7');

$box->run('', 'topic', 'a', '--partitions', 3);
$box->produce('a', 1, 100);
$box->stream('a', 'a');
$box->poll('SELECT count(*), sum(id) FROM a', '100\|5050', 'a stream reads what is there');
$box->poll_state('a', 'idle', 'and is idle at the end');
$box->produce('a', 101, 200);
$box->poll('SELECT count(*), sum(id) FROM a', '200\|20100', 'and what comes');

# A worker that dies is replaced.
my $pid = $box->worker('a', 'pid');
$box->sql("SELECT pg_terminate_backend($pid)");
$box->poll("SELECT pid <> $pid FROM weir_internal.worker_slots() WHERE pid IS NOT NULL", 't',
	'a terminated worker is replaced');
$box->produce('a', 201, 300);
$box->poll('SELECT count(*), sum(id) FROM a', '300\|45150', 'and nothing comes twice');

# Stopping frees the process, starting goes on from there.
$box->sql("SELECT weir.stop('a')");
$box->poll('SELECT count(*) FROM weir_internal.worker_slots()', '0', 'a stopped stream has no worker');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir worker'", '0',
	'and no process');
$box->produce('a', 301, 400);
$box->sql("SELECT weir.start('a')");
$box->poll('SELECT count(*), sum(id) FROM a', '400\|80200', 'started again it goes on');

# Units of parallelism share the partitions.
$box->run('', 'topic', 'p', '--partitions', 4);
$box->stream('p', 'p', 'parallelism => 2');
$box->produce('p', 1, 200);
$box->poll('SELECT count(*), sum(id) FROM p', '200\|20100', 'two workers read all partitions');
is($box->sql("SELECT count(DISTINCT pid) FROM weir_internal.worker_slots()"
	  . " WHERE stream = 'p'::regclass"), '2', 'in two processes');

# Two launchers, pg_cron, three workers: one process is left.
$box->stream('full', 'a', 'parallelism => 4');
$box->poll("SELECT bool_or(state = 'waiting for a slot' AND last_hint ~ 'max_worker_processes')"
	  . " FROM weir_internal.worker_slots()", 't', 'workers wait for processes, and say so');
$box->sql("SELECT weir.stop('p')");
$box->poll("SELECT count(*) FROM weir_internal.worker_slots()"
	  . " WHERE stream = 'full'::regclass AND state = 'waiting for a slot'", '0|1',
	'and take those that become free');
$box->sql("SELECT weir.drop_stream('full')");
$box->poll("SELECT count(*) FROM weir_internal.worker_slots() WHERE stream NOT IN"
	  . " (SELECT oid FROM pg_class)", '0', 'a dropped stream leaves no worker');

# The broker goes away and comes back.
$box->poll_state('a', 'idle|running', 'before');
$box->run('', 'broker', 'kill');
$box->poll_state('a', 'retrying', 'no broker: retrying');
like($box->worker('a', 'last_error'), qr/refused|disconnected/i, 'in plain words');
my $begin = time;
$box->run('', 'restart');
cmp_ok(time - $begin, '<', 10, 'the server restarts without a broker');
$box->poll_state('a', 'retrying', 'still none');
$box->run('', 'broker', 'start');
$box->produce('a', 401, 500);
$box->poll('SELECT count(*), sum(id) FROM a', '500\|125250', 'it comes back by itself');
$box->poll_state('a', 'idle|running', 'and says so');

# A broker that hangs breaks no connection.
$box->run('', 'broker', 'pause');
$box->poll_state('a', 'retrying', 'a silent broker: retrying');
like($box->worker('a', 'last_error'), qr/has not answered/, 'in plain words');
$begin = time;
$box->sql("SELECT weir.stop('a')");
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir worker'", '0',
	'a stream stops while its broker hangs');
cmp_ok(time - $begin, '<', 5, 'at once');
$box->run('', 'broker', 'resume');
$box->sql("SELECT weir.start('a')");

# kill -9 restarts the server, and the streams with it.
$box->poll_state('a', 'idle|running', 'before the crash');
$box->run('', 'kill-worker', 'a');
$box->produce('a', 501, 600);
$box->poll("SELECT sum(consumed) FROM weir.stream_stats WHERE stream = 'a'", '600',
	'exactly once through kill -9 of a worker');
$box->run('', 'crash');
$box->produce('a', 601, 700);
$box->poll("SELECT sum(consumed) FROM weir.stream_stats WHERE stream = 'a'", '700',
	'and of the server');
unlike($box->run('', 'log', '-n', '10000'), qr/signal 11|Segmentation/, 'no process crashed by itself');

$box->down;
done_testing();
