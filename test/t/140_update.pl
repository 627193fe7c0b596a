# ALTER EXTENSION … UPDATE while streams run: where the library that is loaded
# and the SQL of a database do not belong together, streams stand still, say
# why, and go on when both fit again.
#
# The versions to come are the library of this one under other names, and
# update scripts that alter the catalogue, in an installation of the test's own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sandbox;
use Test::More;

my $repository = "$FindBin::RealBin/../..";
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
my $scratch = PostgreSQL::Test::Utils::tempdir;

# ---- an installation of our own ----

# Returns a directory of PostgreSQL's, as the extension's build knows it.
sub directory
{
	my ($which) = @_;

	chomp(my $directory = `$pg_config --$which`);
	return $directory;
}

# Links what is in a directory into another one, but for what matches.
sub link_all
{
	my ($from, $to, $but) = @_;

	make_path($to);
	for my $file (glob "$from/*")
	{
		symlink $file, "$to/" . basename($file) or die "could not link $file: $!" unless basename($file) =~ $but;
	}
}

# PostgreSQL finds its files from where its program is: programs are copied, the rest is linked.
my %theirs = map { $_ => directory($_) } qw(bindir sharedir pkglibdir);
my $root = dirname($theirs{bindir});
$root = dirname($root) while grep { index($_, "$root/") != 0 } values %theirs;
my %ours = map { $_ => "$scratch/installation" . substr($theirs{$_}, length $root) } keys %theirs;
my $programs = qr/^(?:postgres|pg_ctl|pg_config|initdb)$/;
link_all($theirs{bindir}, $ours{bindir}, $programs);
for my $program (grep { basename($_) =~ $programs } glob "$theirs{bindir}/*")
{
	my $copy = "$ours{bindir}/" . basename($program);

	copy($program, $copy) && chmod 0755, $copy or die "could not copy $program: $!";
}
link_all($theirs{sharedir}, $ours{sharedir}, qr/^extension$/);
link_all("$theirs{sharedir}/extension", "$ours{sharedir}/extension", qr/^pg_weir/);
link_all($theirs{pkglibdir}, $ours{pkglibdir}, qr/^pg_weir/);

# Installs a file as `make install` does: a new one in the place of the old one, which may be in use.
sub install
{
	my ($file, $directory) = @_;
	my $target = "$directory/" . basename($file);

	copy($file, "$target.new") && chmod 0755, "$target.new" and rename "$target.new", $target
	  or die "could not install $file: $!";
}

# Builds a version, installs its library and its control file; takes an update script from the one before.
sub install_version
{
	my ($version, $before, $script) = @_;
	my $tree = "$scratch/source";

	-d $tree or system_or_bail('sh', '-c', "mkdir $tree && cp -a $repository/Makefile $repository/pg_weir.control $repository/src $tree");
	my $control = slurp_file("$tree/pg_weir.control");
	$control =~ s/default_version = '[^']*'/default_version = '$version'/;
	unlink "$tree/pg_weir.control", "$tree/pg_weir.so", "$tree/src/version.o";
	append_to_file("$tree/pg_weir.control", $control);
	system_or_bail('make', '-s', '-C', $tree, "PG_CONFIG=$pg_config", 'pg_weir.so');
	install("$tree/pg_weir.so", $ours{pkglibdir});
	install("$tree/pg_weir.control", "$ours{sharedir}/extension");
	append_to_file("$ours{sharedir}/extension/pg_weir--$before--$version.sql", $script);
}

my ($now) = slurp_file("$repository/pg_weir.control") =~ /default_version = '([^']+)'/;
install("$repository/$_", "$ours{sharedir}/extension") for 'pg_weir.control', "pg_weir--$now.sql";
install("$repository/pg_weir.so", $ours{pkglibdir});

# ---- a server, a broker, a stream ----

my $box = Sandbox->new('mock');
my ($bootstrap) = $box->run('', 'env') =~ /BOOTSTRAP=(\S+)/;
my $node = PostgreSQL::Test::Cluster->new('update', install_path => dirname($ours{bindir}));
my $last = 0;

$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_weir'\n");
$node->start;

sub produce
{
	my ($n) = @_;

	$box->produce('s', $last + 1, $last += $n);
}

sub poll
{
	my ($query, $name) = @_;

	ok($node->poll_query_until('postgres', $query), $name);
}

# Waits until all that was sent has been applied; it must have been once.
sub poll_all
{
	my ($name) = @_;

	poll("SELECT count(*) = $last AND count(DISTINCT id) = $last FROM log", $name);
	poll(q{SELECT count(*) = 2 AND bool_and(state IN ('running', 'idle')) FROM weir.status}, "$name: the stream is well");
}

# The stream stands still, and says why.
sub check_still
{
	my ($library, $sql, $hint) = @_;
	my $error = "the library of pg_weir that is loaded is of version $library, the extension in this database of version $sql";

	is($node->safe_psql('postgres', 'SELECT DISTINCT state, last_error, last_hint FROM weir.status'),
		"version mismatch|$error|$hint", 'the status says what is wrong');
	poll(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_weir worker'}, 'no worker runs');
	for my $call (q{ingest('s', '{"id": 0}'::text)}, q{start('s')}, q{stop('s')}, q{create_stream('other', 'id int')})
	{
		my (undef, undef, $stderr) = $node->psql('postgres', "SELECT weir.$call");

		like($stderr, qr/ERROR:  \Q$error\E.*HINT:  \Q$hint\E/s, "weir.$call says so");
	}
	my $applied = $node->safe_psql('postgres', 'SELECT count(*) FROM log');
	produce(100);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM log'), $applied, 'and nothing is applied');
}

my $restart = 'Restart the server, which then loads the library that is installed now.';
my $update = 'Run ALTER EXTENSION pg_weir UPDATE in this database.';

$box->run('', 'topic', 's', '--partitions', 2);
$node->safe_psql('postgres', qq{
	CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '$bootstrap');
	SELECT weir.create_stream('s', 'id int', server => 'kafka', topic => 's', parallelism => 2, batch_rows => 100);
	CREATE TABLE log (id int);
	CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO log SELECT id FROM batch; RETURN NULL; END';
	CREATE TRIGGER log AFTER INSERT ON s REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION log();
	SELECT weir.start('s')});
produce(100);
poll_all('a stream of this version');

# ---- the SQL first, in the middle of work; then the library ----

install_version('99.1', $now, 'ALTER TABLE weir_internal.stream_partition ADD COLUMN extra int NOT NULL DEFAULT 1;
	ALTER TABLE weir_internal.stream ADD COLUMN extra int NOT NULL DEFAULT 1;');
produce(100);
poll_all('new files alone change nothing');
produce(20000);
poll('SELECT count(*) > 1000 FROM log', 'workers are busy');
$node->safe_psql('postgres', 'ALTER EXTENSION pg_weir UPDATE');
check_still($now, '99.1', $restart);
$node->restart;
poll_all('after the restart it goes on by itself');

# ---- the library first, then the SQL ----

install_version('99.2', '99.1', 'ALTER TABLE weir_internal.stream_partition DROP COLUMN extra;');
$node->restart;
check_still('99.2', '99.1', $update);
$node->safe_psql('postgres', 'ALTER EXTENSION pg_weir UPDATE');
poll_all('after the update it goes on by itself');

# ---- updates that come to nothing ----

append_to_file("$ours{sharedir}/extension/pg_weir--99.2--99.3.sql",
	"CREATE FUNCTION weir.news() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'weir_news';");
my (undef, undef, $stderr) = $node->psql('postgres', q{ALTER EXTENSION pg_weir UPDATE TO '99.3'});
like($stderr, qr/could not find function "weir_news"/, 'an update that needs the new library is refused');
produce(100);
poll_all('and the stream goes on');
append_to_file("$ours{sharedir}/extension/pg_weir--99.2--99.4.sql", '-- nothing');
$node->safe_psql('postgres', q{BEGIN; ALTER EXTENSION pg_weir UPDATE TO '99.4'; ROLLBACK});
produce(100);
poll_all('an update that is rolled back changes nothing');

# ---- the library is not there at all ----

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is($node->safe_psql('postgres', 'SELECT state, last_error FROM weir.status'),
	'not preloaded|pg_weir is not in shared_preload_libraries', 'without preloading, the status says so');

$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'no process crashed');
$box->down;
done_testing();
