# The regression tests in sql/, against the server that test/run started.

use strict;
use warnings;

use RegressTap;

run_regress($ENV{PG_REGRESS}, '.', 'sql', '.sql', split ' ', $ENV{TESTS_REGRESS});
