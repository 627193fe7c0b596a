# The disk is full: a tablespace that is a small file system of its own has the
# staged rows of one stream, and the table that the trigger of another writes to.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Sandbox;
use Test::More;

# Without mkfs, loop devices or root: a tmpfs in name spaces of our own, which
# the server must be in, too.
unless ($ENV{WEIR_TEST_DISK})
{
	my $directory = File::Temp::tempdir('weir-disk-XXXX', TMPDIR => 1, CLEANUP => 1);
	my ($user, $group) = ($>, (split ' ', $))[0]);
	# root in there is who may mount, but PostgreSQL wants to be run by somebody else
	my @inside = ('unshare', '-U', "--map-user=$user", "--map-group=$group");

	my $tried = system("unshare -Urm sh -c 'mount -t tmpfs -o size=1m tmpfs $directory && @inside touch $directory/x' 2>$directory/why");
	if ($tried != 0)
	{
		open my $why, '<', "$directory/why";
		plan skip_all => "no small file system can be mounted here: " . join '', <$why>;
	}
	local $ENV{WEIR_TEST_DISK} = $directory;
	my $status = system('unshare', '-Urm', 'sh', '-c',
		qq(mount -t tmpfs -o size=24m tmpfs $directory && exec @inside "\$@"), 'sh', $^X, $0);
	exit $status >> 8;
}

my $box = Sandbox->new('mock', 'weir.probe_timeout=0');
my $disk = $ENV{WEIR_TEST_DISK};

# Fills the disk, and makes room again.
sub fill { return $box->sql("COPY (SELECT) TO PROGRAM 'dd if=/dev/zero of=$disk/filler bs=64k 2>/dev/null; true'") }
sub free { return $box->sql("COPY (SELECT) TO PROGRAM 'rm $disk/filler'") }

# Checks what a stream on a full disk says, and that it goes on afterwards.
sub poll_full
{
	my ($name, $to) = @_;

	$box->poll("SELECT state || ': ' || last_error || ' ' || (next_try > since) FROM weir.status WHERE stream = '$name'",
		'retrying: could not extend file "pg_tblspc/.*": No space left on device true',
		'a full disk: the stream retries, and says why');
	like($box->worker($name, 'last_hint'), qr/free disk space/i, 'and what to do');
	free();
	$box->sql("SELECT weir.start('$name')");
	$box->poll_log($name, 1, $to, 'with room again it goes on');
	is($box->sql("SELECT count(*), count(DISTINCT id), a.dead_lettered, a.balanced FROM $name, weir.audit('$name') a GROUP BY 3, 4"),
		"$to|$to|0|t", 'and each event is staged once');
	$box->poll_state($name, 'running|idle', 'and it runs');
}

mkdir "$disk/space" or die "$disk/space: $!";
$box->sql("CREATE TABLESPACE small LOCATION '$disk/space'");

# ---- what a trigger writes ----

$box->logged_stream('results', '');
$box->produce('results', 1, 100);
$box->poll_log('results', 1, 100, 'before');
$box->sql('ALTER TABLE results_log SET TABLESPACE small');
fill();
my $before = $box->sql("SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'results'::regclass");
$box->produce('results', 101, 20100);
$box->poll("SELECT next_try > since + interval '1.5 s' FROM weir.status WHERE stream = 'results'", 't', 'it has tried five times');
poll_full('results', 20100);

# Attempts get smaller, or what they staged in vain would pile up.
my $rows = $box->sql("SELECT sum(pg_relation_size(inhrelid)) - $before FROM pg_inherits WHERE inhparent = 'results'::regclass");
my $fair = $box->sql('SELECT sum(pg_column_size(results.*)) FROM results WHERE id > 100');
cmp_ok($rows, '<', 2.5 * $fair, 'attempts that failed leave little behind');

# ---- staging itself ----

$box->run('', 'topic', 'staged', '--partitions', 1);
$box->sql(<<~'END');
	CREATE TABLE staged_log (id int, watermark timestamptz);
	SET default_tablespace = small;
	SELECT weir.create_stream('staged', columns => 'id int, ts timestamptz', server => 'kafka',
		topic => 'staged', time_unit => 'ms', event_time => 'ts', retention => '16 seconds');
	CREATE TRIGGER log AFTER INSERT ON staged REFERENCING NEW TABLE AS batch
		FOR EACH STATEMENT EXECUTE FUNCTION results_trigger();
	END
$box->sql('CREATE OR REPLACE FUNCTION results_trigger() RETURNS trigger LANGUAGE plpgsql AS $$'
	  . ' BEGIN INSERT INTO staged_log SELECT id, _watermark FROM batch; RETURN NULL; END $$');
$box->sql("SELECT weir.start('staged')");
$box->produce('staged', 1, 100);
$box->poll_log('staged', 1, 100, 'before');

# New children follow the staging table, whatever the default is meanwhile.
my $children = "SELECT count(*) > 1, min(t.spcname), max(t.spcname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
  . " JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE i.inhparent = 'staged'::regclass";
$box->poll($children, 't\|small\|small', 'children are where the staging table is');
$box->sql("SELECT weir.alter_stream('staged', retention => '1 hour')");
fill();
$box->produce('staged', 101, 20100);
poll_full('staged', 20100);

# Rows that are past retention make room, though every batch fails: somebody
# reads them until then.
my $old = $box->sql('SELECT tableoid::regclass FROM staged WHERE id = 20100');
my $reader = $box->busy_session("BEGIN; SELECT count(*) FROM $old");
$box->sql("SELECT weir.alter_stream('staged', retention => '1 second')");
$box->poll("SELECT staging_tables_overdue > 0 FROM weir.status WHERE stream = 'staged'", 't', 'a child is overdue');
fill();
$box->produce('staged', 20101, 30100);
$box->poll("SELECT state || ': ' || last_error FROM weir.status WHERE stream = 'staged'",
	'retrying: could not extend file "pg_tblspc/.*": No space left on device', 'a full disk again');
$box->end_session($reader, 'COMMIT');
$box->poll_log('staged', 1, 30100, 'old rows make room for new ones');
is($box->sql("SELECT balanced, dead_lettered FROM weir.audit('staged')"), 't|0', 'and the books balance');

$box->down;
done_testing();
