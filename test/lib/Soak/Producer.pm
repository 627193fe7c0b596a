# Sends messages all the time, at a rate that changes: bursts, pauses,
# transactions that commit, abort, dawdle or die.

package Soak::Producer;

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use Soak::Messages;
use Soak::Random;
use Time::HiRes qw(sleep);

use constant FAR_FUTURE => 9_000_000_000_000;

# $pace stretches the pauses.
sub new
{
	my ($class, $server, $topic, $seed, $pace) = @_;
	my $random = Soak::Random->new($seed, 'producer');

	return bless {
		server => $server, topic => $topic, random => $random, pace => $pace,
		messages => Soak::Messages->new($random), pause_file => "$server->{directory}/run/producer.pause",
		tool => "$FindBin::RealBin/../../tools/kafka/kafka-tool",
	}, $class;
}

sub start
{
	my ($self) = @_;

	$self->{pid} = $self->{server}->fork('producer', sub { $self->work });
	# it is no fault that comes to its end by itself
	delete $self->{server}{background}{ $self->{pid} };
}

sub pause
{
	my ($self) = @_;
	my $file = $self->{pause_file};

	open my $handle, '>', $file or die "$file: $!";
	close $handle;
	# a transaction may have to wait for the broker
	for (1 .. 1500)
	{
		return if -e "$file.seen";
		die 'the producer has ended' unless Soak::Server::alive($self->{pid});
		sleep 0.1;
	}
	die 'the producer does not pause';
}

sub resume
{
	my ($self) = @_;

	unlink "$self->{pause_file}", "$self->{pause_file}.seen";
}

sub stop
{
	my ($self) = @_;

	return unless $self->{pid};
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
}

# The producer's life: batch after batch until it is killed.
sub work
{
	my ($self) = @_;
	my $random = $self->{random};

	while (1)
	{
		while (-e $self->{pause_file})
		{
			open my $handle, '>', "$self->{pause_file}.seen" or die $!;
			close $handle;
			sleep 0.1;
		}
		my $size = $random->chance(0.05) ? $random->between(2000, 6000) : $random->between(1, 300);
		# a batch that fails is one that the topic may or may not have
		eval { $self->batch($size); 1 } or $self->{server}->say('producer: ' . ($@ =~ s/\s+\z//r));
		sleep $random->upto($random->chance(0.1) ? 3 : 0.6) * $self->{pace};
	}
}

# Sends some messages in one of several ways.
sub batch
{
	my ($self, $size) = @_;
	my $random = $self->{random};
	my $lines = join '', map { line($self->{messages}->next) } 1 .. $size;
	my @options = ('--header', 'batch=' . $random->between(1, 1_000_000));

	push @options, '--partition', $random->between(0, 3) if $random->chance(0.2);
	push @options, '--timestamp', FAR_FUTURE if $random->chance(0.01);
	if ($random->chance(0.3))
	{
		push @options, '--transaction', $random->pick(qw(commit commit abort));
		return $self->dawdle($lines, $random->upto(3), $random->chance(0.3), @options) if $random->chance(0.2);
	}
	$self->send($lines, @options);
}

sub command
{
	my ($self, @options) = @_;

	return ($self->{tool}, '-b', $self->{server}{env}{BOOTSTRAP}, '-X', 'transaction.timeout.ms=5000',
		'produce', $self->{topic}, qw(--key --hex --tombstone NULL), @options);
}

sub send
{
	my ($self, $lines, @options) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $self->command(@options) ], \$lines, \$out, \$err) or die $err;
}

# Leaves a transaction open for a while, or dies in it.
sub dawdle
{
	my ($self, $lines, $seconds, $dies, @options) = @_;
	my ($in, $out, $err) = ($lines, '', '');
	my $tool = IPC::Run::start([ $self->command(@options) ], \$in, \$out, \$err);

	$tool->pump while length $in;
	sleep $seconds;
	return $tool->kill_kill(grace => 0) if $dies;
	$tool->finish or die $err;
}

# Writes a message as kafka-tool reads it.
sub line
{
	my ($key, $value) = @_;

	$value = defined $value ? unpack('H*', $value) : 'NULL';
	return (defined $key ? unpack('H*', $key) . "\t" : '') . "$value\n";
}

1;
