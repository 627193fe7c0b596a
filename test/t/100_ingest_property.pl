# The same messages give the same tables: however they are split into batches,
# however partitions interleave, whatever is wrong with some of them.
#
# Inputs are generated; each run prints its seed.  WEIR_SEED repeats one run,
# WEIR_RUNS says how many there are.

use strict;
use warnings;

use List::Util qw(max min shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $runs = $ENV{WEIR_SEED} ? 1 : $ENV{WEIR_RUNS} || 12;
my $partitions = 3;

my $node = PostgreSQL::Test::Cluster->new('property');
# Whatever the machine says: streams need UTF8.
$node->init(extra => [ "--encoding=UTF8", "--locale=C.UTF-8" ]);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	CREATE TABLE source (p int, i int, payload text, PRIMARY KEY (p, i));
	CREATE TABLE calls (variant text, n int, p int, lo int, hi int);
	CREATE TABLE totals (variant text, kind text, events bigint, amount numeric, PRIMARY KEY (variant, kind));

	CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO totals AS t
		SELECT TG_TABLE_NAME, kind, count(*), sum(amount) FROM new_events GROUP BY kind
		ON CONFLICT (variant, kind) DO UPDATE SET events = t.events + excluded.events, amount = t.amount + excluded.amount;
		IF EXISTS (SELECT FROM new_events WHERE kind = 'poison') THEN
			RAISE EXCEPTION 'poison' USING DETAIL = 'not to be swallowed';
		END IF;
		PERFORM 1 / (amount - 13) FROM new_events;
		RETURN NULL;
	END
	$$;

	-- each call is a transaction of its own
	CREATE PROCEDURE feed(v text) LANGUAGE plpgsql AS $$
	DECLARE
		c calls;
	BEGIN
		FOR c IN SELECT * FROM calls WHERE variant = v ORDER BY n LOOP
			PERFORM weir.ingest(v::regclass, (SELECT array_agg(payload ORDER BY i) FROM source s
				WHERE s.p = c.p AND s.i >= c.lo AND s.i < c.hi),
				kafka_timestamp => '2026-01-01 00:00:00Z', partition => c.p);
			COMMIT;
		END LOOP;
	END
	$$;
});

my @bad = (
	'', '{', 'null', '[]', '{"id": 1} x', '{"id": "x"}', '{"id": 99999999999}', '{"ts": null}',
	'{"id": 1, "ts": "infinity"}', '{"id": 1, "ts": "soon"}', '{"id": 1, "ts": "2999-01-01T00:00:00Z"}',
	'{"id": null, "ts": "2026-01-01T00:00:00Z"}', '{"id": 1, "amount": -1, "ts": "2026-01-01T00:00:00Z"}',
	'{"id": 1, "mood": "grim", "ts": "2026-01-01T00:00:00Z"}', '{"id": 1, "kind": "\\u0000"}',
	'{"id": 1, "kind": "\\ud800"}', '{"id": 1e400}', '{"id": 2, "kind": "toolongbyfar", "ts": "2026-01-01T00:00:00Z"}',
	'{"id": 3, "kind": "poison", "amount": 1, "ts": "2026-01-01T09:00:00Z"}',
	'{"id": 4, "kind": "zero", "amount": 13, "ts": "2026-01-01T09:00:00Z"}', undef);

# What may be expected: the expression, and a condition that is false for what it refuses, errors included.
my @expectable = (
	[ 'small', 'amount < 23' ], [ 'no_b', "kind <> 'b'" ], [ 'in_mood', 'mood IS NOT NULL' ], [ 'range', 'id BETWEEN 5 AND 190' ],
	[ 'Early', "ts < '2026-01-01 00:20:00Z' OR amount < 20" ], [ 'raises', '1 / (id - 7) IS NOT NULL', 'id <> 7' ],
	[ 'generated', 'twice > amount AND twice <> 30' ], [ 'length', 'length(kind) < 6' ], [ 'extra', '_extra IS NULL' ],
	[ 'even', '_offset % 5 <> 1' ], [ 'listed', "kind IN ('a', 'b', 'c', 'none')" ], [ 'casts', "id::text::int8 >= 3 AND NOT mood = 'sad'" ]);

# Draws expectations: name => [ expression, oracle, on_violation ].
sub expectations
{
	my @drawn = (shuffle @expectable)[ 0 .. int(rand 5) ];

	return map { ($_->[0] => [ $_->[1], $_->[2] // $_->[1], (qw(keep keep drop dead_letter))[ rand 4 ] ]) } @drawn;
}

# Are the rows of judged those of bare that meet the expectations, and marked with what they do not meet?
sub same_as_oracle
{
	my ($name, %expectations) = @_;
	my @kept = grep { $expectations{$_}[2] eq 'keep' } sort keys %expectations;
	my $accepted = join(' AND ', 'true', map {
		# an error is a dead letter, whatever is to become of violators
		$expectations{$_}[2] ne 'keep' || $_ eq 'raises' ? "($expectations{$_}[1]) IS NOT FALSE" : () } keys %expectations);
	my $marks = join(', ', map { "CASE WHEN ($expectations{$_}[1]) IS FALSE THEN '$_' END" } grep { $_ ne 'raises' } @kept);
	my $columns = '_partition, _offset, id, kind, amount, mood, ts';
	my $judged = @kept ? "SELECT $columns, _violations FROM judged" : "SELECT $columns, NULL::text[] FROM judged";
	my $expected = "SELECT $columns, nullif(array_remove(ARRAY[$marks]::text[], NULL), '{}') FROM bare WHERE $accepted";

	is($node->safe_psql('postgres', "($judged EXCEPT ALL $expected) UNION ALL ($expected EXCEPT ALL $judged)"), '', $name);
	return;
}

# Returns a payload: mostly good, on time give or take.
sub payload
{
	my ($clock) = @_;

	return $bad[ rand @bad ] if rand() < 0.12;
	my $seconds = max(0, int($clock + rand(20) - 10));
	my %fields = (
		id => int(rand 200),
		kind => '"' . ('a' .. 'e')[ rand 5 ] . '"',
		amount => 14 + int(rand 1000) / 100,
		mood => (qw("ok" "sad" null))[ rand 3 ],
		ts => sprintf('"2026-01-01T%02d:%02d:%02dZ"', $seconds / 3600, $seconds / 60 % 60, $seconds % 60));
	delete $fields{mood} if rand() < 0.3;
	$fields{extra} = '{"deep": [1, "\u00e4"]}' if rand() < 0.1;
	return '{' . join(', ', map { qq("$_": $fields{$_}) } shuffle keys %fields) . '}';
}

# Cuts each partition's events into calls of the given sizes and merges them,
# by turns or at random.
sub calls
{
	my ($counts, $size_of, $random) = @_;
	my @queues;
	my @calls;

	for my $p (0 .. $#$counts)
	{
		for (my $lo = 0; $lo < $counts->[$p];)
		{
			my $hi = min($counts->[$p], $lo + $size_of->());
			push @{ $queues[$p] }, [ $p, $lo, $hi ];
			$lo = $hi;
		}
	}
	while (my @left = grep { $queues[$_] && @{ $queues[$_] } } 0 .. $#$counts)
	{
		push @calls, shift @{ $queues[ $random ? $left[ rand @left ] : $left[0] ] };
	}
	return @calls;
}

sub literal
{
	my ($value) = @_;
	return 'NULL' unless defined $value;
	$value =~ s/'/''/g;
	return "'$value'";
}

# What must not differ, of one variant.
sub outcome
{
	my ($variant) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT 'row', * FROM $variant ORDER BY _partition, _offset;
		SELECT 'dead letter', partition, kafka_offset, value, error_stage, sqlstate, message, detail, column_name,
			constraint_name, object_name
		FROM weir.dead_letters WHERE stream = '$variant' ORDER BY partition, kafka_offset;
		SELECT 'stats', partition, consumed, staged, duplicate, dead_lettered, dropped, skipped, replayed, applied_offset, watermark
		FROM weir.stream_stats WHERE stream = '$variant' ORDER BY partition;
		SELECT 'totals', kind, events, amount FROM totals WHERE variant = '$variant' ORDER BY kind;
		SELECT 'expectation', name, on_violation, passed, failed
		FROM weir.expectation_stats WHERE stream = '$variant' ORDER BY name;
		SELECT 'unbalanced', * FROM weir.audit('$variant') WHERE NOT balanced;
	});
}

# Says where two texts part.
sub same
{
	my ($got, $expected, $name) = @_;
	return pass($name) if $got eq $expected;
	my @got = split /\n/, $got;
	my @expected = split /\n/, $expected;
	my $i = 0;
	$i++ while $i < @got && $i < @expected && $got[$i] eq $expected[$i];
	fail($name);
	diag("line $i:\n  got      ", $got[$i] // '(end)', "\n  expected ", $expected[$i] // '(end)');
	return;
}

my $total = 0;
for my $run (1 .. $runs)
{
	my $seed = $ENV{WEIR_SEED} || int(rand 1_000_000_000) + 1;
	srand $seed;
	note("seed $seed");

	my @counts = map { 100 + int(rand 200) } 1 .. $partitions;
	$counts[0] += 2000 if $run % 4 == 0;
	my $tombstones = (qw(dead_letter skip))[ rand 2 ];
	my $disorder = int(rand 15);
	my $unique = rand() < 0.5;
	my $dropped = rand() < 0.5;
	my %expectations = expectations();
	my @rows;
	for my $p (0 .. $partitions - 1)
	{
		my $clock = 0;
		push @rows, map { $clock += rand 10; "($p, $_, " . literal(payload($clock)) . ')' } 0 .. $counts[$p] - 1;
	}

	my %variant = (
		by_one => [ calls(\@counts, sub { 1 }, 0) ],
		by_seven => [ calls(\@counts, sub { 7 }, 1) ],
		by_thousand => [ calls(\@counts, sub { 1000 }, 0) ],
		by_chance => [ calls(\@counts, sub { 1 + int(rand 60) }, 1) ],
		mixed_one => [ calls(\@counts, sub { 1 }, 1) ]);
	# the same again, without expectations; a unique index sees others there
	my $oracle = !$unique;
	$variant{bare} = $variant{judged} = [ calls(\@counts, sub { 1 + int(rand 300) }, 1) ] if $oracle;
	my $sql = "TRUNCATE source, calls, totals; DROP TYPE IF EXISTS mood CASCADE; CREATE TYPE mood AS ENUM ('ok', 'sad');\n"
	  . 'INSERT INTO source VALUES ' . join(', ', @rows) . ";\n";
	for my $name (sort keys %variant)
	{
		my $n = 0;
		$sql .= qq{
			DROP TABLE IF EXISTS $name;
			SELECT weir.create_stream('$name', event_time => 'ts', partitions => $partitions, tombstones => '$tombstones',
				max_out_of_orderness => '$disorder seconds',
				columns => 'junk text, id int NOT NULL, kind varchar(8) DEFAULT ''none'', amount numeric(8,2) DEFAULT 1 CHECK (amount > 0),
					mood mood, twice numeric GENERATED ALWAYS AS (amount * 2) STORED, ts timestamptz');
			CREATE TRIGGER add_up AFTER INSERT ON $name REFERENCING NEW TABLE AS new_events
				FOR EACH STATEMENT EXECUTE FUNCTION add_up();
		};
		$sql .= join('', map { "SELECT weir.expect('$name', '\"$_\"', " . literal($expectations{$_}[0]) . ", '$expectations{$_}[2]');\n" }
			  sort keys %expectations) if $name ne 'bare';
		# children made after a column is dropped number the others differently
		$sql .= "ALTER TABLE $name DROP COLUMN junk;\n";
		$sql .= qq{
			DO \$\$
			BEGIN
				EXECUTE 'DROP TABLE ' || (SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = '$name'::regclass);
			END
			\$\$;
		} if $dropped;
		$sql .= "CREATE UNIQUE INDEX ON $name (id, kind, _partition);\n" if $unique;
		$sql .= 'INSERT INTO calls VALUES '
		  . join(', ', map { "('$name', " . $n++ . ', ' . join(', ', @$_) . ')' } @{ $variant{$name} }) . ";\n";
		$sql .= "CALL feed('$name');\n";
	}
	$node->safe_psql('postgres', "SET client_min_messages = warning;\n$sql");

	my %outcome = map { my $text = outcome($_); $text =~ s/\b\Q$_\E_/name_/g; ($_ => $text) } keys %variant;
	my $events = () = $outcome{by_one} =~ /^row/mg;
	my $letters = () = $outcome{by_one} =~ /^dead letter/mg;
	$total += $events;
	cmp_ok($events + $letters, '>', 0, "seed $seed: $events events, $letters dead letters");
	same($outcome{$_}, $outcome{by_one}, "seed $seed: $_ like by_one") for grep { $_ ne 'by_one' && $_ ne 'bare' } sort keys %variant;
	same_as_oracle("seed $seed: rows are as expected: " . join(', ', map { "$_ $expectations{$_}[2]" } sort keys %expectations), %expectations) if $oracle;
	unlike($outcome{by_one}, qr/^unbalanced/m, "seed $seed: balanced");
	is($node->safe_psql('postgres', q{
		SELECT kind, events, amount FROM totals WHERE variant = 'by_chance'
		EXCEPT ALL
		SELECT kind, count(*), sum(amount) FROM by_chance GROUP BY kind}),
		'', "seed $seed: what the trigger kept is what the query says");
	is($node->safe_psql('postgres', qq{
		SELECT count(*) FROM (
			SELECT _watermark, coalesce(max(ts) OVER (PARTITION BY _partition ORDER BY _offset
				ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - interval '$disorder s', '-infinity') AS expected
			FROM by_seven) w
		WHERE _watermark IS DISTINCT FROM expected}),
		'0', "seed $seed: watermarks follow the rule");
}

cmp_ok($total, '>', 20 * $runs, 'enough events in all, whatever the expectations let through') unless $ENV{WEIR_SEED};

$node->stop;
done_testing();
