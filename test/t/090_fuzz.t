# The decoder under libFuzzer with sanitizers, outside of a server: all seeds,
# then new inputs for a short time.  test/fuzz/run says more, and runs for longer.
#
# WEIR_SEED repeats a run as far as that is possible: how far it gets in its time
# depends on the machine.

use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;

my $seconds = $ENV{WEIR_SECONDS} // 8;
my $seed = $ENV{WEIR_SEED} || 1 + int rand 2**31;
my $directory = tempdir('weir-fuzz-XXXX', TMPDIR => 1, CLEANUP => 1);

note("WEIR_SEED=$seed");
for my $target (qw(json text))
{
	my @output = qx{test/fuzz/run -t $target -s $seed -o $directory $seconds 2>&1};

	chomp @output;
	ok($? == 0, "$target: nothing found in the seeds and in $seconds seconds")
	  or diag("WEIR_SEED=$seed");
	ok((grep { /seeds$/ } @output) && (grep { /cov: \d{3}/ } @output), "$target: has run");
	$? == 0 ? note($_) : diag($_) for @output;
}

done_testing();
