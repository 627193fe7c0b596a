# A row that every batch changes stays cheap to find while an old snapshot keeps
# all of its former versions: what counts is how many blocks a batch looks at.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use Sandbox;
use Test::More;

my $batches = 5000;
my $box = Sandbox->new('no-broker', 'autovacuum=off', 'synchronous_commit=off');

# Applies batches of one message, each in a transaction of its own.
sub apply_batches
{
	my ($n) = @_;

	$box->sql("DO \$\$ BEGIN FOR i IN 1 .. $n LOOP"
		  . " PERFORM weir.ingest('ticks', '{\"id\": 1}'); COMMIT; END LOOP; END \$\$");
}

# Returns how many blocks of the partitions' table and its index one more batch looks at.
sub blocks_of_a_batch
{
	my $blocks = "SELECT sum(pg_stat_get_xact_blocks_fetched(c)) AS %s FROM (VALUES"
	  . " ('weir_internal.stream_partition'::regclass), ('weir_internal.stream_partition_pkey')) t (c)";

	return $box->sql("BEGIN; " . sprintf($blocks, 'before') . " \\gset\n"
		  . "SELECT weir.ingest('ticks', '{\"id\": 1}') AS counts \\gset\n"
		  . sprintf($blocks, 'after') . " \\gset\n"
		  . "COMMIT; SELECT :after - :before");
}

$box->sql("SELECT weir.create_stream('ticks', columns => 'id int')");
apply_batches(100);
my $plain = blocks_of_a_batch();

# Somebody has had a transaction open for long.
local $ENV{WEIR_SANDBOX} = $box->{directory};
my ($in, $out) = ("BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT consumed FROM weir.stream_stats;\n", '');
my $old = IPC::Run::start([ "$FindBin::RealBin/../../tools/sandbox", qw(psql -X -q -A -t) ], \$in, \$out);
$old->pump until $out =~ /\n/;

apply_batches($batches);
my $bloated = blocks_of_a_batch();
cmp_ok($bloated, '<=', 3 * $plain, "a batch looks at few blocks after $batches others under an old snapshot")
  or diag("$plain before, $bloated after");
is($box->sql('SELECT count(*), sum(consumed), sum(applied_offset) FROM weir_internal.stream_partition'),
	join('|', 1, ($batches + 102) x 2), 'there is one row, with all of them');
cmp_ok($box->sql('SELECT generation FROM weir_internal.stream_partition'), '>', 10, 'which has left its page often');

$in .= "SELECT consumed FROM weir.stream_stats;\n";
$old->pump until $out =~ /\n.*\n/;
is($out, "101\n101\n", 'the old snapshot sees the row as it was');
$in .= "\\q\n";
$old->finish;

# Once nobody needs the versions any more, they go.
$box->sql('VACUUM weir_internal.stream_partition');
my ($size) = $box->sql("SELECT pg_relation_size('weir_internal.stream_partition')");
apply_batches(1000);
cmp_ok($box->sql("SELECT pg_relation_size('weir_internal.stream_partition')"), '<=', $size,
	'and their room is used again');

done_testing();
