# The examples print what examples/expected/ says, the first time and again.
# They run as a newcomer runs them: with the sandbox's psql.  So does demo/quality.

use strict;
use warnings;

use Cwd qw(getcwd);
use File::Basename qw(basename);
use File::Temp qw(tempdir);
use Test::More;

my $sandbox = getcwd() . '/tools/sandbox';
my $directory = tempdir('examples.XXXXXX', DIR => $ENV{TESTDIR} // '/tmp', CLEANUP => 1);
my @examples = map { basename($_, '.sql') } sort glob('examples/*.sql');

$ENV{WEIR_SANDBOX} = "$directory/sandbox";

# Runs a verb of the sandbox; returns what it prints.
sub sandbox
{
	my ($verb) = @_;
	my $output = `$sandbox $verb 2>$directory/stderr`;

	return $output if $? == 0;
	open my $handle, '<', "$directory/stderr";
	diag("sandbox $verb: ", <$handle>);
	return "failed\n";
}

sub contents
{
	my ($file) = @_;
	open my $handle, '<', $file or return "there is no $file\n";
	local $/;
	return <$handle>;
}

sandbox('up --mock');
sandbox('topic sensor-data --partitions 1');
sandbox('produce sensor-data <examples/data/sensor-data.json');

ok(@examples > 0, 'there are examples');
foreach my $round ('', ', again')
{
	foreach my $example (@examples)
	{
		is( sandbox("psql -X -v ON_ERROR_STOP=1 -f examples/$example.sql"),
			contents("examples/expected/$example.out"),
			"$example$round");
	}
}

# The demo of data quality finds what is planted, and nothing else; it finds
# nothing where nothing is planted.
foreach my $faults ([], ['none'], [ 'nulls', 'drift', 'late' ])
{
	my $plant = @$faults ? qq{-v plant="@$faults"} : '';
	my $planted = @$faults ? grep({ $_ ne 'none' } @$faults) : 9;

	like( sandbox("psql -X -q $plant -f demo/quality.sql"),
		qr/, $planted faults planted, $planted found, 0 unexpected$/,
		'demo/quality with ' . (@$faults ? "faults: @$faults" : 'all faults'));
}

# Expected output that nobody compares would only look like a test.
is_deeply(
	[ map { basename($_, '.out') } sort glob('examples/expected/*.out') ],
	\@examples, 'each expected output has its example');

done_testing();

END
{
	my $status = $?;
	system("$sandbox down 2>/dev/null") if -d "$directory/sandbox";
	$? = $status;
}
