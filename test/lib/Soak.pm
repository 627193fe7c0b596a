# A soak: streams of one topic run while faults are drawn from a seed; now and
# then everything comes to rest and is compared with what the topic says.

package Soak;

use strict;
use warnings;

use Soak::Faults;
use Soak::Oracle;
use Soak::Producer;
use Soak::Random;
use Soak::Server;
use Soak::Streams;
use Soak::Watch;
use Test::More;
use Time::HiRes qw(sleep time);

use constant PATIENCE => 150;    # seconds that anything may take to come to rest

# Options: seed; seconds; every, seconds between comparisons; gap, the longest
# time between faults; pace, which stretches the producer's pauses; faults, if
# not all shall be drawn.
sub new
{
	my ($class, %options) = @_;
	my $self = bless { seconds => 30, every => 60, gap => 3, pace => 1, checks => 0, %options, options => \%options }, $class;
	my $server = $self->{server} = Soak::Server->new;

	$server->say("seed $self->{seed}, in $server->{directory}");
	$server->{box}->run('', 'topic', Soak::Streams::TOPIC, '--partitions', Soak::Streams::PARTITIONS,
		map { ('--config', $_) } 'retention.ms=-1', 'message.timestamp.after.max.ms=9223372036854775807', 'max.message.bytes=16777216');
	$server->sql(Soak::Streams::common_sql());
	$server->sql(Soak::Streams::create_sql($_)) for @Soak::Streams::names;
	$server->sql("INSERT INTO soak.retention VALUES ('$_', '-infinity', '$Soak::Streams::streams{$_}{retention} s')")
	  for @Soak::Streams::names;
	$server->sql(Soak::Watch::create_sql());
	$self->{log_at} = -s "$server->{directory}/log/postgres.log";
	$self->{oracle} = Soak::Oracle->new($server);
	$self->{producer} = Soak::Producer->new($server, Soak::Streams::TOPIC, $self->{seed}, $self->{pace});
	$self->{faults} = Soak::Faults->new($server, Soak::Random->new($self->{seed}, 'faults'), $self->{faults});
	return $self;
}

# Runs it all; says how to look at what went wrong.
sub run
{
	my ($self) = @_;
	my $ok = eval { $self->work } // $self->check('the soak itself', $@);

	$self->blame unless $ok;
	return $ok;
}

# Attacks and compares in turn; returns whether all was well.
sub work
{
	my ($self) = @_;
	my $random = Soak::Random->new($self->{seed}, 'pauses');
	my $end = time + $self->{seconds};
	my $ok = 1;

	$self->{producer}->start;
	$self->{server}->sql("SELECT weir.start('$_')") for @Soak::Streams::names;
	while ($ok && time < $end)
	{
		my $pause = time + $self->{every};

		$self->attack($random, $pause < $end ? $pause : $end);
		$ok = $self->come_to_rest && $self->compare;
		$self->{producer}->resume;
	}
	$self->{producer}->stop;
	return $ok && $self->end;
}

# Draws one fault after the other for a time.
sub attack
{
	my ($self, $random, $until) = @_;

	while (time < $until)
	{
		$self->{faults}->next;
		$self->watch;
		sleep $random->upto($self->{gap}) * ($random->chance(0.3) ? 0.1 : 1);
	}
}

# Keeps a watch running.
sub watch
{
	my ($self) = @_;

	$self->{server}->reap;
	return if grep { $_ eq 'watch' } values %{ $self->{server}{background} };
	$self->{watch} = Soak::Watch::start($self->{server});
}

# Passes a test, or fails it and shows why.
sub check
{
	my ($self, $name, $wrong) = @_;

	return ok($wrong eq '', $name) || do { diag($wrong); 0 };
}

# Lets faults end and the streams catch up; returns whether they do.
sub come_to_rest
{
	my ($self) = @_;
	my $server = $self->{server};
	my $mark = 1_000_000_000 + ++$self->{checks};

	$server->say('coming to rest');
	$self->{producer}->pause;
	# the watch goes on until the end
	delete $server->{background}{ $self->{watch} } if $self->{watch};
	my @left = $server->settle(PATIENCE);
	$server->{background}{ $self->{watch} } = 'watch' if $self->{watch};
	return 0 unless $self->check("$self->{checks}: what was begun ends", join ', ', @left);

	$self->{faults}->restore;
	$server->sql('DELETE FROM soak.weather; DELETE FROM soak.brake');
	$server->sql('SELECT soak.mend()');
	my $partitions = () = $server->{box}->run('', 'offsets', Soak::Streams::TOPIC) =~ /^\d/mg;
	$self->{producer}->send(Soak::Producer::line('key1', qq({"n": $mark, "k": 1, "v": 1, "ts": 1700000000000, "note": "#good"})), '--partition', $_)
	  for 0 .. $partitions - 1;
	return 0 unless $self->check("$self->{checks}: the topic can be read to its end",
		$self->{oracle}->read_until($mark, $partitions, PATIENCE) ? '' : 'no');
	return $self->catch_up;
}

# Waits for each stream to have applied what the topic has, and refilled what it had.
sub catch_up
{
	my ($self) = @_;
	my $server = $self->{server};

	for my $name (@Soak::Streams::names)
	{
		my $ends = $self->{oracle}->ends($Soak::Streams::streams{$name}{isolation_level});
		my $behind = join ' OR ', map { "partition = $_ AND applied_offset < $ends->{$_}" } sort keys %$ends;
		my $left = $server->await(PATIENCE, "SELECT string_agg(partition || ' stands at ' || applied_offset, ', ') FROM weir.stream_stats"
			  . " WHERE stream = '$name' AND ($behind)", '');
		my $states = $server->await(PATIENCE, "SELECT string_agg(concat_ws(', ', worker, state, last_error, refill_left), '; ') FROM weir.status"
			  . " WHERE stream = '$name' AND (state NOT IN ('running', 'idle') OR refill_left > 0)", '');

		$self->check("$self->{checks}: $name catches up", join ' ', grep { $_ ne '' } $left, $states) and next;
		$server->keep_evidence("$name does not catch up: $left $states");
		return 0;
	}
	return 1;
}

# Compares everything with what the topic says; returns whether all is as it must be.
sub compare
{
	my ($self) = @_;
	my ($server, $oracle, $n) = @$self{qw(server oracle checks)};
	my $ok = 1;

	$server->say('comparing');
	$oracle->judge_all;
	for my $name (@Soak::Streams::names)
	{
		$ok &= $self->check("$n: $name: counters", $oracle->wrong_counts($name));
		$ok &= $self->check("$n: $name: each message once, with its watermark", $oracle->wrong_rows($name));
		$ok &= $self->check("$n: $name: what was ingested, once", $oracle->wrong_ingested($name));
		$ok &= $self->check("$n: $name: what was ingested and refused", $oracle->wrong_ingested_letters($name));
		$ok &= $self->check("$n: $name: sums", $oracle->wrong_sums($name));
		$ok &= $self->check("$n: $name: windows", $oracle->wrong_windows($name));
		$ok &= $self->check("$n: $name: windows, by weir.verify", $oracle->wrong_by_verify($name));
		$ok &= $self->check("$n: $name: dead letters", $oracle->wrong_letters($name));
		$ok &= $self->check("$n: $name: its group is not ahead", $self->{faults}->groups_ahead($name));
		$ok &= $self->check("$n: $name: staged rows", $oracle->wrong_staging($name, $self->kept_since($name)));
	}
	$ok &= $self->check("$n: children", $oracle->wrong_children);
	$ok &= $self->check("$n: what the watch saw", join '', Soak::Watch::violations($server));
	$ok &= $self->check("$n: the log", join '', $self->wrong_log);
	$server->say($server->sql("SELECT 'consumed ' || sum(consumed) || ', dead letters ' || sum(dead_lettered) || ', replayed ' || sum(replayed)"
		  . " || ', staging emptied ' || (SELECT max(staging_generation) - 1 FROM weir_internal.stream) FROM weir.stream_stats"));
	return $ok;
}

# Returns from when on no staged row may have left yet.
sub kept_since
{
	my ($self, $name) = @_;

	return $self->{server}->sql(qq{
		SELECT max(coalesce(lead, now()) - retention)
		FROM (SELECT retention, lead(since) OVER (ORDER BY since) FROM soak.retention WHERE stream = '$name') r});
}

# Errors that the faults themselves bring about; all others are failures.
my $expected = join '|', qw(
  00000 08\w\w\w 3D000 57P0\d 57014 57P05 55P03 40001 40P01 53100 53300 42501 55000 55006 25006
);

# Returns lines of the server's log that should not be there, since the last time.
sub wrong_log
{
	my ($self) = @_;
	my @wrong;

	open my $log, '<', "$self->{server}{directory}/log/postgres.log" or die "postgres.log: $!";
	seek $log, $self->{log_at}, 0;
	while (my $line = <$log>)
	{
		push @wrong, $line
		  if $line =~ /PANIC|TRAP|signal (?:4|6|7|8|11):/
		  || $line =~ / \[\d+\] (\w{5}) .*?(?:ERROR|FATAL): / && $1 !~ /^(?:$expected)$/ && $line !~ /bad weather/;
	}
	$self->{log_at} = tell $log;
	return @wrong[ 0 .. ($#wrong > 9 ? 9 : $#wrong) ];
}

# Everything ends, and leaves nothing.
sub end
{
	my ($self) = @_;
	my $server = $self->{server};

	kill 'KILL', $self->{watch} if $self->{watch};
	$server->sql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ \'^CALL soak.watch\'');
	$server->sql("SELECT weir.drop_stream('$_', cascade => true)") for @Soak::Streams::names;
	return $self->check('no worker is left', join ', ',
		$server->await(30, q{SELECT string_agg(backend_type, ', ') FROM pg_stat_activity WHERE backend_type ~ '^pg_weir worker'}, ''))
	  & $self->check('no child is left', $self->{oracle}->wrong_children);
}

# Says how to look at a failure, and how to repeat it.
sub blame
{
	my ($self) = @_;

	$self->{producer}->stop;
	kill 'KILL', keys %{ $self->{server}{background} };
	my $directory = $self->{server}->keep;
	diag("seed $self->{seed}: everything is in $directory, the steps in log/steps.log");
	diag('repeat: test/soak/run ' . join ' ', map { "--$_ $self->{options}{$_}" } sort keys %{ $self->{options} });
	diag("look: WEIR_SANDBOX=$directory tools/sandbox up; tools/sandbox psql");
}

1;
