# pg_dump and pg_restore: streams, offsets and dead letters come along; the
# restored copy stands still until it is started.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
# Whatever the machine says: streams need UTF8.
$node->init(extra => [ "--encoding=UTF8", "--locale=C.UTF-8" ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_weir'\ntimezone = 'UTC'\n");
$node->start;
my $directory = $node->basedir;

# A database with streams, theirs and ours, owned by others.
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE DATABASE original');
$node->safe_psql('original', q{
	CREATE EXTENSION pg_weir;
	CREATE SCHEMA app AUTHORIZATION app;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
	CREATE USER MAPPING FOR app SERVER kafka OPTIONS ("sasl.username" 'app', "sasl.password" 'secret');
	GRANT USAGE ON FOREIGN SERVER kafka TO app;
	SET ROLE app;
	SELECT weir.create_stream('app.s', 'id int NOT NULL, price numeric CHECK (price > 0), gone int, note text DEFAULT ''none'', ts timestamptz',
		event_time => 'ts', max_out_of_orderness => '5 s', partitions => 2, metadata => '{key}');
	ALTER TABLE app.s DROP COLUMN gone;
	SELECT weir.expect('app.s', 'cheap', 'price < 1000', 'drop'), weir.expect('app.s', '"has Note"', 'note <> ''none''', 'keep');
	CREATE INDEX s_id ON app.s (id);
	CREATE TABLE app.totals (id int PRIMARY KEY, n bigint);
	CREATE FUNCTION app.count() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.totals AS t SELECT id, count(*) FROM n GROUP BY id
		ON CONFLICT (id) DO UPDATE SET n = t.n + excluded.n;
		RETURN NULL;
	END
	$$;
	CREATE TRIGGER count AFTER INSERT ON app.s REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION app.count();
	CREATE VIEW app.v AS SELECT id, price FROM app.s;
	CREATE TABLE app.own (id smallint, _offset bigint, at timestamptz DEFAULT now());
	SELECT weir.create_transform('app.t', 'SELECT id, price * 2 AS price, ts FROM app.s', retention => '1 day'),
		weir.create_transform('app.t2', 'SELECT id + 1 AS id, ts FROM app.t'),
		weir.create_transform('app.o', 'SELECT id FROM app.t2', into_table => 'app.own');
	SELECT weir.create_alert('dear', 'SELECT id, price FROM app.s WHERE price > 1.5', key => 'id', message => '{id} at {price}', resolve_after => '1 year'),
		weir.create_alert('next', 'SELECT id FROM app.t2');
	SELECT weir.create_continuous_aggregate('app.a', 'SELECT count(*) AS n, sum(id) AS ids FROM app.t2', weir.tumble('1 minute'));
	SELECT weir.ingest('app.s', ARRAY['{"id": 1, "price": 2, "ts": "2026-01-01T00:00:10Z"}', '{"id": 2, "ts": "2026-01-01T00:00:20Z"}', 'broken',
		'{"id": 3, "price": -1, "ts": "2026-01-01T00:00:20Z"}', '{"id": 4, "price": 1001, "ts": "2026-01-01T00:00:20Z"}'], key => 'k');
	CREATE TABLE app.theirs (id int UNIQUE, v int, note text DEFAULT 'theirs');
	SELECT weir.create_stream('app.c', 'id int, v int, ts timestamptz', event_time => 'ts', partitions => 2);
	SELECT weir.create_upsert('app.u', 'SELECT id, v FROM app.c', '{id}', delete_when => 'v < 0'),
		weir.create_upsert('app.f', 'SELECT id, v FROM app.c', '{id}', delete_when => 'v < 0', tombstone_ttl => '1 minute'),
		weir.create_upsert('app.w', 'SELECT id, v FROM app.c', '{id}', delete_when => 'v < 0', into_table => 'app.theirs');
	CREATE FUNCTION app.put(id int, v int, second float8, partition int DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$
		SELECT accepted FROM weir.ingest('app.c', jsonb_build_object('id', $1, 'v', $2, 'ts', '2026-01-01Z'::timestamptz + $3 * interval '1 s'), partition => $4)
	$$;
	SELECT app.put(1, 10, 10), app.put(2, 20, 10, 1), app.put(3, 30, 10), app.put(3, -1, 20), app.put(2, 21, 10), app.put(4, 40, 20);
	SELECT weir.create_stream('app.d', 'id uuid', event_id => '{id}', dedup_ttl => '1 day');
	SELECT weir.ingest('app.d', (SELECT array_agg(format('{"id": "%s"}', md5(i::text))) FROM generate_series(1, 1000) i));
	SELECT weir.create_stream('app.k', 'id int', server => 'kafka', topic => 'topic', tombstones => 'skip', commit_to_group => 'reporting');
});
$node->safe_psql('original', q{INSERT INTO weir_internal.gap (stream, partition, from_offset, to_offset, cause, recorded_by)
	VALUES ('app.s', 0, 1, 2, 'seek', 'somebody'), ('app.k', 0, 5, NULL, 'cluster', NULL)});
# running, as far as the catalogue knows
$node->psql('original', q{SET client_min_messages = error; SELECT weir.start('app.k')});
like($node->safe_psql('original', q{SELECT state FROM weir.status WHERE stream = 'k'}),
	qr/^(starting|retrying|waiting for a slot)$/, 'the stream of Kafka\'s is started');

my %query = (
	catalog => 'SELECT * FROM weir.catalog ORDER BY stream_schema, stream',
	rows => 'SELECT * FROM app.s ORDER BY _offset',
	'dead letters' => 'SELECT * FROM weir.dead_letters ORDER BY id',
	stats => q{SELECT * FROM weir.stream_stats WHERE stream = 's' ORDER BY partition},
	gaps => 'SELECT * FROM weir.gaps ORDER BY 1, 2, 3',
	expectations => 'SELECT * FROM weir.expectation_stats ORDER BY name',
	'changes of expectations' => 'SELECT * FROM weir.expectation_changes ORDER BY changed_at',
	audit => q{SELECT * FROM weir.audit('app.s')},
	alerts => 'SELECT * FROM weir.alerts ORDER BY id',
	'alerts over streams' => 'SELECT name, stream, source, key, message, severity, settings, resolve_after, pg_get_viewdef(query)
		FROM weir_internal.alert_definition ORDER BY name',
	totals => 'SELECT * FROM app.totals ORDER BY id',
	'what a refill goes by' => 'SELECT (SELECT count(*) FROM weir_internal.chunk_checkpoint c JOIN weir_internal.chunk USING (stream, chunk)),
		(SELECT count(*) FROM weir_internal.verdict), (SELECT count(*) FROM weir_internal.staging_marker
			JOIN weir_internal.stream USING (stream) WHERE generation = staging_generation)',
	view => 'SELECT * FROM app.v ORDER BY id',
	derived => 'SELECT * FROM weir.derived ORDER BY object',
	transforms => 'SELECT t.*, t2.*, o.* FROM app.t JOIN app.t2 USING (_offset) JOIN app.own o USING (_offset) ORDER BY t._offset',
	chain => 'SELECT * FROM app.a',
	upserts => q{SELECT 'u', u.* FROM app.u UNION ALL SELECT 'f', f.* FROM app.f UNION ALL
		SELECT note, id, v, NULL, NULL, NULL FROM app.theirs ORDER BY 1, 2},
	'remembered deletes' => q{SELECT target, x.id, x._order, x._partition, x._offset, x._deleted FROM weir_internal.upsert u,
		LATERAL (SELECT query_to_xml(format('TABLE %s', u.positions), false, false, '') AS rows) q,
		LATERAL xmltable('/table/row' PASSING q.rows COLUMNS id int, _order text, _partition int, _offset bigint, _deleted boolean) x ORDER BY target::text, 2},
	owners => q{SELECT relname, relpersistence, relowner::regrole FROM pg_class
		WHERE relnamespace IN ('app'::regnamespace, 'weir_internal'::regnamespace) AND relkind = 'r' ORDER BY 1});
my %before = map { $_ => $node->safe_psql('original', $query{$_}) } keys %query;

# Checks a restored copy.
sub check_copy
{
	my ($database, $how) = @_;

	for my $what (sort keys %query)
	{
		is($node->safe_psql($database, $query{$what}), $before{$what}, "$how: $what");
	}
	is($node->safe_psql($database, q{SELECT state FROM weir.status WHERE stream = 'k'}), 'stopped', "$how: comes up stopped");
	is($node->safe_psql($database, q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.s'::regclass}), '1',
		"$how: the child is the parent's");

	# It goes on where the original stood.
	is($node->safe_psql($database, q{SET ROLE app; SELECT * FROM weir.ingest('app.s', ARRAY['{"id": 1, "price": 3, "ts": "2026-01-01T00:00:30Z"}', 'broken', '{"id": 5, "price": 1002, "ts": "2026-01-01T00:00:30Z"}'])}),
		'1|0|1|1', "$how: ingest works");
	is($node->safe_psql($database, q{SELECT id, note, _offset, _watermark, _violations FROM app.s ORDER BY _offset DESC LIMIT 1}),
		'1|none|5|2026-01-01 00:00:15+00|{"has Note"}', "$how: offset, watermark and expectations go on");
	is($node->safe_psql($database, 'SELECT n FROM app.totals WHERE id = 1'), '2', "$how: the trigger fires");
	is($node->safe_psql($database, q{SELECT (SELECT count(*) FROM app.t), (SELECT count(*) FROM app.t2), (SELECT count(*) FROM app.own), n, ids FROM app.a}),
		'3|3|3|3|7', "$how: so do transforms and what reads them");
	is($node->safe_psql($database, q{SELECT * FROM weir.verify('app.t') UNION ALL SELECT * FROM weir.verify('app.t2') UNION ALL SELECT * FROM weir.verify('app.a')}),
		'', "$how: they are right");
	is($node->safe_psql($database, q{SELECT what, message, count FROM weir.alerts ORDER BY what}), "dear/1|1 at 3|2\nnext|next|3",
		"$how: alerts are raised and folded");
	# older than the row, older than the delete, equal in time from a lesser and a greater partition, newer
	is($node->safe_psql($database, q{SET ROLE app; SELECT app.put(1, 9, 9), app.put(3, 31, 19, 1), app.put(2, 19, 10), app.put(4, 41, 20, 1), app.put(1, 11, 25), app.put(5, 50, 25)}),
		'1|1|1|1|1|1', "$how: events of upserts come");
	my $latest = "1|11\n2|20\n4|41\n5|50";
	is($node->safe_psql($database, "SELECT id, v FROM app.$_ ORDER BY 1"), $latest, "$how: older ones change nothing in $_") for qw(u f theirs);
	is($node->safe_psql($database, q{SET ROLE app; SELECT app.put(3, 32, 21); SELECT u.v, f.v, t.v FROM app.u JOIN app.f USING (id) JOIN app.theirs t USING (id) WHERE id = 3}),
		"1\n32|32|32", "$how: a newer one brings a deleted row back");
	is($node->safe_psql($database, q{SELECT * FROM weir.verify('app.u') UNION ALL SELECT * FROM weir.verify('app.f') UNION ALL SELECT * FROM weir.verify('app.theirs')}),
		'', "$how: upserts are right");
	is($node->safe_psql($database, q{SELECT count(DISTINCT id), count(*) FROM weir.dead_letters}), '3|3', "$how: dead letters go on");
	is($node->safe_psql($database, q{SET ROLE app; SELECT * FROM weir.replay_dead_letters('app.s', 'error_stage = ''constraint''', $$'{"id": 3, "price": 1, "ts": "2026-01-01T00:00:20Z"}'$$)}),
		'1|1|0', "$how: they can be replayed");
	is($node->safe_psql($database, q{SET ROLE app; SELECT * FROM weir.ingest('app.d',
		(SELECT array_agg(format('{"id": "%s"}', md5(i::text))) FROM generate_series(900, 1003) i))}), '3|101|0|0', "$how: event ids are remembered");
	my (undef, undef, $stderr) = $node->psql($database, 'INSERT INTO app.s (id) VALUES (1)');
	like($stderr, qr/cannot insert into stream "s" directly/, "$how: the guard is there");
	(undef, undef, $stderr) = $node->psql($database, 'CREATE TRIGGER r AFTER INSERT ON app.s FOR EACH ROW EXECUTE FUNCTION app.count()');
	like($stderr, qr/cannot have row trigger/, "$how: event triggers are there");

	# Started by hand it is like the original: it depends on its server, and goes as a whole.
	$node->psql($database, q{SET client_min_messages = error; SELECT weir.start('app.k')});
	isnt($node->safe_psql($database, q{SELECT state FROM weir.status WHERE stream = 'k'}), 'stopped', "$how: can be started");
	$node->safe_psql($database, 'DROP TABLE app.s, app.d, app.c CASCADE; DROP SERVER kafka CASCADE');
	is($node->safe_psql($database, q{
		SELECT (SELECT count(*) FROM weir_internal.stream) + (SELECT count(*) FROM weir.derived), (SELECT count(*) FROM weir_internal.stream_partition),
			(SELECT count(*) FROM weir_internal.chunk), (SELECT count(*) FROM weir_internal.dead_letter),
			(SELECT count(*) FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relkind = 'r' AND relname ~ '_(chunk|ids)') +
			(SELECT count(*) FROM weir_internal.chunk_checkpoint) + (SELECT count(*) FROM weir_internal.verdict) +
			(SELECT count(*) FROM weir_internal.staging_marker) + (SELECT count(*) FROM weir_internal.gap) +
			(SELECT count(*) FROM weir_internal.alert_definition) + (SELECT count(*) FROM weir_internal.alert) +
			(SELECT count(*) FROM weir_internal.expectation) + (SELECT count(*) FROM weir_internal.expectation_failure) + (SELECT count(*) FROM weir_internal.expectation_change)}),
		'0|0|0|0|0', "$how: dropped, nothing is left");
	return;
}

command_ok([ 'pg_dump', '-d', $node->connstr('original'), '-f', "$directory/plain.sql" ], 'pg_dump, plain');
command_ok([ 'pg_dump', '-d', $node->connstr('original'), '-Fc', '-f', "$directory/custom" ], 'pg_dump, custom');

$node->safe_psql('postgres', 'CREATE DATABASE plain');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$directory/plain.out", '-d', $node->connstr('plain'),
	'-f', "$directory/plain.sql" ], 'restored with psql');
check_copy('plain', 'plain');

$node->safe_psql('postgres', 'CREATE DATABASE custom');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr('custom'), "$directory/custom" ], 'restored with pg_restore');
check_copy('custom', 'custom');

$node->safe_psql('postgres', 'CREATE DATABASE parallel');
command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('parallel'), "$directory/custom" ], 'restored with pg_restore -j');
check_copy('parallel', 'parallel');

# Where the extension is there already, and where everything is.
$node->safe_psql('postgres', 'CREATE DATABASE there');
$node->safe_psql('there', 'CREATE EXTENSION pg_weir');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr('there'), "$directory/custom" ], 'restored where the extension is there already');
command_ok([ 'pg_restore', '-e', '--clean', '--if-exists', '-d', $node->connstr('there'), "$directory/custom" ],
	'restored with --clean --if-exists over itself');
check_copy('there', 'clean');

# Definitions alone are tables, but no streams: what makes them streams is data of the extension.
command_ok([ 'pg_dump', '-s', '-d', $node->connstr('original'), '-f', "$directory/schema.sql" ], 'pg_dump, definitions alone');
command_ok([ 'pg_dump', '-a', '-d', $node->connstr('original'), '-f', "$directory/data.sql" ], 'pg_dump, data alone');
command_ok([ 'pg_dump', '-a', '--disable-triggers', '-d', $node->connstr('original'), '-f', "$directory/untriggered.sql" ],
	'pg_dump, data alone with --disable-triggers');
sub psql_file
{
	my ($database, $file) = @_;

	return [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$directory/out", '-d', $node->connstr($database), '-f', "$directory/$file.sql" ];
}
$node->safe_psql('postgres', 'CREATE DATABASE parts');
command_ok(psql_file('parts', 'schema'), 'definitions alone are restored');
is($node->safe_psql('parts', 'SELECT count(*) FROM weir.catalog'), '0', 'and are no streams yet');
my (undef, undef, $refusal) = $node->psql('parts', q{SELECT * FROM weir.ingest('app.s', '{}'::text)});
like($refusal, qr/"s" is not a stream/, 'which weir.ingest says');
command_fails_like(psql_file('parts', 'data'), qr/cannot insert into (?:stream|transform) "\w+" directly\nHINT:  .* restored with --disable-triggers/,
	'data alone meet the guard, which says how to get by');
command_ok(psql_file('parts', 'untriggered'), 'like this');
check_copy('parts', 'data apart');

# Rows need not come along: those of Kafka are read again, as after a crash.
command_ok([ 'pg_dump', '-Fc', '--no-unlogged-table-data', '-d', $node->connstr('original'), '-f', "$directory/logged" ],
	'pg_dump without unlogged data');
$node->safe_psql('postgres', 'CREATE DATABASE logged');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr('logged'), "$directory/logged" ], 'restored');
is($node->safe_psql('logged', q{SELECT (SELECT count(*) FROM app.s), (SELECT count(*) FROM weir_internal.staging_marker),
	(SELECT count(*) FROM weir.dead_letters), (SELECT sum(n) FROM app.totals)}), '0|0|2|2', 'the rest is there');
is($node->safe_psql('logged', q{SELECT app.put(3, 31, 19), app.put(1, 11, 11); SELECT id, v FROM app.u ORDER BY 1}), "1|1\n1|11\n2|20\n4|40", 'upserts are logged');
is($node->safe_psql('logged', q{SELECT * FROM weir.ingest('app.s', '{"id": 1, "price": 3, "ts": "2026-01-01T00:00:30Z"}'::text)}), '1|0|0|0',
	'and goes on');

$node->safe_psql('original', q{SELECT weir.stop('app.k')});
$node->stop;
done_testing();
