# Streams survive faults drawn at random: a short soak.  test/soak/run makes
# long ones.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Soak;
use Test::More;

# real Kafka: --kafka
my $seed = $ENV{WEIR_SEED} // int(rand(2**31));
diag("WEIR_SEED=$seed");

my $soak = Soak->new(seed => $seed, seconds => 25, gap => 2);
$soak->run;
done_testing();
