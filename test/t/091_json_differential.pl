# Streams against PostgreSQL's own json and jsonb: which messages are taken, and
# which values come out, in a server.
#
# Inputs are those of test/fuzz/seeds, generated messages, and both with faults.
# Each run prints its seed.  WEIR_SEED repeats it, WEIR_RUNS says how many
# thousand messages there are.  What is meant to differ (docs/streams.md) is in
# one function, intended().

use strict;
use warnings;

use List::Util qw(max min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $count = 1000 * ($ENV{WEIR_RUNS} || 6);
my $seed = $ENV{WEIR_SEED} || 1 + int rand 2**31;

my @columns = (
	[ i2 => 'int2' ], [ i4 => 'int4' ], [ i8 => 'int8' ], [ f4 => 'float4' ], [ f8 => 'float8' ],
	[ n => 'numeric' ], [ n62 => 'numeric(6,2)' ], [ b => 'bool' ], [ t => 'text' ], [ v => 'varchar(3)' ],
	[ u => 'uuid' ], [ tz => 'timestamptz' ], [ tz3 => 'timestamptz(3)' ], [ ts => 'timestamp' ], [ d => 'date' ],
	[ j => 'json' ], [ jb => 'jsonb' ], [ ba => 'bytea' ], [ iv => 'interval' ], [ c => 'char(3)' ],
	[ a => 'int[]' ], [ e => 'mood' ], [ pc => 'percent' ]);

# Messages

my @strings = (
	'', 'x', ' ', 'abc  ', 'abcd', "\xc3\xa4\xc3\xb6\xc3\xbc", "\xf0\x9f\x98\x80", '\\u00e4', '\\ud83d\\ude00', '\\"', '\\\\',
	'\\/', '\\b\\f\\n\\r\\t', '\\u0041', '\\u0000', '\\ud800', '\\udc00x', '\\ud800\\ud800', '\\q', '\\u12', "\t", "\x01", "\x7f",
	"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x00", '1', ' 12 ', '+3', '-0', '1.5', '1e2', '0x10', '1_000',
	'32768', '2147483648', '9223372036854775808', '-9223372036854775808', '1e400', '1e-400', '4.9e-324', '1.7976931348623159e308',
	'3.5e38', '9999.994', '9999.995', '-0.005', 'NaN', 'nan', 'Infinity', '-inf', 'true', 'yes', 'of', 'o', 'T', '0', '2',
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{A0EEBC999C0B4EF8BB6D6BB9BD380A11}', 'a0eebc99-9c0b4ef8bb6d6bb9bd380a1',
	'2026-01-01', '2026-01-01T00:00:00Z', '2026-01-01 23:59:60', '2026-01-01T24:00:00', '2026-01-01T00:00:00.1234565+05:30',
	'2026-02-30', '2024-02-29', '0000-01-01', '2026-01-01T25:00', '2026-07-01 12:00 Europe/Berlin', '2026-07-01 12:00 europe/berlin',
	'2026-07-01 12:00 Nowhere/City', '2026-07-01 12:00 ABC5', '2026-07-01 12:00 EST5EDT', '2026-07-01 12:00 PST', 'Jan 8 1999',
	'20260101T000000', '2026.032', 'J2451187', '4713-11-24 BC', '4715-01-01 BC', '294276-12-31', '294277-01-01', '5874897-12-31',
	'infinity', '-infinity', 'epoch', 'now', 'today', 'tomorrow 04:05', 'yesterday', 'allballs', 'soon', '12:00',
	'2026-01-01 00:00:00+16', '2026-01-01 00:00:00+15:59:59', '1 day', '1 mon -2:03', 'P1Y2M', '\\\\xdeadbeef', '\\\\xdeadbee', '\\\\000',
	'{1,2}', '{1,x}', '{{1},{2}}', 'ok', 'angry', '100', '101');
my @numbers = (
	'0', '-0', '1', '-1', '7', '100', '101', '32767', '32768', '2147483647', '2147483648', '-2147483649', '9223372036854775807', '9223372036854775808',
	'0.1', '1.0', '1.50', '1e2', '1E+2', '1e-2', '0.1e1', '16777217', '9007199254740993', '123456789012345678901234567890.5', '1e22', '1e23',
	'1e38', '3.5e38', '1e308', '1e400', '1e-400', '1e131071', '1e131072', '1e-16383', '1e-16384', '9999.994', '9999.995', '-9999.995',
	'01', '+1', '.5', '1.', '1e', '-', '0x10', 'NaN', 'Infinity', '1_000', '20260101', '1767225600');

sub pick
{
	return $_[ rand @_ ];
}

# Returns a value of JSON, or nearly.
sub value
{
	my ($depth) = @_;
	my $kind = rand;

	return '"' . pick(@strings) . '"' if $kind < 0.5;
	return pick(@numbers) if $kind < 0.75;
	return pick(qw(null true false nul True)) if $kind < 0.87;
	return pick('{}', '[]', '[1, 2]', '["x"]', '[null]') if $depth > 2;
	return '[' . join(pick(',', ' , '), map { value($depth + 1) } 1 .. rand 4) . ']' if $kind < 0.93;
	return object($depth + 1);
}

sub object
{
	my ($depth) = @_;
	my @names = ((map { $_->[0] } @columns) x 2, qw(x y z user), '', '\\u0069\\u0034', "\xc3\xa4", 'I4', '_extra', '_offset', '\\u0000');

	return '{' . join(pick(',', ',', " ,\n"),
		map { '"' . pick(@names) . '"' . pick(':', ': ', ' : ') . value($depth) } 1 .. 1 + rand 3) . '}';
}

my @dictionary = ('{', '}', '[', ']', '"', ':', ',', '\\', '\\u0000', '\\ud800', 'null', '1e131072', "\xef\xbb\xbf", "\xff", "\x00", ' ', '"i4":', '"jb":');

# Returns bytes with faults in them.
sub mutated
{
	my ($bytes) = @_;

	for (1 .. 1 + rand 2)
	{
		my $at = int rand(1 + length $bytes);
		my $how = int rand 5;

		if    ($how == 0) { substr($bytes, $at, 0) = pick(@dictionary) }
		elsif ($how == 1) { substr($bytes, $at, 1 + rand 3) = '' }
		elsif ($how == 2) { substr($bytes, $at, 1) = chr rand 256 }
		elsif ($how == 3) { $bytes = substr $bytes, 0, $at }
		else              { substr($bytes, $at, 0) = substr($bytes, rand length $bytes, rand 12) }
	}
	return $bytes;
}

sub contents
{
	my ($file) = @_;

	open my $handle, '<:raw', $file or die "could not open $file: $!";
	local $/;
	return scalar <$handle>;
}

note("WEIR_SEED=$seed");
srand $seed;

my @seeds = map { contents($_) // '' } sort glob 'test/fuzz/seeds/json/*';
ok(@seeds > 20, 'there are seeds: ' . @seeds);
# As values of each column: the texts of scalars, where JSON can hold them as they are.
my @texts = grep { !/["\\\x00-\x1f]/ } map { contents($_) // '' } sort glob 'test/fuzz/seeds/text/*';
my @messages = (
	@seeds, '{"a":1', 'null', '[]', '""', '{"jb":1} x', "\xef\xbb\xbf{}", '{"x":' . '[' x 10000 . ']' x 10000 . '}', '[' x 10000,
	(map { my $text = $_; map { qq({"$_->[0]":"$text"}) } @columns } @texts),
	(map { my $number = $_; map { qq({"$_->[0]":$number}) } @columns } @numbers));
while (@messages < $count)
{
	my $kind = rand;

	push @messages, $kind < 0.7 ? object(0) : $kind < 0.85 ? mutated(object(0)) : mutated(pick(@seeds));
}

# The server

my $node = PostgreSQL::Test::Cluster->new('differential');
# Whatever the machine says: streams need UTF8.
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'America/New_York'\n");
$node->start;

my $declared = join ', ', map { "$_->[0] $_->[1]" } @columns;
my $names = join ', ', map { $_->[0] } @columns;

# How each column should be read: as the operator ->> gives it.
sub cast
{
	my ($name, $type) = @{ $_[0] };

	return "(doc -> '$name')::text::$type" if $type =~ /^json/;
	return "CASE WHEN json_typeof(doc -> '$name') IN ('array', 'object') THEN (jsonb_populate_record(NULL::shape, jsonb_build_object('$name', doc -> '$name'))).$name"
	  . " ELSE (doc ->> '$name')::$type END" if $type eq 'int[]';
	# an explicit cast would cut it off
	return "doc ->> '$name'" if $type =~ /char/;
	return "(doc ->> '$name')::$type" if $type !~ /^(timestamp|date)/;
	return "weir_time(doc, '$name')::$type";
}
my $assignments = join "\n\t\t",
  map { "IF (doc -> '$_->[0]')::text <> 'null' THEN r.$_->[0] := @{[ cast($_) ]}; END IF;" } @columns;

$node->safe_psql('postgres', qq{
	CREATE EXTENSION pg_weir;
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
	CREATE TABLE messages (id bigint PRIMARY KEY, message bytea);
	CREATE TYPE shape AS ($declared);
	SELECT weir.create_stream('typed', columns => '$declared');
	SELECT weir.create_stream('whole', columns => 'value jsonb');
	CREATE TYPE expectation AS (sqlstate text, r shape, too_large boolean, extra jsonb);

	-- a number says nothing about time without a time_unit
	CREATE FUNCTION weir_time(doc json, name text) RETURNS text LANGUAGE plpgsql AS \$\$
	BEGIN
		IF json_typeof(doc -> name) = 'number' THEN
			RAISE EXCEPTION 'number' USING ERRCODE = '22007';
		END IF;
		RETURN doc ->> name;
	END
	\$\$;

	-- what PostgreSQL makes of a message
	CREATE FUNCTION expected(message bytea) RETURNS expectation LANGUAGE plpgsql SET timezone = 'UTC' AS \$\$
	DECLARE
		doc json;
		whole jsonb;
		r shape;
	BEGIN
		doc := convert_from(message, 'UTF8');
		BEGIN
			whole := doc::text;
		EXCEPTION WHEN numeric_value_out_of_range THEN
			NULL;	-- does it matter? only in a column of jsonb or numeric
		END;
		IF json_typeof(doc) <> 'object' THEN
			RETURN ROW('22P02', NULL, NULL, NULL)::expectation;
		END IF;
		$assignments
		RETURN ROW(NULL, r, whole IS NULL, NULLIF(whole - string_to_array('$names', ', '), '{}'))::expectation;
	EXCEPTION WHEN OTHERS THEN
		RETURN ROW(sqlstate, NULL, NULL, NULL)::expectation;
	END
	\$\$;

	-- differences that are meant to be
	CREATE FUNCTION intended(message bytea, expected text, actual text) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE
			WHEN actual = '54001' AND expected IS NULL THEN 'depth'
			WHEN actual = '22007' AND encode(message, 'escape') ~* 'now|today|tomorrow|yesterday' THEN 'clock'
			WHEN actual = '22023' AND encode(message, 'escape') ~ '[A-Za-z].*[0-9]' THEN 'time zone that has no name'
			WHEN actual = '22003' AND expected IS NULL AND encode(message, 'escape') ~ 'e-\\d{5,}' THEN 'number of very many decimals'
		END
	\$\$;
});

my $copy = join '', map { "$_\t\\\\x" . unpack('H*', $messages[$_]) . "\n" } 0 .. $#messages;
$node->safe_psql('postgres', "COPY messages FROM stdin;\n$copy\\.\n");

sub answer
{
	return $node->safe_psql('postgres', $_[0]);
}

# Both take them at once; what they refuse becomes a dead letter.
is(answer(q{
	SELECT accepted + dead_lettered = (SELECT count(*) FROM messages) AND accepted > 100 AND dead_lettered > 100
	FROM weir.ingest('typed', (SELECT array_agg(message ORDER BY id) FROM messages), kafka_timestamp => '2026-01-01Z')
}), 't', scalar(@messages) . ' messages go to columns');
is(answer(q{
	SELECT accepted + dead_lettered = (SELECT count(*) FROM messages) AND accepted > 100 AND dead_lettered > 100
	FROM weir.ingest('whole', (SELECT array_agg('{"value":'::bytea || message || '}' ORDER BY id) FROM messages),
		kafka_timestamp => '2026-01-01Z')
}), 't', 'and into one of jsonb');

answer(q{
	CREATE TABLE results AS
	SELECT m.id, m.message, expected(m.message) AS e, s._offset IS NOT NULL AS accepted, s AS "row", d.error_stage, d.sqlstate AS actual, d.column_name
	FROM messages m
	LEFT JOIN typed s ON s._offset = m.id
	LEFT JOIN weir.dead_letters d ON d.stream = 'typed' AND d.kafka_offset = m.id;
	CREATE TABLE differences AS
	SELECT *, CASE WHEN (e).too_large AND actual = '22003' AND column_name = '_extra' THEN 'number too large for _extra'
		ELSE intended(message, (e).sqlstate, actual) END AS intended
	FROM results
	WHERE accepted <> ((e).sqlstate IS NULL) OR (error_stage = 'convert' AND (e).sqlstate <> actual);
});

my $row = join ', ', map { qq{("row").$_->[0]} } @columns;

# Differences are shown with the first messages that have them.
sub no_difference
{
	my ($name, $query) = @_;

	is(answer("SELECT * FROM ($query) d LIMIT 5"), '', $name) or diag("WEIR_SEED=$seed");
}

no_difference('the same messages are taken, or refused with the same SQLSTATE', q{
	SELECT left(encode(message, 'escape'), 300), (e).sqlstate AS expected, error_stage, actual, column_name
	FROM differences WHERE intended IS NULL ORDER BY length(message)});
no_difference('and become the same values', qq{
	SELECT left(encode(message, 'escape'), 300), (e).r, r
	FROM (SELECT message, e, ROW($row)::shape AS r
		FROM results WHERE accepted AND (e).sqlstate IS NULL) x
	WHERE r::text <> ((e).r)::text ORDER BY length(message)});
no_difference('and what no column holds is kept', q{
	SELECT left(encode(message, 'escape'), 300), (e).extra, ("row")._extra
	FROM results WHERE accepted AND (e).sqlstate IS NULL AND NOT (e).too_large AND ("row")._extra IS DISTINCT FROM (e).extra ORDER BY length(message)});
note("intended: $_") for split /\n/, answer('SELECT count(*), intended FROM differences WHERE intended IS NOT NULL GROUP BY 2 ORDER BY 1 DESC');

answer(q{
	CREATE FUNCTION as_jsonb(message bytea, OUT result jsonb, OUT state text) LANGUAGE plpgsql AS $$
	BEGIN
		result := convert_from(message, 'UTF8');
	EXCEPTION WHEN OTHERS THEN
		state := sqlstate;
	END
	$$;
	CREATE TABLE wholes AS
	SELECT m.message, e.result, e.state, s._offset IS NOT NULL AS accepted, s.value, s._extra, d.sqlstate AS actual
	FROM (SELECT id, '{"value":'::bytea || message || '}' AS message FROM messages) m
	CROSS JOIN LATERAL as_jsonb(m.message) e
	LEFT JOIN whole s ON s._offset = m.id
	LEFT JOIN weir.dead_letters d ON d.stream = 'whole' AND d.kafka_offset = m.id;
});
no_difference('a column of jsonb takes what jsonb takes', q{
	SELECT left(encode(message, 'escape'), 300), state AS expected, actual FROM wholes
	WHERE accepted <> (state IS NULL) AND intended(message, state, actual) IS NULL ORDER BY length(message)});
no_difference('and has the same value', q{
	SELECT left(encode(message, 'escape'), 300), result, value, _extra FROM wholes
	WHERE accepted AND state IS NULL
	AND (NULLIF(result -> 'value', 'null') IS DISTINCT FROM value OR NULLIF(result - 'value', '{}') IS DISTINCT FROM _extra)
	ORDER BY length(message)});

# However large a message is, each byte of it is looked at a few times only: what
# is not so would take minutes here, or hours.
my %large = (
	'brackets that nest' => q~'{"x":' || repeat('[', 500000) || repeat(']', 500000) || '}'~,
	'brackets side by side' => q~'{"x":[' || repeat('[],', 300000) || '1]}'~,
	'one field many times' => q~'{' || repeat('"i4":1,', 150000) || '"i4":1}'~,
	'one unknown field many times' => q~'{' || repeat('"z":1,', 150000) || '"i4":1}'~,
	'many unknown fields' => q~'{' || (SELECT string_agg(format('"k%s":1', i), ',') FROM generate_series(1, 100000) i) || '}'~,
	'names with escapes' => q~'{' || repeat('"\u007a":1,', 100000) || '"i4":1}'~,
	'a string of escapes' => q~'{"t":"' || repeat('\u00e4', 170000) || '"}'~,
	'an open string of escapes' => q~'{"t":"' || repeat('\"', 500000)~,
	'digits' => q~'{"n":' || repeat('1', 1000000) || '}'~,
	'digits in a text' => q~'{"f8":"' || repeat('1', 1000000) || '"}'~,
	'numbers of many digits' => q~'{"jb":[' || repeat(repeat('1', 100000) || ',', 10) || '1]}'~,
	'space' => q~'{' || repeat(' ', 1000000) || '"tz":"' || repeat(' ', 1000000) || '2026-01-01"}'~,
);
for my $kind (sort keys %large)
{
	is(answer("SET statement_timeout = '60s'; SELECT accepted + dead_lettered FROM weir.ingest('typed', $large{$kind}, kafka_timestamp => '2026-01-01Z')"),
		'1', "a message of a megabyte: $kind");
}

# Time zones stay in memory once they have been asked for: messages must not make up new ones.
is(answer(q{
	SELECT dead_lettered FROM weir.ingest('typed', (SELECT array_agg(format('{"tz":"2026-01-01 12:00 %s5"}', name))
		FROM (SELECT 'ZZ' || chr(65 + i / 676) || chr(65 + i / 26 % 26) || chr(65 + i % 26) AS name FROM generate_series(0, 1999) i) z),
		kafka_timestamp => '2026-01-01Z');
	SELECT sum(total_bytes) < 5000000 FROM pg_backend_memory_contexts WHERE name = 'Timezones';
}), "2000\nt", 'messages do not fill the memory with time zones');

$node->stop;
done_testing();
