# Transforms, and chains of them, give what their queries say: however the
# stream came, in whatever batches, with whatever was rolled back in between,
# and whenever they were created.  An event that one of them refuses is in none.
#
# Streams and queries are generated; each run prints its seed.  WEIR_SEED
# repeats one run, WEIR_RUNS says how many there are.

use strict;
use warnings;

use List::Util qw(min shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CASES => 4;

my $runs = $ENV{WEIR_SEED} ? 1 : $ENV{WEIR_RUNS} || 2;

my $node = PostgreSQL::Test::Cluster->new('transforms');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	CREATE TABLE kinds (kind int PRIMARY KEY, label text NOT NULL);
	INSERT INTO kinds VALUES (0, 'even'), (1, 'odd');
	CREATE TABLE source (p int, i int, payload text, PRIMARY KEY (p, i));

	-- sends a part of a partition; before: 1 sends it first in a subtransaction that is taken back
	CREATE PROCEDURE send(stream text, partition_ int, lo int, hi int, before int) LANGUAGE plpgsql AS $$
	DECLARE
		payloads text[] := (SELECT array_agg(payload ORDER BY i) FROM source WHERE p = partition_ AND i >= lo AND i < hi);
	BEGIN
		IF before = 1 THEN
			BEGIN
				PERFORM weir.ingest(stream::regclass, payloads, partition => partition_);
				RAISE 'taken back';
			EXCEPTION
				WHEN raise_exception THEN NULL;
			END;
		END IF;
		PERFORM weir.ingest(stream::regclass, payloads, partition => partition_);
	END
	$$;
});

sub pick { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }

my @columns = ('v', 'v * 2 AS w', 'upper(g) AS u', "coalesce(g, '-') AS c", 'label', 'f * 9 / 5 + 32 AS fahrenheit', 'e AS element',
	'length(g) AS l', 'ts::date AS day', 'to_jsonb(v) AS j', 'list->1 AS second');
my @conditions = ('v % 3 <> 0', 'g IS NOT NULL', 'f > 0', "e::text <> '2'");

# Returns a FROM clause and the columns that it has.
sub case
{
	my ($number) = @_;
	my @from;
	my @picked = (shuffle @columns)[ 0 .. int rand 5 ];
	my @where = chance(0.5) ? pick(@conditions) : ();
	my $text = "@picked @where";

	push @from, pick('JOIN kinds ON kind = v % 2', 'LEFT JOIN kinds ON kind = v % 3') if $text =~ /label/ || chance(0.3);
	push @from, pick('CROSS JOIN', 'LEFT JOIN') . ' LATERAL jsonb_array_elements(list) e' if $text =~ /\be\b/ || chance(0.3);
	$from[-1] .= ' ON true' if @from && $from[-1] =~ /^LEFT JOIN LATERAL/;
	push @picked, 'generate_series(1, v % 4) AS series' if chance(0.25);
	return {
		name => "t$number", columns => join(', ', @picked, 'ts', 'v AS key'), from => "@from",
		where => @where ? "WHERE @where" : '' };
}

# Returns the queries of transforms: some over the stream, some over those, and one that refuses events.
sub cases
{
	my @cases = map { case($_) } 1 .. CASES;
	push @cases, { name => 'refuses', columns => '100 / (v - 7) AS share, ts', from => '', where => '' };
	return @cases;
}

sub definitions
{
	my ($stream, @cases) = @_;
	my $sql = '';

	for my $case (@cases)
	{
		my $name = "${stream}_$case->{name}";
		$sql .= "SELECT weir.create_transform('$name', \$q\$SELECT $case->{columns} FROM $stream $case->{from} $case->{where}\$q\$);\n";
		next if $case->{name} eq 'refuses';
		$sql .= "SELECT weir.create_transform('${name}_next', 'SELECT key + 1 AS key, ts, k.label AS name FROM $name LEFT JOIN kinds k ON kind = key % 2');\n"
		  . "SELECT weir.create_continuous_aggregate('${name}_windows', 'SELECT name, count(*) AS n, sum(key) AS keys FROM ${name}_next GROUP BY name',"
		  . " weir.tumble('10 s'), allowed_lateness => '3 s');\n";
	}
	return $sql;
}

# Returns rows as text, in order.
sub rows
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SELECT t::text FROM ($query) t ORDER BY 1");
}

my $place = '_partition, _offset, _watermark';

# What a case should come to, by the plain queries over what is staged.
sub expected
{
	my ($stream, $case) = @_;
	my $query = "SELECT $case->{columns}, $place FROM $stream $case->{from} $case->{where}";
	return (rows($query)) if $case->{name} eq 'refuses';
	my $next = "SELECT key + 1 AS key, ts, label AS name, $place FROM ($query) q LEFT JOIN kinds ON kind = key % 2";
	$next = $next =~ s/label AS name/kinds.label AS name/r;
	return (rows($query), rows($next), rows(qq{
		SELECT window_start, name, count(*), sum(key) FROM ($next) n,
			weir_internal.windows_of(weir.tumble('10 s'), ts, _watermark, '3 s') WHERE NOT late GROUP BY 1, 2}));
}

sub got
{
	my ($stream, $case) = @_;
	my $name = "${stream}_$case->{name}";
	my $columns = join ', ', map { /(\w+)$/ } split /, (?![^(]*\))/, $case->{columns};
	my @got = (rows("SELECT $columns, $place FROM $name"));
	return @got if $case->{name} eq 'refuses';
	return (@got, rows("SELECT key, ts, name, $place FROM ${name}_next"), rows("SELECT window_start, name, n, keys FROM ${name}_windows"));
}

sub payload
{
	my ($time) = @_;
	return 'broken' if chance(0.02);
	return sprintf '{"v": %d, "g": %s, "f": %s, "list": %s, "ts": %d}', int(rand 40), pick('"a"', '"bb"', 'null'),
	  int(rand 80) / 4 - 10, pick('[]', '[1]', '[1, 2, 3]', '["x", {"y": 2}]'), 1767225600 + $time;
}

# Sends all partitions in parts, by turns at random, from a fraction of each to another.
sub feed
{
	my ($stream, $size, $undo, $from, $to, @counts) = @_;
	my @next = map { int($_ * $from) } @counts;
	my @beyond = map { int($_ * $to) } @counts;
	my $sql = '';

	while (my @left = grep { $next[$_] < $beyond[$_] } 0 .. $#counts)
	{
		my $p = pick(@left);
		my $hi = min($beyond[$p], $next[$p] + ($size || 1 + int rand 30));
		$sql .= "CALL send('$stream', $p, $next[$p], $hi, " . ($undo && chance(0.4) ? 1 : 0) . ");\n";
		$next[$p] = $hi;
	}
	$node->safe_psql('postgres', $sql);
	return;
}

my %size = (by_one => 1, by_seven => 7, at_once => 1000, undone => 0, midway => 0);

for my $run (1 .. $runs)
{
	my $seed = $ENV{WEIR_SEED} || int(rand 1_000_000_000) + 1;
	srand $seed;
	note("seed $seed");

	my @counts = map { 10 + int rand 50 } 1 .. 1 + int rand 3;
	my @rows;
	for my $p (0 .. $#counts)
	{
		my $clock = 0;
		push @rows, map { $clock += pick(0, 1, 2); "($p, $_, '" . payload($clock - (chance(0.3) ? int rand 15 : 0)) . "')" } 0 .. $counts[$p] - 1;
	}
	my @cases = cases();
	my $setup = 'TRUNCATE source; INSERT INTO source VALUES ' . join(', ', @rows) . ";\n";
	for my $stream (sort keys %size)
	{
		$setup .= "SELECT weir.create_stream('$stream', 'v int, g text, f float8, list jsonb, ts timestamptz', event_time => 'ts',"
		  . " time_unit => 's', max_out_of_orderness => '2 s', partitions => ${\ scalar @counts });\n";
		# the one that refuses events has to be there before them
		$setup .= definitions($stream, $stream eq 'midway' ? $cases[-1] : @cases);
	}
	$node->safe_psql('postgres', $setup);
	for my $stream (sort keys %size)
	{
		my $midway = $stream eq 'midway';
		feed($stream, $size{$stream}, $stream eq 'undone', 0, 0.5, @counts);
		$node->safe_psql('postgres', definitions($stream, @cases[ 0 .. $#cases - 1 ])) if $midway;
		feed($stream, $size{$stream}, $stream eq 'undone', 0.5, 1, @counts);
	}

	is($node->safe_psql('postgres', q{SELECT count(*) FROM by_one WHERE v = 7}), '0', "seed $seed: what is refused is staged nowhere");
	my $letters = join ' UNION ', map { "SELECT '$_', count(*) FILTER (WHERE object_name = '${_}_refuses'), count(*) FROM weir.dead_letters WHERE stream = '$_'" } 'by_one';
	my ($refused) = $node->safe_psql('postgres', $letters) =~ /by_one\|(\d+)/;
	is($refused, $node->safe_psql('postgres', q{SELECT count(*) FROM source WHERE payload ~ '"v": 7,'}), "seed $seed: and names who refused it");
	my $staged = rows('SELECT * FROM by_one');
	for my $stream (sort keys %size)
	{
		is(rows("SELECT * FROM $stream"), $staged, "seed $seed: $stream stages what by_one does");
		for my $case (@cases)
		{
			is_deeply([ got($stream, $case) ], [ expected('by_one', $case) ], "seed $seed: ${stream}_$case->{name}")
			  or diag(definitions($stream, $case));
		}
		my @objects = map { my $name = "${stream}_$_->{name}"; $_->{name} eq 'refuses' ? $name : ($name, "${name}_next", "${name}_windows") } @cases;
		is($node->safe_psql('postgres', join ' UNION ALL ', map { "SELECT '$_', v FROM weir.verify('$_') v" } @objects), '', "seed $seed: $stream is verified");
	}
	$node->safe_psql('postgres', join '', map { "DROP TABLE $_ CASCADE;\n" } sort keys %size);
}

is($node->safe_psql('postgres', q{
	SELECT relname FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname ~ '^(aggregate|transform)_\d'}),
	'', 'nothing is left of what was dropped');

$node->stop;
done_testing();
