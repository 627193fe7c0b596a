# The extension comes and goes, databases are copied, the server crashes: what
# is logged stays, staging is a cache.  Without the library preloaded.

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('lifecycle');
# Whatever the machine says: streams need UTF8.
$node->init(extra => [ "--encoding=UTF8", "--locale=C.UTF-8" ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;

# Returns what psql says of a query, errors included.
sub says
{
	my ($database, $query) = @_;
	my ($status, $out, $err) = $node->psql($database, $query);
	return join "\n", grep { $_ ne '' } $out, $err;
}

sub ingest
{
	my ($database, $stream, $id) = @_;
	return says($database, qq{SELECT * FROM weir.ingest('$stream', '{"id": $id, "ts": "2026-01-01T00:00:${id}Z"}'::text)});
}

$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
	SELECT weir.create_stream('s', 'id int, ts timestamptz', event_time => 'ts');
	SELECT weir.create_stream('k', 'id int', server => 'kafka', topic => 't');
	CREATE INDEX ON s (id);
	CREATE TABLE totals (n bigint);
	INSERT INTO totals VALUES (0);
	CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE totals SET n = totals.n + (SELECT count(*) FROM new_rows);
		RETURN NULL;
	END
	$$;
	CREATE TRIGGER add_up AFTER INSERT ON s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION add_up();
});
is(ingest('postgres', 's', 11), '1|0|0|0', 'ingest works without preloading');
is(ingest('postgres', 's', '"x"'), '0|0|1|0', 'and dead-letters');

# Starting says what is missing.
like(says('postgres', q{SELECT weir.start('k')}), qr/pg_weir is not in shared_preload_libraries/, 'starting does not');
is($node->safe_psql('postgres', q{SELECT state FROM weir.status WHERE stream = 'k'}), 'stopped', 'it stays stopped');

# A copied database is another one.
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
is(ingest('copy', 's', 12), '1|0|0|0', 'a copied database has its streams');
is($node->safe_psql('copy', 'SELECT id, _offset, _watermark FROM s ORDER BY 1'),
	"11|0|-infinity\n12|2|2026-01-01 00:00:11+00", 'with rows, offsets and watermarks');
is($node->safe_psql('postgres', 'SELECT n FROM totals'), '1', 'of its own');

# A clean restart keeps staging, a crash empties it; the rest stays.
$node->restart;
is($node->safe_psql('postgres', 'SELECT id FROM s'), '11', 'a restart keeps the rows');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM s'), '0', 'a crash empties staging');
is($node->safe_psql('postgres', q{SELECT * FROM weir.audit('s')}), '0|2|1|0|1|0|0|0|t', 'the account is whole');
is($node->safe_psql('postgres', 'SELECT count(*) FROM weir.dead_letters'), '1', 'dead letters are there');
is($node->safe_psql('postgres', 'SELECT n FROM totals'), '1', 'what is derived is there');
is(ingest('postgres', 's', 13), '1|0|0|0', 'and it goes on');
is($node->safe_psql('postgres', 'SELECT id, _offset, _watermark FROM s'), '13|2|2026-01-01 00:00:11+00', 'where it was');
is($node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT id FROM s WHERE id = 13'), '13', 'with its indexes');

# A crash in the middle of a transaction leaves nothing of it.
my $session = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		q{BEGIN}, '-c', q{SELECT * FROM weir.ingest('s', '{"id": 14, "ts": "2026-01-01T00:00:14Z"}'::text)},
		'-c', q{SELECT pg_sleep(600)} ],
	'>', \my $out, '2>', \my $err,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'}),
	'a transaction has ingested');
$node->stop('immediate');
$session->finish;
$node->start;
is($node->safe_psql('postgres', q{SELECT applied_offset FROM weir.stream_stats WHERE stream = 's'}), '3', 'no offset moves without commit');

# DROP EXTENSION takes everything of ours, once asked to.
like(says('postgres', 'DROP EXTENSION pg_weir'), qr/cannot drop extension pg_weir because other objects depend on it/, 'streams keep the extension');
$node->safe_psql('postgres', 'SET client_min_messages = warning; DROP EXTENSION pg_weir CASCADE');
is($node->safe_psql('postgres', q{
	SELECT to_regnamespace('weir') IS NULL, to_regnamespace('weir_internal') IS NULL, (SELECT count(*) FROM pg_event_trigger)}),
	't|t|0', 'with CASCADE it goes');
is($node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	SELECT weir.create_stream('s2', 'id int, ts timestamptz', event_time => 'ts');
	SELECT accepted FROM weir.ingest('s2', '{"id": 1, "ts": "2026-01-01T00:00:01Z"}'::text)}), "s2\n1", 'and may come again');
is(says('postgres', 'DROP TABLE s, s2'), '', 'what is left is an ordinary table');
is(ingest('copy', 's', 15), '1|0|0|0', 'other databases do not mind');

$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no process was killed by a signal');
done_testing();
