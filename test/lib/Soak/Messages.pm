# The messages of a soak, good and bad ones, and what has to become of each.
#
# Every value says in its text what kind it is, "#kind", so that what is right
# can be told from the message alone, without decoding as the extension does.

package Soak::Messages;

use strict;
use warnings;

use constant BEGINNING => 1_700_000_000_000;    # event times, ms
use constant FAR_FUTURE => 8_000_000_000_000;

# kind => [weight, stage where it is refused or undef, template].  %n, %k, %v
# and %t stand for numbers.
my %kinds = (
	good => [ 9000, undef, '{"n": %n, "k": %k, "v": %v, "ts": %t, "note": "#good"}' ],
	extra => [ 1500, undef, '{"n": %n, "k": %k, "v": %v, "ts": %t, "note": "#extra", "more": %n}' ],
	big => [ 2, undef, '{"n": %n, "k": %k, "v": %v, "ts": %t, "note": "#big %x"}' ],
	huge => [ 0.5, undef, '{"n": %n, "k": %k, "v": %v, "ts": %t, "note": "#huge %y"}' ],
	huge_broken => [ 0.3, 'decode', '{"n": %n, "note": "#huge_broken %y' ],
	huge_wrong => [ 0.3, 'convert', '{"n": %n, "k": %k, "v": "nonsense", "ts": %t, "note": "#huge_wrong %y"}' ],
	broken => [ 40, 'decode', '{"n": %n, "note": "#broken' ],
	scalar => [ 10, 'decode', '"#scalar"' ],
	raw_nul => [ 20, 'decode', "{\"n\": %n, \"note\": \"#raw_nul \0\"}" ],
	nul => [ 20, 'decode', '{"n": %n, "ts": %t, "note": "#nul \u0000"}' ],
	utf8 => [ 20, 'decode', "{\"n\": %n, \"note\": \"#utf8 \xff\xfe\"}" ],
	trailing => [ 20, 'decode', '{"n": %n, "note": "#trailing"} x' ],
	wrong => [ 60, 'convert', '{"n": %n, "k": %k, "v": "nonsense", "ts": %t, "note": "#wrong"}' ],
	overflow => [ 20, 'convert', '{"n": %n, "k": 99999999999, "v": %v, "ts": %t, "note": "#overflow"}' ],
	bad_time => [ 20, 'convert', '{"n": %n, "k": %k, "v": %v, "ts": "yesterday", "note": "#bad_time"}' ],
	missing => [ 30, 'constraint', '{"k": %k, "v": %v, "ts": %t, "note": "#missing"}' ],
	check => [ 30, 'constraint', '{"n": %n, "k": %k, "v": -5000, "ts": %t, "note": "#check"}' ],
	refused => [ 20, 'trigger', '{"n": %n, "k": %k, "v": 666, "ts": %t, "note": "#refused"}' ],
	no_time => [ 30, 'event_time', '{"n": %n, "k": %k, "v": %v, "ts": null, "note": "#no_time"}' ],
	future => [ 20, 'event_time', '{"n": %n, "k": %k, "v": %v, "ts": 9000000000000, "note": "#future"}' ],
	empty => [ 20, 'decode', '' ],
	tombstone => [ 200, 'tombstone', undef ],
);
my %weights = map { $_ => $kinds{$_}[0] } keys %kinds;

# How replays mend what is bad: SQL over weir.dead_letters, and which of them.
sub mend_filter { return q{error_stage IN ('convert', 'trigger') AND value IS NOT NULL} }

sub mend_transform
{
	return q{replace(replace(replace(replace(convert_from(value, 'UTF8'), '"nonsense"', '7'), '#wrong', '#good'),}
	  . q{ '"v": 666', '"v": 665'), '#refused', '#good')};
}

# Makes messages that are numbered on, out of order in event time, some of them twice.
sub new
{
	my ($class, $random) = @_;

	return bless { random => $random, number => 0, recent => [] }, $class;
}

# Returns key and value of the next message; either may be undef.
sub next
{
	my ($self) = @_;
	my $random = $self->{random};
	my $recent = $self->{recent};

	return @{ $random->pick(@$recent) } if @$recent && $random->chance(0.03);

	my $message = [ $self->key, $self->value($random->weighted(\%weights)) ];
	push @$recent, $message;
	shift @$recent if @$recent > 200;
	return @$message;
}

sub key
{
	my ($self) = @_;
	my $random = $self->{random};

	return undef if $random->chance(0.1);
	return "\xff\xfe" if $random->chance(0.002);
	return 'key' . $random->between(1, 50);
}

# Returns a value of some kind.
sub value
{
	my ($self, $kind) = @_;
	my $random = $self->{random};
	my $text = $kinds{$kind}[2];
	my $n = ++$self->{number};
	my %fields = (
		n => $n,
		k => $random->between(0, 30),
		v => $random->between(-500, 500),
		t => BEGINNING + $n * 10 + $random->between(-10_000, 10_000));

	return undef unless defined $text;
	$text =~ s/%([nkvt])/$fields{$1}/g;
	$text =~ s/%x/'x' x $random->between(100_000, 2_000_000)/e;
	$text =~ s/%y/'y' x $random->between(1_000_000, 5_000_000)/e;
	return $text;
}

# The order in which stages look at a message.
my %rank = (tombstone => 0, key => 1, decode => 2, convert => 3, constraint => 4, event_time => 5, trigger => 6);

# Says what becomes of a message in a stream: "row" or "skipped", or the stage
# that refuses it.  $tombstones is the stream's option, where it is at that time.
sub fate
{
	my ($message, $stream, $tombstones) = @_;
	my $kind = kind($message->{value});
	my @stages;

	if ($kind eq 'tombstone')
	{
		return 'skipped' if $tombstones eq 'skip';
		return 'tombstone' if $tombstones eq 'dead_letter';
	}
	else
	{
		my $stage = $kinds{$kind}[1];
		push @stages, $stage if defined $stage && ($stage ne 'event_time' || $stream->{event_time});
	}
	push @stages, 'key' if $stream->{text_key} && defined $message->{key} && $message->{key} =~ /\xff/;
	push @stages, 'event_time' if !$stream->{event_time} && $message->{timestamp} > FAR_FUTURE;
	return (sort { $rank{$a} <=> $rank{$b} } @stages)[0] // 'row';
}

sub kind
{
	my ($value) = @_;

	return 'tombstone' unless defined $value;
	return 'empty' if $value eq '';
	return $1 if $value =~ /#(\w+)/ && $kinds{$1};
	die 'a message of no known kind: ' . substr($value, 0, 100);
}

# Returns the fields of a good value.
sub fields
{
	my ($value) = @_;
	my %fields;

	return \%fields unless defined $value;
	for my $name (qw(n k v ts more))
	{
		$fields{$name} = $1 if $value =~ /"$name": (-?\d+)/;
	}
	$fields{note} = $1 if $value =~ /"note": "([^"]*)"/;
	return \%fields;
}

1;
