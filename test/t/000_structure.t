# The house rules that a script can see: who includes whom, who names what,
# how long functions are, and that no test is left out.

use strict;
use warnings;

use File::Basename qw(basename);
use Test::More;

# Returns the contents of a file.
sub contents
{
	my ($file) = @_;
	local $/;
	open my $handle, '<', $file or die "could not open $file: $!";
	my $text = <$handle>;
	close $handle;
	return $text;
}

# Returns C code without its comments.
sub without_comments
{
	my ($code) = @_;
	$code =~ s{/\*.*?\*/}{}gs;
	return $code;
}

# Passes if the list is empty, else says what is in it.
sub none
{
	my ($name, @offenders) = @_;
	ok(!@offenders, $name) or diag(join "\n", @offenders);
	return;
}

my @sources = sort glob('src/*.c src/*.h');
my %code = map { $_ => contents($_) } @sources;
my %bare = map { $_ => without_comments($code{$_}) } @sources;

ok(@sources > 0, 'there are sources');

# Every file says what it is.
none('files in src start with a comment that names them',
	grep { $code{$_} !~ m{\A/\*\n \* \Q@{[basename $_]}\E\n} } @sources);
none('headers are guarded or once',
	grep { /\.h$/ && $bare{$_} !~ /#ifndef \w+_H\s+#define \w+_H|#pragma once/ } @sources);

# librdkafka is let in by one door.
none('only kafka_client.h includes rdkafka.h',
	grep { $_ ne 'src/kafka_client.h' && $bare{$_} =~ /#include\s+[<"][^>"]*rdkafka\.h/ } @sources);
none('only what talks to Kafka includes kafka_client.h',
	grep { $_ !~ m{src/(consumer\w*|kafka_\w+|api_server)\.[ch]$} && $bare{$_} =~ /#include\s+"kafka_client\.h"/ } @sources);

# The catalogue's tables are named in one place.
my @tables = contents('src/sql/catalog.sql') =~ /CREATE (?:UNLOGGED )?TABLE weir_internal\.(\w+)/g;
ok(@tables > 0, 'there are tables');
my $tables = join '|', @tables;
none('only catalog*.c name tables of weir_internal',
	grep { $_ !~ m{src/catalog\w*\.c$} && $bare{$_} =~ /\bweir_internal\.($tables)\b/ } @sources);

# Steps do not know each other: pipeline.c and apply.c put them together.
my %step_of;
for (map { basename $_ } @sources)
{
	$step_of{$_} = $1 if /^(stage|deadletter|constrain|eventtime|metadata|expect|dedup)\.[ch]$/;
	$step_of{$_} = 'consumer' if /^consumer(_\w+)?\.[ch]$/;
	$step_of{$_} = 'decode' if /^(decode|convert|json)(_\w+)?\.[ch]$/;
}
none('steps do not include each other',
	map {
		my $file = $_;
		my $step = $step_of{ basename $file };
		map { "$file includes $_" }
		  grep { defined $step && defined $step_of{$_} && $step_of{$_} ne $step }
		  $bare{$file} =~ /#include\s+"(\w+\.h)"/g;
	} @sources);

# Functions begin and end with a brace in column one.
my ($longest, @long) = (0);
for my $file (grep { /\.c$/ } @sources)
{
	my ($start, $number, $before) = (0, 0, '');
	for my $line (split /\n/, $code{$file})
	{
		$number++;
		if ($line =~ /^\{/ && $before =~ /\)$/)
		{
			$start = $number;
		}
		elsif ($line =~ /^\}/ && $start)
		{
			my $length = $number - $start + 1;
			$longest = $length if $length > $longest;
			push @long, "$file:$start has $length lines" if $length > 100;
			$start = 0;
		}
		$before = $line;
	}
}
ok($longest > 10, "functions are found, the longest has $longest lines");
none('functions have at most 100 lines', @long);

# The install script has all its pieces.
my $makefile = contents('Makefile');
none('every piece of src/sql is in the Makefile', grep { index($makefile, $_) < 0 } glob('src/sql/*.sql'));

# No test is left out, none without its expected output, no output without its test.
none('every sql/*.sql has an expected output',
	grep { !-f 'expected/' . basename($_, '.sql') . '.out' } glob('sql/*.sql'));
none('every expected output has its sql/*.sql',
	grep { !-f 'sql/' . (basename($_) =~ s/(_\d+)?\.out$//r) . '.sql' } glob('expected/*'));
none('every specification has an expected output',
	grep { !-f 'test/expected/' . basename($_, '.spec') . '.out' } glob('test/specs/*.spec'));
none('every expected output has its specification',
	grep { !-f 'test/specs/' . (basename($_) =~ s/(_\d+)?\.out$//r) . '.spec' } glob('test/expected/*'));
none('nothing is in directories of tests that is not run',
	grep { !m{^test/t/\d\d\d_\w+\.(t|pl)$} && !m{^test/pgtap/\w+\.sql$} && !m{^test/specs/\w+\.spec$} && !m{^sql/\w+\.sql$} }
	  glob('test/t/* test/pgtap/* test/specs/* sql/*'));

# The version stands in the control file only.
my ($version) = contents('pg_weir.control') =~ /default_version = '([^']+)'/;
ok(defined $version, 'the control file has a version');
none('no source repeats the version', grep { $bare{$_} =~ /"\Q$version\E"/ } @sources);

done_testing();
