# Continuous aggregates give what their query says, however the stream came:
# in whatever batches and sessions, with whatever was rolled back in between,
# and whenever they were created.
#
# Streams and queries are generated; each run prints its seed.  WEIR_SEED
# repeats one run, WEIR_RUNS says how many there are, of CASES queries each.

use strict;
use warnings;

use IPC::Run ();
use List::Util qw(max min shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CASES => 15;

my $runs = $ENV{WEIR_SEED} ? 1 : $ENV{WEIR_RUNS} || 14;

my $node = PostgreSQL::Test::Cluster->new('aggregates');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
	CREATE TYPE color AS ENUM ('red', 'green', 'blue');
	CREATE TABLE kinds (kind int PRIMARY KEY, label text COLLATE nocase, weight numeric);
	INSERT INTO kinds VALUES (0, 'even', 0.5), (1, 'Odd', 1.5), (2, 'odd', NULL);

	-- a state of variable length, and a combine function that is not strict
	CREATE FUNCTION longest_next(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
		SELECT CASE WHEN $1 IS NULL OR length($2) > length($1) OR length($2) = length($1) AND $2 < $1 COLLATE "C" THEN $2 ELSE $1 END
	$$;
	CREATE AGGREGATE longest(text) (sfunc = longest_next, stype = text, combinefunc = longest_next, parallel = safe);

	CREATE TABLE source (p int, i int, payload text, PRIMARY KEY (p, i));
	-- before: what to do with the same call first, 1 in a subtransaction, 2 in a transaction, to take it back
	CREATE TABLE calls (variant text, n int, p int, lo int, hi int, before int, commits boolean);

	CREATE FUNCTION send(c calls) RETURNS void LANGUAGE sql AS $$
		SELECT weir.ingest(c.variant::regclass, (SELECT array_agg(payload ORDER BY i) FROM source s
			WHERE s.p = c.p AND s.i >= c.lo AND s.i < c.hi), partition => c.p)
	$$;
	CREATE PROCEDURE feed(v text, partition_only int, lo int, hi int) LANGUAGE plpgsql AS $$
	DECLARE
		c calls;
	BEGIN
		FOR c IN SELECT * FROM calls s WHERE variant = v AND (partition_only IS NULL OR p = partition_only) AND n >= feed.lo AND n < feed.hi ORDER BY n LOOP
			IF c.before = 1 THEN
				BEGIN
					PERFORM send(c);
					RAISE 'taken back';
				EXCEPTION
					WHEN raise_exception THEN NULL;
				END;
			ELSIF c.before = 2 THEN
				COMMIT;
				PERFORM send(c);
				ROLLBACK;
			END IF;
			PERFORM send(c);
			IF c.commits THEN
				COMMIT;
			END IF;
		END LOOP;
	END
	$$;

	-- events near each other enough become one island
	CREATE FUNCTION stream_watermark(s regclass) RETURNS timestamptz LANGUAGE sql AS $$
		SELECT min(coalesce(watermark, '-infinity')) FROM weir.stream_stats
		WHERE format('%I.%I', stream_schema, stream)::regclass = s
	$$;
});

sub pick { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }

# What queries are made of.  Names of columns are unique among stream and
# table, so that each text means the same in every FROM clause.
my %key = (
	g => {}, color => {}, 'v % 4' => {}, 'upper(g)' => {}, 'n IS NULL' => {}, 'ts::date' => {},
	'ARRAY[g, color::text]' => {}, 'ROW(v % 2, color)::text' => {},
	n => { shown => 'trim_scale(%s)' },
	ci => { shown => 'lower(%s)' },
	label => { join => 1, shown => 'lower(%s)' });
my @aggregate = (
	'count(*)', 'count(g)', 'sum(v)', 'sum(n)', 'avg(v)', 'avg(n)', 'min(v)', 'max(ts)', 'min(color)',
	'max(g)', 'stddev(v)', 'var_pop(n)', 'sum(f)', 'avg(f)', 'round(corr(v, f)::numeric, 6)',
	'round(regr_slope(f, v)::numeric, 6)', 'bool_and(v > 3)', 'every(g IS NOT NULL)', 'bit_or(v)', 'bit_xor(v)',
	'count(*) FILTER (WHERE v > 20)', 'sum(n) FILTER (WHERE g = \'a\')', 'max(v) - min(v)',
	'sum(v) / count(*)', 'longest(g)', 'sum(v * v)', 'sum(make_interval(secs => v))', 'max(ARRAY[v, i])');
my @condition = ('v % 3 <> 0', 'g IS NOT NULL', "g <> 'b' OR n > 1", 'f > 0', 'v < 0');
my @having = ('count(*) > 1', 'sum(v) > 20', 'max(n) > 1', 'min(v) < max(v)', 'bool_or(g IS NULL)');

# Returns a window, sizes counted in units of time.
sub window
{
	my ($unit, $calendar) = @_;
	my $kind = pick(qw(tumble tumble hop hop session session none calendar));

	$kind = 'tumble' if $kind eq 'calendar' && !$calendar;
	if ($kind eq 'tumble')
	{
		my $size = 2 + int rand 20;
		return { kind => $kind, spec => sprintf("weir.tumble('%d s', shift => '%d s')", $size * $unit, int(rand(2 * $size) - $size) * $unit) };
	}
	if ($kind eq 'hop')
	{
		my $slide = 1 + int rand 8;
		my $size = 1 + int rand 20;
		return { kind => $kind, spec => sprintf("weir.hop('%d s', '%d s', shift => '%d s')",
			$size * $unit, $slide * $unit, int(rand(2 * $slide) - $slide) * $unit) };
	}
	if ($kind eq 'session')
	{
		my $gap = (1 + int rand 6) * $unit . ' s';
		return { kind => $kind, spec => "weir.session('$gap')", gap => $gap };
	}
	return { kind => 'none', spec => 'NULL' } if $kind eq 'none';
	my $zone = pick(qw(Europe/Berlin America/Los_Angeles Asia/Kolkata));
	return { kind => 'tumble', spec => sprintf("weir.tumble('%s', shift => '%s', timezone => '%s')",
		pick('1 day', '2 days', '7 days', '1 month', '3 months'), pick('0', '6 hours'), $zone) };
}

# Returns a query with its window.
sub case
{
	my ($number, $unit, $calendar, $poison) = @_;
	my $case = { name => "c$number", window => window($unit, $calendar), lateness => pick(0, 0, 1, 5, 20) * $unit };
	my @keys = (shuffle sort keys %key)[ 0 .. pick(0, 1, 1, 2) - 1 ];
	my @aggregates = (shuffle @aggregate)[ 0 .. int(rand 4) ];

	$case->{lateness} = 0 if $case->{window}{kind} eq 'none';
	push @aggregates, 'sum(1000 / (v - 13))' if $poison;
	$case->{keys} = \@keys;
	my $n = 0;
	$case->{select} = join ', ', map { "$_ AS c" . ++$n } @keys, @aggregates;
	$n = 0;
	$case->{shown} = join ', ', (map { sprintf(($key{$_}{shown} // '%s') . ' AS c%d', 'c' . ++$n, $n) } @keys),
	  (map { 'c' . ++$n } @aggregates);
	$case->{join} = (grep { $key{$_}{join} } @keys) || chance(0.2)
	  ? pick('JOIN kinds ON kind = v % 3', 'LEFT JOIN kinds ON kind = v % 5 AND weight > 0') : '';
	$case->{where} = chance(0.3) && !$poison ? 'WHERE ' . pick(@condition) : '';
	$case->{group} = @keys ? 'GROUP BY ' . join(', ', map { $_ + 1 } 0 .. $#keys) : '';
	$case->{having} = chance(0.25) ? 'HAVING ' . pick(@having) : '';
	return $case;
}

sub definition
{
	my ($case, $stream) = @_;
	my $lateness = $case->{window}{kind} eq 'none' ? '' : ", allowed_lateness => '$case->{lateness} s'";
	return qq{SELECT weir.create_continuous_aggregate('${stream}_$case->{name}', }
	  . qq{\$q\$SELECT $case->{select} FROM $stream $case->{join} $case->{where} $case->{group} $case->{having}\$q\$, }
	  . "$case->{window}{spec}$lateness);\n";
}

# Returns the plain query over what is staged.
sub plain
{
	my ($case, $stream) = @_;
	my $window = $case->{window};
	my $keys = join '', map { ", $_" } @{ $case->{keys} };
	my $where = $case->{where} ? "($case->{where})" =~ s/^\(WHERE /AND (/r : '';
	my $final = "window_end + '$case->{lateness} s' <= stream_watermark('$stream') AS is_final";

	return "SELECT $case->{select} FROM $stream $case->{join} $case->{where} $case->{group} $case->{having}"
	  if $window->{kind} eq 'none';
	my $on_time = "FROM $stream $case->{join}, weir_internal.windows_of($window->{spec}, ts, _watermark, '$case->{lateness} s')"
	  . " WHERE NOT late $where";
	# keys by what they are: their positions are others here
	return "SELECT window_start, window_end, $case->{select}, $final $on_time GROUP BY window_start, window_end$keys $case->{having}"
	  if $window->{kind} ne 'session';
	my $partition = $keys ? 'PARTITION BY ' . substr($keys, 2) : '';
	return qq{
		SELECT min(ts) AS window_start, max(ts) + '$window->{gap}' AS window_end, $case->{select},
			max(ts) + '$window->{gap}'::interval + '$case->{lateness} s' <= stream_watermark('$stream') AS is_final
		FROM (SELECT *, sum(begins) OVER ($partition ORDER BY ts RANGE UNBOUNDED PRECEDING) AS island
			FROM (SELECT *, CASE WHEN ts - lag(ts) OVER ($partition ORDER BY ts) <= '$window->{gap}' THEN 0 ELSE 1 END AS begins
				$on_time) e) i
		GROUP BY island$keys $case->{having}};
}

# Returns the rows of a query as one text each, in order.
sub rows
{
	my ($label, $case, $query) = @_;
	my $windows = $case->{window}{kind} eq 'none' ? '' : 'window_start, window_end, is_final, ';
	return "SELECT '$label', r FROM (SELECT ROW($windows" . ($case->{shown} =~ s/ AS c\d+//gr) . ")::text AS r FROM ($query) q) t"
	  . " ORDER BY r COLLATE \"C\";\n";
}

# Returns the query for pairs of an event and a window that it was late for.
sub late
{
	my ($case, $stream) = @_;
	my $where = $case->{where} ? "($case->{where})" =~ s/^\(WHERE /AND (/r : '';
	return "SELECT DISTINCT _partition, _offset, window_start, window_end FROM $stream $case->{join},"
	  . " weir_internal.windows_of($case->{window}{spec}, ts, _watermark, '$case->{lateness} s') WHERE late $where";
}

# Returns statements that say what a case should come to, and what it came to in one variant.
sub expected
{
	my ($case) = @_;
	my $late = late($case, 'by_one');
	return rows('row', $case, plain($case, 'by_one'))
	  . ($case->{window}{kind} eq 'none' ? '' : "SELECT 'late', l FROM ($late) l ORDER BY l;\n");
}

sub got
{
	my ($case, $variant) = @_;
	my $view = "${variant}_$case->{name}";
	my $sql = rows('row', $case, "SELECT * FROM $view");

	return $sql if $case->{window}{kind} eq 'none';
	return $sql . qq{
		SELECT 'late', l FROM (SELECT partition, kafka_offset, window_start, window_end FROM weir.late_events
			WHERE aggregate = '$view') l ORDER BY l;
		SELECT 'not over', window_end FROM ${view}_results
		WHERE window_end + '$case->{lateness} s' > stream_watermark('$variant');
	};
}

# Runs named statements in one session; returns their output by name.
sub answers
{
	my (@statements) = @_;
	my $sql = '';

	while (my ($name, $statement) = splice @statements, 0, 2)
	{
		$sql .= "\\echo ---$name\n$statement";
	}
	return map { /^(\w+)\n?(.*)/s } grep { $_ ne '' } split /^---/m, scalar $node->safe_psql('postgres', $sql);
}

# Returns a payload.  Times may be equal, and out of order; floats add up exactly.
sub payload
{
	my ($epoch, $time, $unit) = @_;
	my %fields = (
		i => int(rand 1000),
		g => pick('"a"', '"b"', '"B"', '"\u00e4\u00e4"', 'null'),
		ci => pick('"x"', '"X"', '"y"'),
		color => pick('"red"', '"green"', 'null'),
		v => int(rand 60) - 5,
		n => pick('1', '1.0', '"1.00"', '2.5', '-3', '"1e3"', 'null'),
		f => (int(rand 400) - 200) / 4);

	$fields{v} = 13 if chance(0.02);
	$fields{v} = 999 if chance(0.02);
	return '{"v": "broken"' if chance(0.02);
	$fields{ts} = sprintf '%.0f', ($epoch + $time * $unit) * 1000 + (chance(0.1) ? int(rand 3) - 1 : 0);
	return '{' . join(', ', map { qq("$_": $fields{$_}) } sort keys %fields) . '}';
}

# Returns calls that send each partition's events in parts, by turns at random.
sub calls
{
	my ($variant, $counts, $size_of) = @_;
	my $undo = $variant eq 'undone';
	my $long = $undo || $variant eq 'lanes';
	my @next = map { 0 } @$counts;
	my @calls;

	while (my @left = grep { $next[$_] < $counts->[$_] } 0 .. $#$counts)
	{
		my $p = pick(@left);
		my $beyond = min($counts->[$p], $next[$p] + $size_of->());
		push @calls, sprintf("('%s', %d, %d, %d, %d, %d, %s)", $variant, scalar @calls, $p, $next[$p], $beyond,
			$undo && chance(0.3) ? pick(1, 2) : 0, $long && chance(0.4) ? 'false' : 'true');
		$next[$p] = $beyond;
	}
	return @calls;
}

# Runs scripts at the same time.
sub at_once
{
	my (@scripts) = @_;
	my @command = ('psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'));
	my @running = map { my ($in, $out, $err) = ($_, '', ''); [ IPC::Run::start([@command], \$in, \$out, \$err), \$err ] } @scripts;
	for my $run (@running)
	{
		IPC::Run::finish($run->[0]) or die "a session failed: ${ $run->[1] }";
	}
	return;
}

# Says where two texts part.
sub same
{
	my ($got, $expected, $name, $about) = @_;
	return pass($name) if $got eq $expected;
	my @got = split /\n/, $got;
	my @expected = split /\n/, $expected;
	my $i = 0;
	$i++ while $i < @got && $i < @expected && $got[$i] eq $expected[$i];
	fail($name);
	diag("$about\nline $i of ", scalar @got, ' and ', scalar @expected, ":\n  got      ", $got[$i] // '(end)',
		"\n  expected ", $expected[$i] // '(end)');
	return;
}

my @variants = qw(by_one by_seven at_once lanes midway undone);
my %size_of = (
	by_one => sub { 1 }, by_seven => sub { 7 }, at_once => sub { 1000 }, lanes => sub { 1 + int(rand 9) },
	midway => sub { 1 + int(rand 60) }, undone => sub { 1 + int(rand 25) });

for my $run (1 .. $runs)
{
	my $seed = $ENV{WEIR_SEED} || int(rand 1_000_000_000) + 1;
	srand $seed;
	note("seed $seed");

	my $partitions = 1 + int rand 3;
	my $unit = pick(1, 1, 3600, 86400);
	# around 2026, 2000, 1969, and where clocks change
	my $epoch = pick(1767225600, 946684800, -86400 * 10, 1615680000, -3000000000) + int(rand 1000);
	my @counts = map { $_ > 1 && chance(0.1) ? int(rand 3) : 30 + int(rand 80) } 1 .. $partitions;
	$counts[0] += 300 if $run % 5 == 0;
	my $disorder = pick(0, 0, 2, 10) * $unit;
	my @rows;
	for my $p (0 .. $partitions - 1)
	{
		my $clock = int(rand 5);
		for my $i (0 .. $counts[$p] - 1)
		{
			$clock += pick(0, 0, 1, 1, 2, 3, chance(0.2) ? 20 : 1);
			push @rows, "($p, $i, '" . payload($epoch, $clock - (chance(0.4) ? int(rand 15) : 0), $unit) . "')";
		}
	}
	my @cases = map { case($_, $unit, $unit > 1, 0) } 1 .. CASES - 1;
	push @cases, case(CASES, $unit, $unit > 1, 1);

	my $setup = 'TRUNCATE source, calls; INSERT INTO source VALUES ' . join(', ', @rows) . ";\n";
	for my $v (@variants)
	{
		$setup .= "SELECT weir.create_stream('$v', event_time => 'ts', partitions => $partitions, time_unit => 'ms', "
		  . "max_out_of_orderness => '$disorder s', columns => 'i int, g text, ci text COLLATE nocase, color color, "
		  . "v int CHECK (v < 900), n numeric, f float8, ts timestamptz');\n"
		  . 'INSERT INTO calls VALUES ' . join(', ', calls($v, \@counts, $size_of{$v})) . ";\n";
		# the one that refuses events has to be there before them
		$setup .= definition($_, $v) for $v eq 'midway' ? $cases[-1] : @cases;
	}
	$node->safe_psql('postgres', $setup);
	my $half = $node->safe_psql('postgres', "SELECT max(n) / 2 FROM calls WHERE variant = 'midway'");
	$node->safe_psql('postgres', "CALL feed('$_', NULL, 0, 1000000)") for qw(by_one by_seven at_once undone);
	$node->safe_psql('postgres', "CALL feed('midway', NULL, 0, $half)");
	$node->safe_psql('postgres', definition($_, 'midway')) for @cases[ 0 .. $#cases - 1 ];
	$node->safe_psql('postgres', "CALL feed('midway', NULL, $half, 1000000)");
	at_once(map { "CALL feed('lanes', $_, 0, 1000000);\n" } 0 .. $partitions - 1);

	my %staged = map { ($_ => $node->safe_psql('postgres', "SELECT * FROM $_ ORDER BY _partition, _offset")) } @variants;
	my $events = () = $staged{by_one} =~ /^/mg;
	note("$partitions partitions, $events events of unit $unit, out of order by $disorder s");
	same($staged{$_}, $staged{by_one}, "seed $seed: $_ stages what by_one does", '') for @variants[ 1 .. $#variants ];

	my %expected = answers(map { ($_->{name} => expected($_)) } @cases);
	for my $v (@variants)
	{
		my %got = answers(map { ($_->{name} => got($_, $v)) } @cases);
		same($got{ $_->{name} }, $expected{ $_->{name} }, "seed $seed: ${v}_$_->{name}", definition($_, $v)) for @cases;
	}
	$node->safe_psql('postgres', join '', map { "DROP TABLE $_ CASCADE;\n" } @variants);
}

is($node->safe_psql('postgres', q{
	SELECT relname FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname ~ '^aggregate_\d'}),
	'', 'nothing is left of what was dropped');

$node->stop;
done_testing();
