# An event id counts if and only if the transaction that has brought it is
# committed: whoever waits for that, a worker or a session, and for whatever
# transaction, prepared ones included, over restarts and crashes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;

my $box = Sandbox->new('mock', 'max_prepared_transactions=10');

$box->run('', 'topic', 'e', '--partitions', 1);
$box->stream('e', 'e', "event_time => 'ts', event_id => '{id}', dedup_ttl => '1 day'");
$box->sql(<<'END');
	SELECT weir.create_stream('s', columns => 'id int, ts timestamptz', time_unit => 'ms', event_time => 'ts',
		partitions => 2, event_id => '{id}', dedup_ttl => '1 day');
	CREATE FUNCTION bring(stream regclass, id int, p int) RETURNS text LANGUAGE sql AS $$
		SELECT CASE WHEN accepted = 1 THEN 'accepted' WHEN duplicate = 1 THEN 'duplicate' END
		FROM weir.ingest(stream, format('{"id": %s, "ts": 1700000000000}', id), partition => p)
	$$;
END

# A statement that brings an event to the stream of the topic, or to a partition of the other one.
sub bring
{
	my ($id, $partition) = @_;

	return defined $partition ? "SELECT bring('s', $id, $partition)" :
	  qq(SELECT weir.ingest('e', '{"id": $id, "ts": 1700000000000}'::text));
}

# Waits until the worker, or else a session, waits for another transaction's end.
sub poll_waiting
{
	my ($who, $name) = @_;
	my $is = $who eq 'worker' ? '' : 'NOT';

	$box->poll("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
		  . " AND pid $is IN (SELECT pid FROM weir_internal.worker_slots() WHERE pid IS NOT NULL)", '1', $name);
}

# Waits until the worker is done with so many messages, of which so many were duplicates.
sub poll_counted
{
	my ($consumed, $duplicates, $name) = @_;

	$box->poll("SELECT consumed, duplicate, staged FROM weir.stream_stats WHERE stream = 'e' AND partition = 0",
		join('\|', $consumed, $duplicates, $consumed - $duplicates), $name);
}

# Begins a session that brings an event, and may have to wait.
sub bringing
{
	my $session = $box->session(bring(@_));

	$session->{process}->pump while length $session->{in};
	return $session;
}

# What a session that was waiting has said.
sub last_word
{
	my ($session) = @_;

	$session->{process}->finish;
	return $session->{out} =~ /^(accepted|duplicate)$/m ? $1 : "nothing: $session->{err}";
}

# A worker comes to an id that an open transaction of a session has brought.
my $session = $box->busy_session('BEGIN; ' . bring(1));
$box->produce('e', 1, 2);
poll_waiting('worker', 'a worker waits for a session that has brought the same id');
is($box->sql("SELECT consumed FROM weir.stream_stats WHERE stream = 'e' AND partition = 0"), '0', 'and has applied nothing');
$box->end_session($session, 'COMMIT');
poll_counted(2, 1, 'which commits: a duplicate');
is($box->sql('SELECT id, _partition FROM e ORDER BY 1'), "1|-1\n2|0", "the session's event is there, once");

$session = $box->busy_session('BEGIN; ' . bring(3));
$box->produce('e', 3, 4);
poll_waiting('worker', 'it waits again');
$box->end_session($session, 'ROLLBACK');
poll_counted(4, 1, 'the session rolls back: no duplicate');

# Ids of savepoints: one taken back, one taken back and brought again, one of a savepoint in another.
$session = $box->busy_session(join('; ', 'BEGIN', bring(5), 'SAVEPOINT a', bring(6), bring(7), 'SAVEPOINT b', bring(8),
		'RELEASE b', 'ROLLBACK TO a', bring(7), 'SAVEPOINT c', bring(9)));
$box->produce('e', 6, 6);
poll_counted(5, 1, 'an id that was taken back to a savepoint holds nobody up');
$box->produce('e', 7, 9);
poll_waiting('worker', 'one that was brought again does');
$box->end_session($session, 'ROLLBACK TO c; COMMIT');
poll_counted(8, 2, 'and counts, but not those that were taken back');

# A session that dies is one that rolls back.
$session = $box->busy_session('BEGIN; ' . bring(10));
$box->produce('e', 10, 10);
poll_waiting('worker', 'a worker waits');
$box->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'");
poll_counted(9, 2, 'for a session that is ended');
eval { $session->{process}->finish };

# Prepared transactions, and whoever waits for them, outlive the server.
$box->sql('BEGIN; ' . bring(21, 0) . '; ROLLBACK');
$box->sql('BEGIN; ' . bring(20) . "; PREPARE TRANSACTION 'commits'");
$box->sql('BEGIN; ' . bring(20, 0) . "; PREPARE TRANSACTION 'rolls back'");
$box->produce('e', 20, 21);
poll_waiting('worker', 'a worker waits for a prepared transaction');
$box->run('', 'restart');
poll_waiting('worker', 'and for the same after a restart');
my $other = bringing(20, 1);
$box->await("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted", '2');
$box->run('', 'crash');
eval { $other->{process}->finish };
poll_waiting('worker', 'and after a crash');
$other = bringing(20, 1);
poll_waiting('session', 'so does a session');
$box->sql("ROLLBACK PREPARED 'rolls back'");
is(last_word($other), 'accepted', 'which is told that it was rolled back');
$box->sql("COMMIT PREPARED 'commits'");
poll_counted(11, 3, 'and the worker that the other one was committed');
is($box->sql(bring(20, 0)), 'duplicate', 'what the session has brought is known');
is($box->sql(bring(21, 0)), 'accepted', 'what was rolled back is not');
is($box->sql('BEGIN; ' . bring(22, 0) . "; PREPARE TRANSACTION 'later'; COMMIT PREPARED 'later'; " . bring(22, 1)), "accepted\nduplicate",
	'one that is committed from the same session');

# A crash takes ids in flight along: a session's, and a worker's that were written and not committed.
$session = $box->busy_session('BEGIN; ' . bring(30));
my $lock = $box->busy_session("BEGIN; SELECT FROM weir_internal.stream_partition WHERE stream = 'e'::regclass AND partition = 0 FOR UPDATE");
$box->produce('e', 31, 32);
poll_waiting('worker', 'a worker has written ids, and cannot commit');
$box->run('', 'crash');
eval { $_->{process}->finish } for $session, $lock;
$box->produce('e', 30, 32);
poll_counted(16, 5, 'after a crash ids of both count once');
is($box->sql('SELECT count(*), count(DISTINCT id) FROM e WHERE id >= 30'), '3|3', 'each has one row');
is($box->sql(q{SELECT bool_and(balanced) FROM weir.audit('e')}), 't', 'the books balance');
unlike($box->run('', 'log', '-n', '10000'), qr/signal 11|Segmentation|TRAP/, 'no process crashed by itself');

$box->down;
done_testing();
