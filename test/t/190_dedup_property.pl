# Duplicates are told as the rule says, however the stream came: in whatever
# batches and sessions, with whatever was rolled back in between, in whatever
# memory, before and after a crash.  The oracle knows the rule and nothing else.
#
# Inputs are generated; each run prints its seed.  WEIR_SEED repeats one run,
# WEIR_RUNS says how many there are.

use strict;
use warnings;

use IPC::Run ();
use List::Util qw(max min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant ORIGIN => 946857600 * 1_000_000;    # 2000-01-03, as microseconds from 1970

my $runs = $ENV{WEIR_SEED} ? 1 : $ENV{WEIR_RUNS} || 10;

my $node = PostgreSQL::Test::Cluster->new('dedup');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nclient_min_messages = warning\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_weir;
	CREATE TABLE source (p int, i int, payload text, fresh boolean, PRIMARY KEY (p, i));
	-- before: what to do with the same call first, 1 in a subtransaction, 2 in a transaction, to take it back
	CREATE TABLE calls (variant text, n int, p int, lo int, hi int, before int, commits boolean);
	CREATE TABLE accepted (variant text, p int, i bigint, id text, watermark timestamptz, PRIMARY KEY (variant, p, i));

	CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM batch WHERE v = 13) THEN
			RAISE 'thirteen';
		END IF;
		INSERT INTO accepted SELECT TG_TABLE_NAME, _partition, _offset, id, _watermark FROM batch;
		RETURN NULL;
	END
	$$;
	CREATE FUNCTION send(c calls) RETURNS void LANGUAGE sql AS $$
		SELECT weir.ingest(c.variant::regclass, (SELECT array_agg(payload ORDER BY i) FROM source s
			WHERE s.p = c.p AND s.i >= c.lo AND s.i < c.hi AND (c.variant <> 'clean' OR fresh)), partition => c.p)
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
});

sub pick { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }

# The rule: the end of the slice that an event time is in.
sub slice_end
{
	my ($time, $ttl) = @_;
	my $slice = int($ttl / 8);
	my $since = $time - ORIGIN;
	return $time - $since % $slice + $slice;    # Perl's % is never negative here
}

# The rule: what becomes of the events of one partition, in their order.
sub judge
{
	my ($events, $ttl, $disorder) = @_;
	my ($watermark, %last);
	for my $event (@$events)
	{
		my $known = defined $event->{id} ? $last{ $event->{id} } : undef;
		my $duplicate = !$event->{broken}
		  && defined $known && (!defined $watermark || slice_end($known, $ttl) + $ttl > $watermark);

		$event->{watermark} = $watermark;
		$event->{fate} = $duplicate ? 'duplicate' : $event->{broken} || $event->{v} == 13 ? 'dead letter' : 'accepted';
		next if $event->{fate} eq 'dead letter';
		$watermark = max($watermark // $event->{time} - $disorder, $event->{time} - $disorder);
		$last{ $event->{id} } = $event->{time} unless $duplicate;
	}
	return $watermark;
}

# Returns the events of a partition.  With $exact, copies are exact, and come soon enough.
sub events
{
	my ($p, $n, $epoch, $ttl, $exact) = @_;
	my $clock = $epoch;
	my $step = $ttl / pick(10, 40, 200);
	my @events;

	while (@events < $n)
	{
		my %event;
		$clock += int(rand(2 * $step));
		if (@events && chance(0.4))
		{
			%event = %{ $events[ chance(0.6) ? max(0, $#events - int(rand 30)) : rand @events ] };
			next if $exact && ($event{broken} || $event{v} == 13 || slice_end($event{time}, $ttl) + $ttl <= $clock);
			$event{time} = $clock - (chance(0.3) ? int(rand $ttl) : 0) unless $exact;
			$event{v} = int(rand 40) unless $exact;
			$event{broken} = !$exact && chance(0.05) ? 1 : 0;
		}
		else
		{
			%event = (id => $p . '-' . @events, time => $clock - (chance(0.3) ? int(rand $ttl / 4) : 0),
				v => int(rand 40), broken => chance(0.03) ? 1 : 0);
		}
		push @events, \%event;
	}
	return \@events;
}

sub payload
{
	my ($event, $nameless) = @_;
	return '{"id": null, "v": 1, "ts": 0}' if $event->{broken} && $nameless;
	return sprintf '{"id": "%s", "v": %s, "ts": %.0f}', $event->{id}, $event->{broken} ? '"x"' : $event->{v}, $event->{time};
}

# Returns calls that send each partition's events in parts, by turns at random.
sub calls
{
	my ($variant, $partitions, $size_of, $undo) = @_;
	my @next = map { 0 } @$partitions;
	my @calls;
	while (my @left = grep { $next[$_] < @{ $partitions->[$_] } } 0 .. $#$partitions)
	{
		my $p = pick(@left);
		my $beyond = min(scalar @{ $partitions->[$p] }, $next[$p] + $size_of->());
		push @calls, sprintf("('%s', %d, %d, %d, %d, %d, %s)", $variant, scalar @calls, $p, $next[$p], $beyond,
			$undo && chance(0.4) ? pick(1, 2) : 0, $undo && chance(0.4) ? 'false' : 'true');
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

# What a variant has accepted, and its books.
sub outcome
{
	my ($variant) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT p, i, id, CASE WHEN isfinite(watermark) THEN extract(epoch FROM watermark) * 1000000 END::bigint
		FROM accepted WHERE variant = '$variant' ORDER BY p, i;
		SELECT 'books', partition, consumed, staged, duplicate, dead_lettered, extract(epoch FROM watermark)::numeric * 1000000
		FROM weir.stream_stats WHERE stream = '$variant' ORDER BY partition;
		SELECT 'unbalanced', * FROM weir.audit('$variant') WHERE NOT balanced;
	}) =~ s/\.0+$//mgr;
}

# The same by the rule.
sub expected
{
	my ($partitions, $watermarks) = @_;
	my ($rows, $books) = ('', '');
	for my $p (0 .. $#$partitions)
	{
		my %n = ('accepted' => 0, 'duplicate' => 0, 'dead letter' => 0);
		my $i = 0;
		for my $event (@{ $partitions->[$p] })
		{
			$n{ $event->{fate} }++;
			$rows .= "$p|$i|$event->{id}|" . ($event->{watermark} // '') . "\n" if $event->{fate} eq 'accepted';
			$i++;
		}
		$books .= join('|', 'books', $p, $i, @n{ 'accepted', 'duplicate', 'dead letter' }, $watermarks->[$p]) . "\n";
	}
	chomp $books;
	return $rows . $books;
}

my %size_of = (
	by_one => sub { 1 }, by_seven => sub { 7 }, by_thousand => sub { 1000 }, undone => sub { 1 + int(rand 40) },
	lanes => sub { 1 + int(rand 9) }, tight => sub { 1 + int(rand 300) }, crashed => sub { 1 + int(rand 60) });

for my $run (1 .. $runs)
{
	my $seed = $ENV{WEIR_SEED} || int(rand 1_000_000_000) + 1;
	srand $seed;
	note("seed $seed");

	my $ttl = pick(8_000_000, 86_400_000_000, 77_777_777, 1_000);
	my $epoch = pick(1767225600, 946684800, -86400 * 10) * 1_000_000 + int(rand 1_000_000_000);
	my $disorder = chance(0.5) ? 0 : int(rand $ttl);
	my $exact = $run % 3 == 0;
	my @partitions = map { events($_, $_ == 0 && $run % 5 == 0 ? 2500 : 50 + int(rand 150), $epoch, $ttl, $exact) } 0 .. int(rand 3);
	my @watermarks = map { judge($_, $ttl, $disorder) } @partitions;
	my @variants = (sort(keys %size_of), $exact ? 'clean' : ());

	my @rows;
	for my $p (0 .. $#partitions)
	{
		my $i = 0;
		push @rows, sprintf("(%d, %d, '%s', %s)", $p, $i++, payload($_, $seed % 2), $_->{fate} eq 'duplicate' ? 'false' : 'true')
		  for @{ $partitions[$p] };
	}
	my $setup = 'TRUNCATE source, calls, accepted; INSERT INTO source VALUES ' . join(', ', @rows) . ";\n";
	for my $v (@variants)
	{
		$setup .= "SELECT weir.create_stream('$v', event_time => 'ts', partitions => " . @partitions . ", time_unit => 'us',"
		  . " event_id => '{id}', dedup_ttl => '$ttl us', max_out_of_orderness => '$disorder us',"
		  . " columns => 'id text, v int, ts timestamptz');\n"
		  . "CREATE TRIGGER take AFTER INSERT ON $v REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION take();\n"
		  . 'INSERT INTO calls VALUES ' . join(', ', calls($v, \@partitions, $size_of{$v} // sub { 25 }, $v eq 'undone')) . ";\n";
	}
	$node->safe_psql('postgres', $setup);
	$node->safe_psql('postgres', "CALL feed('$_', NULL, 0, 1000000)") for grep { !/^(?:lanes|tight|crashed)$/ } @variants;
	$node->safe_psql('postgres', "SET weir.dedup_memory = '64 kB'; CALL feed('tight', NULL, 0, 1000000)");
	at_once(map { "CALL feed('lanes', $_, 0, 1000000);\n" } 0 .. $#partitions);
	my $half = $node->safe_psql('postgres', "SELECT max(n) / 2 FROM calls WHERE variant = 'crashed'");
	$node->safe_psql('postgres', "CALL feed('crashed', NULL, 0, $half)");
	if ($run % 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	$node->safe_psql('postgres', "CALL feed('crashed', NULL, $half, 1000000)");

	my $expected = expected(\@partitions, \@watermarks);
	my ($duplicates) = $expected =~ tr/\n// + 1;
	note(sprintf '%d partitions, %d events, %d of them accepted; remembered for %s us, out of order by %s',
		scalar @partitions, scalar @rows, $duplicates - @partitions, $ttl, $disorder);
	same(outcome($_), $expected, "seed $seed: $_") for grep { $_ ne 'clean' } @variants;

	# what duplicates leave behind is as if they had never been
	same($node->safe_psql('postgres', q{SELECT p, id, watermark FROM accepted WHERE variant = 'clean' ORDER BY p, i}),
		$node->safe_psql('postgres', q{SELECT p, id, watermark FROM accepted WHERE variant = 'by_seven' ORDER BY p, i}),
		"seed $seed: without duplicates") if $exact;
	$node->safe_psql('postgres', join '', map { "DROP TABLE $_;\n" } @variants);
}

# Copies in several partitions, from several sessions at once: one of each counts.
my $ids = 400;
$node->safe_psql('postgres', qq{
	SELECT weir.create_stream('crowd', 'id int, v int', event_id => '{id}', dedup_ttl => '1 day', partitions => 4);
	TRUNCATE calls, source;
	INSERT INTO source SELECT p, i, format('{"id": %s, "v": 1}', (i + 3 * p) % $ids), true FROM generate_series(0, 3) p, generate_series(0, 2 * $ids - 1) i;
	INSERT INTO calls SELECT 'crowd', i, p, i * 10, i * 10 + 10, 0, true FROM generate_series(0, 3) p, generate_series(0, 2 * $ids / 10 - 1) i;
});
at_once(map { "CALL feed('crowd', $_, 0, 1000000);\n" } 0 .. 3);
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM crowd'), "$ids|$ids",
	'of copies in several partitions one counts');
is($node->safe_psql('postgres', q{SELECT sum(consumed), sum(duplicate), bool_and(balanced) FROM weir.audit('crowd')}),
	8 * $ids . '|' . 7 * $ids . '|t', 'and the others are duplicates');
$node->safe_psql('postgres', 'DROP TABLE crowd');
is($node->safe_psql('postgres', q{SELECT relname FROM pg_class WHERE relnamespace = 'weir_internal'::regnamespace AND relname LIKE '%\_ids'}),
	'', 'nothing is left of what was dropped');

$node->stop;
done_testing();
