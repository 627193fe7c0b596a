# Upserts keep what one DISTINCT ON over all accepted events gives, however the
# stream came: in whatever batches and interleaving of its partitions, with
# whatever was rolled back in between, and whenever they were created.
#
# Each run prints its seed.  WEIR_SEED repeats one run, WEIR_RUNS says how many
# there are.

use strict;
use warnings;

use List::Util qw(min shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $runs = $ENV{WEIR_SEED} ? 1 : $ENV{WEIR_RUNS} || 3;
my $partitions = 3;

my $node = PostgreSQL::Test::Cluster->new('upserts');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
	CREATE TABLE kinds (kind int PRIMARY KEY, label text);
	INSERT INTO kinds VALUES (0, 'zero'), (1, 'one');
	CREATE TABLE source (p int, i int, payload text, PRIMARY KEY (p, i));
	CREATE PROCEDURE send(s regclass, part int, lo int, hi int, undo boolean) LANGUAGE plpgsql AS $$
	BEGIN
		IF undo THEN
			BEGIN
				PERFORM weir.ingest(s, (SELECT array_agg(payload ORDER BY i) FROM source WHERE p = part AND i >= lo AND i < hi), partition => part);
				RAISE 'taken back';
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
		END IF;
		PERFORM weir.ingest(s, (SELECT array_agg(payload ORDER BY i) FROM source WHERE p = part AND i >= lo AND i < hi), partition => part);
	END $$;
});

sub pick { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }

# The upserts: columns, key, what orders, what deletes, whether deletes are
# forgotten, whether into a table of the user's.
my @cases = (
	{ name => 'plain', select => 'k, v, ts', key => ['k'], order => 'ts' },
	{ name => 'pair', select => 'k, n, v', key => [ 'n', 'k' ] },
	{ name => 'versions', select => 'k, v, version', key => ['k'], order => 'version', delete => 'v % 4 = 0' },
	{ name => 'deletes', select => 'k, v', key => ['k'], delete => 'v < 20' },
	{ name => 'forgetful', select => 'k, n, v', key => [ 'k', 'n' ], delete => 'v % 3 = 0', ttl => 15 },
	{ name => 'joined', select => 'k, v, label', key => ['k'], from => 'LEFT JOIN kinds ON kind = v % 3', where => 'v % 5 <> 1', delete => 'label IS NULL' },
	{ name => 'theirs', select => 'k, v, n', key => ['k'], delete => 'v % 4 = 1', own => 1 },
	{ name => 'theirs_forgetful', select => 'n, v', key => ['n'], delete => 'v % 2 = 0', ttl => 10, own => 1 });

# Writes the events of all partitions: keys and times that meet, out of order, some that are refused.
sub make_source
{
	my ($events) = @_;
	my $keys = pick(2, 5, 30);
	my @rows;

	foreach my $p (0 .. $partitions - 1)
	{
		foreach my $i (0 .. $events - 1)
		{
			my $time = int($i / 2) + int(rand(12));
			my $k = chance(0.02) ? 'null' : '"' . pick('a', 'A', 'b') . int(rand($keys)) . '"';
			push @rows, sprintf q{(%d, %d, '{"k": %s, "n": %s, "v": %d, "version": %s, "ts": "2026-01-01T00:%02d:%02dZ"}')},
			  $p, $i, $k, pick('1', '1.0', '2'), int(rand(100)), chance(0.02) ? 'null' : int(rand(20)), $time / 60, $time % 60;
		}
	}
	return "TRUNCATE source; INSERT INTO source VALUES " . join(', ', @rows) . ';';
}

# Returns the calls that feed one variant: batches of its size, partitions interleaved.
sub feed
{
	my ($stream, $events, $size) = @_;
	my @queues = map { my $p = $_; my @calls;
		for (my $lo = 0; $lo < $events;)
		{
			my $hi = min($events, $lo + ($size || 1 + int(rand(40))));
			push @calls, "CALL send('$stream', $p, $lo, $hi, " . (chance(0.1) ? 'true' : 'false') . ');';
			$lo = $hi;
		}
		\@calls } 0 .. $partitions - 1;
	my @calls;
	while (grep { @$_ } @queues)
	{
		my $queue = pick(grep { @$_ } @queues);
		push @calls, splice(@$queue, 0, 1 + int(rand(4)));
	}
	return @calls;
}

# Creates the upserts over a stream.
sub create
{
	my ($stream) = @_;
	my $sql = '';

	foreach my $c (@cases)
	{
		my $into = '';
		if ($c->{own})
		{
			$sql .= "CREATE TABLE ${stream}_$c->{name} (id serial, k text COLLATE nocase, n numeric, v int, UNIQUE (@{$c->{key}}));";
			$into = ", into_table => '${stream}_$c->{name}'";
		}
		$sql .= "SELECT weir.create_upsert('${stream}_$c->{name}', \$\$ SELECT $c->{select} FROM $stream "
		  . ($c->{from} // '') . ($c->{where} ? " WHERE $c->{where}" : '') . " \$\$, '{" . join(',', @{ $c->{key} }) . "}'"
		  . ($c->{order} ? ", order_by => '$c->{order}'" : '') . ($c->{delete} ? ", delete_when => \$\$ $c->{delete} \$\$" : '')
		  . ($c->{ttl} ? ", tombstone_ttl => '$c->{ttl} s'" : '') . "$into);\n";
	}
	return $sql;
}

# Returns what an upsert shall have: one DISTINCT ON over what is staged, with the rule for what is late.
sub oracle
{
	my ($stream, $c) = @_;
	my $order = $c->{order} // 'ts';
	my $keys = join ', ', @{ $c->{key} };
	my $deleted = $c->{delete} ? "coalesce($c->{delete}, false)" : 'false';
	my @where = grep { defined } $c->{where}, $c->{ttl} ? "ts + interval '$c->{ttl} s' > _watermark" : undef;

	return "SELECT $c->{select} FROM (SELECT DISTINCT ON ($keys) $c->{select}, $deleted AS gone FROM $stream "
	  . ($c->{from} // '') . (@where ? ' WHERE ' . join(' AND ', map { "($_)" } @where) : '')
	  . " ORDER BY $keys, $order DESC, _partition DESC, _offset DESC) x WHERE NOT gone";
}

# Keys that differ in case are one for a column of the user's with another collation: rows are compared as text.
sub shown
{
	my ($sql) = @_;
	return "SELECT r::text FROM ($sql) r ORDER BY (r::text) COLLATE \"C\"";
}

sub run
{
	my ($seed) = @_;
	srand($seed);
	my $events = pick(20, 60, 150);
	my %size = (s1 => 1, s7 => 7, s1000 => 1000, random => 0, later => 0);
	my %rows;

	$node->safe_psql('postgres', make_source($events));
	foreach my $stream (sort keys %size)
	{
		my @calls = feed($stream, $events, $size{$stream});
		my $at = $stream eq 'later' ? int(rand(@calls)) : 0;

		splice @calls, $at, 0, create($stream);
		$node->safe_psql('postgres', "SELECT weir.create_stream('$stream', 'k text COLLATE nocase NOT NULL, n numeric, v int, version int NOT NULL, ts timestamptz', "
			. "event_time => 'ts', max_out_of_orderness => '2 s', partitions => $partitions);" . join("\n", @calls));
		foreach my $c (@cases)
		{
			my $name = "${stream}_$c->{name}";
			my $is = $node->safe_psql('postgres', shown("SELECT $c->{select} FROM $name"));

			is($is, $node->safe_psql('postgres', shown(oracle($stream, $c))), "$c->{name} of $stream is what its query gives");
			is($node->safe_psql('postgres', "SELECT * FROM weir.verify('$name')"), '', "weir.verify agrees");
			$rows{ $c->{name} } //= $is;
			is($is, $rows{ $c->{name} }, "$c->{name} of $stream is as of the others");
		}
	}
	is($node->safe_psql('postgres', 'SELECT count(DISTINCT n) FROM (SELECT stream, sum(dead_lettered) AS n FROM weir.stream_stats GROUP BY 1) x'),
		'1', 'the same events are refused');
	$node->safe_psql('postgres', join ' ', map { my $s = $_; "DROP TABLE $s CASCADE;", map { "DROP TABLE IF EXISTS ${s}_$_->{name};" } grep { $_->{own} } @cases } sort keys %size);
}

foreach my $number (1 .. $runs)
{
	my $seed = $ENV{WEIR_SEED} // int(rand(2**31));
	subtest "WEIR_SEED=$seed" => sub { run($seed); };
}

$node->stop;
done_testing();
