# Rights that the owner of a stream loses and gets back while it runs; server
# processes and slots that run out.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;

my $box = Sandbox->new('mock', 'weir.max_workers=4', 'weir.probe_timeout=0');
my $bootstrap = $box->run('', 'env') =~ s/.*BOOTSTRAP=(\S+).*/$1/sr;

# ---- rights ----

$box->sql(<<~'END');
	CREATE ROLE keeper LOGIN;
	CREATE SCHEMA kept AUTHORIZATION keeper;
	CREATE SCHEMA results;
	GRANT USAGE ON SCHEMA results TO keeper;
	REVOKE USAGE ON FOREIGN SERVER kafka FROM PUBLIC;
	GRANT USAGE ON FOREIGN SERVER kafka TO keeper;
	GRANT CREATE ON SCHEMA public TO keeper;
	END
$box->run('', 'topic', 's', '--partitions', 1);
$box->sql(<<~'END');
	CREATE TABLE results.s_log (id int);
	GRANT INSERT ON results.s_log TO keeper;
	SET ROLE keeper;
	SELECT weir.create_stream('kept.s', columns => 'id int, ts timestamptz', server => 'kafka', topic => 's',
		time_unit => 'ms', retention => '16 seconds');
	CREATE FUNCTION kept.log() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO results.s_log SELECT id FROM batch;
		RETURN NULL;
	END $$;
	CREATE TRIGGER log AFTER INSERT ON kept.s REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION kept.log();
	SELECT weir.start('kept.s');
	END

my $produced = 0;

sub poll_applied
{
	my ($what) = @_;
	my $sum = $produced * ($produced + 1) / 2;

	$box->poll('SELECT count(*), count(DISTINCT id), sum(id) FROM results.s_log', "$produced\\|$produced\\|$sum", $what);
}

sub produce { return $box->produce('s', $produced + 1, $produced += 50) }

# What only those need who define a stream.
produce();
poll_applied('before');
$box->sql('ALTER ROLE keeper NOLOGIN CONNECTION LIMIT 0; REVOKE CREATE ON SCHEMA public FROM keeper;'
	  . ' REVOKE CREATE ON SCHEMA kept FROM keeper; REVOKE CONNECT ON DATABASE weir FROM PUBLIC');
produce();
poll_applied('an owner may lose LOGIN, CONNECT and CREATE while his stream runs');
$box->sql('SELECT pg_terminate_backend(pid) FROM weir.status');
produce();
poll_applied('and when it starts');
$box->poll('SELECT staging_tables > 1 FROM weir.status', 't', 'and when a child is made');
$box->sql('GRANT CREATE ON SCHEMA kept TO keeper');

# What a batch needs.
foreach (
	[ 'REVOKE INSERT ON results.s_log FROM keeper', 'GRANT INSERT ON results.s_log TO keeper',
		'permission denied for table s_log', 'Grant the right to the owner of the stream' ],
	[ 'REVOKE USAGE ON SCHEMA results FROM keeper', 'GRANT USAGE ON SCHEMA results TO keeper',
		'permission denied for schema results', 'Grant the right to the owner of the stream' ],
	[ 'REVOKE INSERT ON kept.s FROM keeper', undef,
		'role "keeper", which owns stream "s", may not insert into it', 'GRANT INSERT ON kept\.s TO keeper,' ],
	[ 'ALTER TABLE kept.s ENABLE ROW LEVEL SECURITY; ALTER TABLE kept.s FORCE ROW LEVEL SECURITY', undef,
		'row-level security of stream "s" binds its owner, too', 'ALTER TABLE kept\.s NO FORCE ROW LEVEL SECURITY,' ],
	[ 'ALTER TABLE results.s_log ENABLE ROW LEVEL SECURITY', 'ALTER TABLE results.s_log DISABLE ROW LEVEL SECURITY',
		'new row violates row-level security policy for table "s_log"', 'Grant the right' ])
{
	my ($lose, $regain, $error, $hint) = @$_;

	$box->sql($lose);
	produce();
	$box->poll("SELECT state || ': ' || last_error FROM weir.status", "failed: \Q$error\E", "$lose: failed");
	my $said = $box->sql('SELECT last_hint FROM weir.status');
	like($said, qr/$hint.*then start the stream again with weir\.start\(\)\.$/, 'status says what to do');
	$box->sql($regain // ($said =~ s/.*?(GRANT|ALTER)(.*), then start.*/$1$2/sr));
	$box->sql("SELECT weir.start('kept.s')");
	poll_applied('which helps');
}
is($box->sql('SELECT count(*) FROM weir.dead_letters'), '0', 'no event was to blame');
is($box->sql("SELECT balanced FROM weir.audit('kept.s')"), 't', 'the books balance');

# What the owner makes of his columns runs as himself, if at all: also where
# the worker looks which children a crash has emptied.
$box->sql(<<~'END');
	SELECT weir.stop('kept.s');
	DELETE FROM weir_internal.staging_marker;
	CREATE TABLE results.whoami (name name);
	GRANT INSERT ON results.whoami TO keeper;
	SET ROLE keeper;
	CREATE TYPE kept.number AS (n int);
	CREATE FUNCTION kept.to_int(kept.number) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO results.whoami VALUES (current_user);
		RETURN $1.n;
	END $$;
	CREATE CAST (kept.number AS int) WITH FUNCTION kept.to_int(kept.number) AS IMPLICIT;
	ALTER TABLE kept.s ALTER COLUMN _partition TYPE kept.number USING row(_partition)::kept.number;
	SELECT weir.start('kept.s');
	END
produce();
$box->poll('SELECT state, last_error FROM weir.status', 'failed\|column "_partition" of stream "s" must be of type integer',
	'a metadata column of another type is refused');
is($box->sql('SELECT count(*) FROM results.whoami'), '0', 'and no function is called for it before');
is($box->sql('SELECT count(*) FROM weir_internal.refill'), '0', 'children that have rows are not to be refilled');
$box->sql('SELECT weir.stop(\'kept.s\'); DELETE FROM weir_internal.staging_marker;'
	  . ' ALTER TABLE kept.s ALTER COLUMN _partition TYPE int USING (_partition).n; SELECT weir.start(\'kept.s\')');
poll_applied('which can be changed back');

# ---- slots and processes ----

# Runs something in the other database.
sub elsewhere
{
	my ($do) = @_;

	local $ENV{SANDBOX_DATABASE} = 'other';
	return $do->();
}

# Polls the status of the one stream there.
sub poll_elsewhere
{
	my ($columns, $expected, $what) = @_;

	elsewhere(sub { $box->poll("SELECT $columns FROM weir.status", $expected, $what) });
}

my $all = "$produced\\|" . $produced * ($produced + 1) / 2;

$box->sql('CREATE DATABASE other');
elsewhere(sub { $box->run(<<~'END', qw(psql -X -q -v ON_ERROR_STOP=1 -v), "bootstrap=$bootstrap") });
	CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" :'bootstrap');
	SELECT weir.create_stream('o', columns => 'id int, ts timestamptz', server => 'kafka', topic => 's', time_unit => 'ms');
	END

# The owner's stream has one slot, this one the other three.
$box->stream('many', 's', 'parallelism => 3');
$box->poll("SELECT bool_and(state IN ('running', 'idle')), count(*), min(worker_slots), min(worker_slots_used) FROM weir.status",
	't\|4\|4\|4', 'status counts the slots');
elsewhere(sub { $box->sql("SELECT weir.start('o')") });
poll_elsewhere('state, last_error, last_hint, worker_slots, worker_slots_used',
	'waiting for a slot\|all 4 slots for workers of streams are taken\|Increase weir.max_workers, or stop another stream.\|4\|4',
	'a stream that has no slot says so');
$box->sql("SELECT weir.stop('many')");
poll_elsewhere('(SELECT count(*) FROM o), (SELECT sum(id) FROM o), worker_slots_used', "$all\\|2",
	'it takes one that becomes free, in whatever database');

# The same with processes: two launchers and pg_cron, and four are left.
elsewhere(sub { $box->sql("SELECT weir.stop('o')") });
$box->sql('ALTER SYSTEM SET max_worker_processes = 7');
$box->run('', 'restart');
$box->sql("SELECT weir.start('many')");
$box->poll("SELECT bool_and(state IN ('running', 'idle')), count(*) FROM weir.status", 't\|4', 'all processes are taken');
elsewhere(sub { $box->sql("SELECT weir.start('o')") });
poll_elsewhere('state, last_error, last_hint',
	'waiting for a slot\|no process is left to look which streams are to run\|Increase max_worker_processes, which is 7: 4 workers of streams .*',
	'a stream that nobody can look for says so');
$box->produce('s', $produced + 1, $produced += 50);
$all = "$produced\\|" . $produced * ($produced + 1) / 2;
$box->sql("SELECT weir.stop('many')");
poll_elsewhere('(SELECT count(*) FROM o), (SELECT sum(id) FROM o)', $all, 'it takes a process that becomes free');

# ---- the owner leaves ----

$box->sql('DROP OWNED BY keeper CASCADE; DROP ROLE keeper');
$box->poll('SELECT count(*) FROM weir_internal.worker_slots() WHERE dboid = (SELECT oid FROM pg_database WHERE datname = current_database())',
	'0', 'a stream that is dropped with all that its owner had leaves no worker');

$box->down;
done_testing();
