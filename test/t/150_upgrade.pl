# pg_upgrade: definitions, staged rows, offsets and dead letters come over;
# streams come up stopped, as in any copy, and go on when they are started.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sandbox;
use Test::More;

my $box = Sandbox->new('mock');
my ($bootstrap) = $box->run('', 'env') =~ /BOOTSTRAP=(\S+)/;

# Makes a cluster that is ready for streams.
sub make_cluster
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_weir'\nmax_worker_processes = 16\ntimezone = 'UTC'\n");
	return $node;
}

sub poll
{
	my ($node, $query, $name) = @_;

	ok($node->poll_query_until('postgres', $query), $name);
}

my $old = make_cluster('old');
$old->start;
$box->run('', 'topic', 's', '--partitions', 2);
$box->produce('s', 1, 200);
$box->run("broken\n", 'produce', 's');
$old->safe_psql('postgres', qq{
	CREATE EXTENSION pg_weir;
	CREATE ROLE app;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '$bootstrap');
	CREATE USER MAPPING FOR app SERVER kafka OPTIONS ("sasl.username" 'app');
	SELECT weir.create_stream('s', 'gone int, id int NOT NULL, ts timestamptz', server => 'kafka', topic => 's', time_unit => 'ms',
		event_time => 'ts', parallelism => 2);
	ALTER TABLE s DROP COLUMN gone;
	CREATE INDEX s_id ON s (id);
	CREATE TABLE log (id int, _watermark timestamptz);
	CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO log SELECT id, _watermark FROM batch; RETURN NULL; END';
	CREATE TRIGGER log AFTER INSERT ON s REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION log();
	SELECT weir.create_stream('alone', 'id int');
	SELECT weir.ingest('alone', '{"id": 1}'::text);
	SELECT weir.start('s')});
poll($old, 'SELECT count(*) = 200 FROM log', 'a stream in the old cluster');
poll($old, 'SELECT count(*) = 1 FROM weir.dead_letters', 'with a dead letter');
poll($old, q{SELECT bool_and(state IN ('running', 'idle')) FROM weir.status WHERE stream = 's'}, 'is well');

my %query = (
	catalog => 'SELECT * FROM weir.catalog ORDER BY stream',
	rows => 'SELECT tableoid, * FROM s ORDER BY id',
	'rows of a stream without Kafka' => 'SELECT * FROM alone',
	'dead letters' => 'SELECT * FROM weir.dead_letters',
	audit => q{SELECT * FROM weir.audit('s')},
	offsets => q{SELECT stream, partition, applied_offset, watermark FROM weir.stream_stats ORDER BY 1, 2},
	log => 'SELECT * FROM log ORDER BY id',
	children => q{SELECT inhrelid::regclass, inhparent::regclass, relpersistence FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
		WHERE inhparent IN ('s'::regclass, 'alone'::regclass) ORDER BY inhrelid},
	'what is logged beside the rows' => 'SELECT * FROM weir_internal.chunk_checkpoint ORDER BY chunk, partition, first_offset',
	'the marker' => 'SELECT stream, generation = staging_generation FROM weir_internal.staging_marker JOIN weir_internal.stream USING (stream) ORDER BY 1',
	members => q{SELECT count(*), array_length((SELECT extconfig FROM pg_extension WHERE extname = 'pg_weir'), 1)
		FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_weir')});
my %before = map { $_ => $old->safe_psql('postgres', $query{$_}) } keys %query;

# Where the rows are, to the page.
my $places = q{SELECT md5(string_agg(concat(tableoid, ctid, id), ',' ORDER BY id)) FROM s WHERE id <= 200};
my $before = $old->safe_psql('postgres', $places);

# Messages that come meanwhile: no worker may run in a server that pg_upgrade has started.
$old->stop;
$box->produce('s', 201, 300);
my $new = make_cluster('new');
my $bindir = $old->config_data('--bindir');
chdir PostgreSQL::Test::Utils::tempdir;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir,
	'-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');
$new->start;
is($new->safe_psql('postgres', $query{$_}), $before{$_}, "it brings $_") for sort keys %query;
is($new->safe_psql('postgres', q{SELECT state, last_hint FROM weir.status WHERE stream = 's'}),
	'stopped|It was started where this database was copied from; weir.start starts it here.', 'the stream is stopped, and says why');
is($new->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_weir worker'}), '0', 'no worker runs');

# Started, it goes on.
$new->safe_psql('postgres', q{SELECT weir.start(format('%I.%I', stream_schema, stream)) FROM weir.status
	WHERE state = 'stopped' AND last_hint IS NOT NULL});
poll($new, 'SELECT count(*) = 300 AND count(DISTINCT id) = 300 FROM log', 'started, it goes on');
is($new->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), sum(id) FROM s'), '300|300|45150', 'with all its rows, once');
is($new->safe_psql('postgres', $places), $before, 'none of which was read again');
is($new->safe_psql('postgres', q{SELECT accepted FROM weir.ingest('alone', '{"id": 2}'::text)}), '1', 'ingest works');
like($new->safe_psql('postgres', 'SET enable_seqscan = off; EXPLAIN SELECT FROM s WHERE id = 1'), qr/Index/, 'indexes are used');

# A crash loses the rows there, too, and they come back.
$new->stop('immediate');
$new->start;
poll($new, q{SELECT bool_and(state IN ('running', 'idle')) AND coalesce(max(refill_left), 0) = 0 AND (SELECT count(*) = 300 FROM s)
	FROM weir.status WHERE stream = 's'}, 'after a crash the rows come back');
is($new->safe_psql('postgres', 'SELECT (SELECT count(*) FROM log), count(*), count(DISTINCT id) FROM s'), '300|300|300', 'once');

# Nothing is left of what is dropped.
$new->safe_psql('postgres', q{SET client_min_messages = warning; SELECT weir.drop_stream('s'); SELECT weir.drop_stream('alone')});
is($new->safe_psql('postgres', q{SELECT (SELECT count(*) FROM weir_internal.stream_partition) + (SELECT count(*) FROM weir_internal.chunk_checkpoint) +
	(SELECT count(*) FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relkind = 'r' AND relname ~ '_chunk')}), '0',
	'dropped, nothing is left');
$new->stop;
unlike(slurp_file($_->logfile), qr/terminated by signal|PANIC|TRAP/, 'no process of ' . $_->name . ' crashed') for $old, $new;
$box->down;
done_testing();
