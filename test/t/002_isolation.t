# What sessions see of each other: test/specs/, against the server that
# test/run started.

use strict;
use warnings;

use RegressTap;

run_regress($ENV{PG_ISOLATION_REGRESS}, 'test', 'test/specs', '.spec', split ' ', $ENV{TESTS_SPECS});
