# The truth: what is in the topic, as another consumer (kcat) reads it.

package Soak::Topic;

use strict;
use warnings;

use IPC::Run ();

# isolation_level says what becomes of aborted transactions.
sub new
{
	my ($class, $bootstrap, $topic, $isolation_level) = @_;

	return bless { bootstrap => $bootstrap, topic => $topic, isolation_level => $isolation_level, next => {} }, $class;
}

# Returns the messages of a partition that have come since the last time.
sub fetch
{
	my ($self, $partition) = @_;
	my $next = $self->{next}{$partition} // 0;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'kcat', '-C', '-b', $self->{bootstrap}, '-t', $self->{topic}, '-p', $partition, '-o', $next, '-e', '-q',
			'-X', "isolation.level=$self->{isolation_level}", '-X', 'check.crcs=true', '-X', 'message.max.bytes=16777216',
			'-f', '%o %T %K %S %h;\n%k%s\n' ], \'', \$out, \$err, IPC::Run::timeout(600))
	  or die "kcat: $err";
	my @messages = map { { %$_, partition => $partition } } parse($out);
	$self->{next}{$partition} = $messages[-1]{kafka_offset} + 1 if @messages;
	return @messages;
}

# Takes kcat's output apart, by the lengths in it.
sub parse
{
	my ($out) = @_;
	my @messages;
	my $at = 0;

	while ($at < length $out)
	{
		pos($out) = $at;
		$out =~ /\G(\d+) (-?\d+) (-?\d+) (-?\d+) ([^;\n]*);\n/g or die 'kcat says what nobody understands';
		my %message = (kafka_offset => $1, timestamp => $2, headers => $5);
		my ($key_length, $value_length) = ($3, $4);
		$at = pos $out;
		for my $part ([ key => $key_length ], [ value => $value_length ])
		{
			next if $part->[1] < 0;
			$message{ $part->[0] } = substr $out, $at, $part->[1];
			$at += $part->[1];
		}
		$at++;
		push @messages, \%message;
	}
	return @messages;
}

1;
