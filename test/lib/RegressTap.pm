# What pg_regress and its kin say, as TAP: one test each, with the difference
# from the expected output below those that fail.

package RegressTap;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(basename);
use File::Path qw(make_path);
use Test::More;

our @EXPORT = qw(run_regress);

# Returns the names of the files of a directory, without their extension.
sub names_of
{
	my ($directory, $extension) = @_;
	return map { basename($_, $extension) } sort glob("$directory/*$extension");
}

sub show_differences
{
	my ($file) = @_;
	open my $handle, '<', $file or return;
	diag($_) while (<$handle>);
	close $handle;
}

# run_regress(program, inputdir, directory and extension of the tests, names or
# none for all of them)
sub run_regress
{
	my ($program, $inputdir, $directory, $extension, @names) = @_;
	my $what = basename($program);
	my $outputdir = "$ENV{TESTDIR}/$what";
	my (%status, @said);

	@names = names_of($directory, $extension) unless @names;
	plan(skip_all => "no tests in $directory") unless @names;
	plan(tests => @names + 1);

	make_path($outputdir);
	# these name no configuration that the tests should see
	delete @ENV{qw(PGDATABASE PGOPTIONS)};
	open my $output, '-|', $program, "--inputdir=$inputdir", "--outputdir=$outputdir",
	  "--dbname=$what", '--bindir=', '--load-extension=pg_weir', @names
	  or BAIL_OUT("could not run $program: $!");
	while (<$output>)
	{
		push @said, $_;
		$status{$1} = $2 if /^test (\S+)\s+\.\.\. (\w+)/;     # up to PostgreSQL 15
		$status{$2} = $1 if /^(ok|not ok) \d+\s+[-+] (\S+)/;  # from 16 on
	}
	close $output;
	my $result = $?;

	ok(($status{$_} // 'missing') eq 'ok', $_) for @names;
	return if is($result, 0, "$what itself is content");
	diag($_) for @said;
	show_differences("$outputdir/regression.diffs");
}

1;
