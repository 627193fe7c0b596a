# Numbers that depend on a seed and a name alone, so that what one part of a
# run draws does not shift what another one gets.

package Soak::Random;

use strict;
use warnings;

use List::Util qw(sum);

sub new
{
	my ($class, $seed, $name) = @_;
	my $state = $seed & 0xffffffff;

	$state = ($state * 31 + ord) & 0xffffffff for split //, $name;
	return bless { state => $state }, $class;
}

# Returns 32 random bits (mulberry32).
sub bits
{
	my ($self) = @_;

	my $t = $self->{state} = ($self->{state} + 0x6d2b79f5) & 0xffffffff;
	$t = (($t ^ ($t >> 15)) * ($t | 1)) & 0xffffffff;
	$t ^= ($t + ((($t ^ ($t >> 7)) * ($t | 61)) & 0xffffffff)) & 0xffffffff;
	return ($t ^ ($t >> 14)) & 0xffffffff;
}

# Returns a whole number between two others, both included.
sub between
{
	my ($self, $least, $greatest) = @_;

	return $least + $self->bits % ($greatest - $least + 1);
}

# Returns a number between 0 and some other.
sub upto
{
	my ($self, $limit) = @_;

	return $self->bits / 2**32 * $limit;
}

sub chance
{
	my ($self, $probability) = @_;

	return $self->upto(1) < $probability;
}

sub pick
{
	my ($self, @choices) = @_;

	return $choices[ $self->bits % @choices ];
}

# Returns one of the keys of a hash of weights.
sub weighted
{
	my ($self, $weights) = @_;
	my $at = $self->upto(sum values %$weights);

	for my $name (sort keys %$weights)
	{
		return $name if ($at -= $weights->{$name}) < 0;
	}
	return (sort keys %$weights)[-1];
}

1;
