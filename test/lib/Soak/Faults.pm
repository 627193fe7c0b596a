# What goes wrong in a soak.  A fault draws what it needs first, from the seed
# alone, and then does it; what lasts goes on in the background and ends by
# itself, so that faults overlap.

package Soak::Faults;

use strict;
use warnings;

use Soak::Streams;
use Time::HiRes qw(sleep);

# How often each is drawn.
my %weights = (
	# the server
	kill_worker => 6, kill_process => 4, stop_immediately => 3, cut_power => 3, restart => 4,
	terminate_worker => 6, cancel_worker => 4, pause_worker => 5, short_of_slots => 1, copy_database => 2, rename_database => 1,
	# the broker
	pause_broker => 5, restart_broker => 2, kill_broker => 2, add_partition => 1,
	# what users and administrators do
	stop_stream => 5, alter_workers => 5, alter_batches => 3, alter_disorder => 2, alter_tombstones => 2, alter_retention => 2,
	alter_columns => 2, alter_settings => 3, alter_server => 2, take_right => 3, replay => 5, begin_anew => 2, ingest => 8, mend => 8, index => 1, vacuum => 2,
	limit_batches => 3, limit_statements => 2, alter_group => 2, look_at_groups => 3,
	# what others do at the same time
	lock_table => 6, hold_snapshot => 3, hold_xid => 2, dump => 1, bad_weather => 4, brake => 4,
);

# Draws from all faults, or from some: their names, separated by commas.
sub new
{
	my ($class, $server, $random, $some) = @_;
	my %drawn = %weights;

	if (defined $some)
	{
		my @names = split /,/, $some;
		exists $weights{$_} or die "there is no fault \"$_\"\n" for @names;
		%drawn = map { $_ => $weights{$_} } @names;
	}
	return bless { server => $server, random => $random, weights => \%drawn }, $class;
}

# Draws a fault and does it; one that fails because of another is no failure.
sub next
{
	my ($self) = @_;
	my $name = $self->{random}->weighted($self->{weights});
	my $server = $self->{server};

	eval { $self->$name($self->{random}); 1 } or $server->say("$name fails: " . ($@ =~ s/\n.*//sr));
}

sub stream { return $_[1]->pick(@Soak::Streams::names) }

# ---- processes of the server ----

sub kill_worker
{
	my ($self, $random) = @_;

	$self->kill_one($random, 'worker', $self->{server}->workers);
}

# Any process but those that cannot be lost without the postmaster.
sub kill_process
{
	my ($self, $random) = @_;

	$self->kill_one($random, 'process', $self->{server}->children);
}

sub kill_one
{
	my ($self, $random, $what, @processes) = @_;
	my $at = $random->bits;
	return $self->{server}->say("no $what to kill") unless @processes;
	my ($pid, $title) = @{ $processes[ $at % @processes ] };

	$self->{server}->say("kill -9 $pid ($title)");
	kill 'KILL', $pid;
	$self->{server}->await_gone($pid, 10);
	$self->{server}->await_server;
}

sub stop_immediately
{
	my ($self, $random) = @_;
	my $server = $self->{server};
	my $down = $random->upto(2);

	$server->say('pg_ctl stop -m immediate');
	kill 'CONT', map { $_->[0] } $server->children;
	my $postmaster = $server->postmaster;
	kill 'QUIT', $postmaster;
	$server->await_gone($postmaster, 30) or die 'the postmaster does not end';
	sleep $down;
	$server->{box}->run('', 'crash');
	$server->await_server;
}

sub cut_power
{
	my ($self) = @_;

	$self->{server}->say('kill -9 of all PostgreSQL');
	$self->{server}{box}->run('', 'crash');
	$self->{server}->await_server;
}

sub restart
{
	my ($self) = @_;

	$self->{server}->say('fast restart');
	kill 'CONT', map { $_->[0] } $self->{server}->children;
	$self->{server}{box}->run('', 'restart');
	$self->{server}->await_server;
}

sub terminate_worker
{
	my ($self, $random) = @_;

	$self->signal_worker($random->bits, 'pg_terminate_backend');
}

sub cancel_worker
{
	my ($self, $random) = @_;

	$self->signal_worker($random->bits, 'pg_cancel_backend');
}

sub signal_worker
{
	my ($self, $at, $function) = @_;
	my @workers = $self->{server}->workers;
	return unless @workers;
	my ($pid, $title) = @{ $workers[ $at % @workers ] };

	$self->{server}->say("$function($pid) ($title)");
	$self->{server}->sql_later($function, "SELECT $function($pid)");
}

sub pause_worker
{
	my ($self, $random) = @_;
	my ($at, $seconds) = ($random->bits, $random->upto(5));
	my @workers = $self->{server}->workers;
	return unless @workers;
	my ($pid, $title) = @{ $workers[ $at % @workers ] };

	$self->{server}->say(sprintf 'SIGSTOP %d (%s) for %.1f s', $pid, $title, $seconds);
	$self->pause($pid, $seconds);
}

sub pause
{
	my ($self, $pid, $seconds) = @_;

	kill 'STOP', $pid;
	$self->{server}->fork('resume', sub { sleep $seconds; kill 'CONT', $pid });
}

# Too few processes, or too few slots of ours, for some seconds.
sub short_of_slots
{
	my ($self, $random) = @_;
	my $server = $self->{server};
	my ($name, $few) = @{ $random->pick([ max_worker_processes => 2 ], [ max_worker_processes => 4 ],
			[ 'weir.max_workers' => 1 ], [ 'weir.max_workers' => 3 ]) };
	my $seconds = 3 + $random->upto(4);

	$server->say(sprintf '%s = %d for %.1f s', $name, $few, $seconds);
	$server->sql("ALTER SYSTEM SET $name = $few");
	$self->restart;
	sleep $seconds;
	$self->restore;
}

# Takes back what lasts until somebody does.
sub restore
{
	my ($self) = @_;
	my $server = $self->{server};
	my @names = qw(max_worker_processes weir.max_workers weir.batch_timeout weir.lock_timeout);

	$server->sql("ALTER SYSTEM RESET $_") for @names;
	$server->sql('SELECT pg_reload_conf()');
	$server->sql("SELECT soak.change_server('ALTER $_ RESET statement_timeout')") for $self->bearers;
	# what a reload cannot change
	$self->restart
	  if $server->sql("SELECT count(*) FROM pg_settings WHERE name IN ('max_worker_processes', 'weir.max_workers') AND setting::int < 30") > 0;
}

# ---- the database as a whole ----

# The copy's streams stand still, and know what the copy holds.
sub copy_database
{
	my ($self) = @_;
	my $server = $self->{server};
	my $name = $server->{env}{PGDATABASE};

	$server->say('the database is copied');
	$server->sql_in('postgres', 'DROP DATABASE IF EXISTS soak_copy');
	$self->alone(q{CREATE DATABASE soak_copy TEMPLATE "} . $name . '"');
	my $wrong = $server->sql_in('soak_copy', Soak::Watch::copy_sql());
	$server->violation("the copy: $wrong") if $wrong ne '';
	$server->sql_in('postgres', 'DROP DATABASE soak_copy');
	$server->say('the copy is gone again');
}

sub rename_database
{
	my ($self, $random) = @_;
	my $server = $self->{server};
	my $name = $server->{env}{PGDATABASE};
	my $seconds = $random->upto(3);

	$server->say(sprintf 'the database has another name for %.1f s', $seconds);
	$self->alone(qq{ALTER DATABASE "$name" RENAME TO soak_away});
	sleep $seconds;
	$self->alone(qq{ALTER DATABASE soak_away RENAME TO "$name"});
	$server->say('the database has its name again');
}

# Runs a command that nobody may be connected for: our sessions are ended,
# workers must leave by themselves, but one that is stopped cannot.
sub alone
{
	my ($self, $command) = @_;
	my $server = $self->{server};
	my $error;

	for my $try (1 .. 10)
	{
		$server->sql_in('postgres', q{SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND datname IN ('soak_away', '} . $server->{env}{PGDATABASE} . q{')});
		return if eval { $server->sql_in('postgres', $command); 1 };
		$error = $@;
		die $error unless $error =~ /55006/;
		$server->say('not yet: ' . join ' ', split /\n/, $error);
	}
	die $error;
}

# ---- the broker ----

sub pause_broker
{
	my ($self, $random) = @_;
	my $seconds = sprintf '%.1f', $random->upto(6);

	$self->{server}->say("SIGSTOP of the broker for $seconds s");
	$self->pause($self->{server}->broker, $seconds);
}

sub restart_broker
{
	my ($self, $random) = @_;
	my $down = $random->upto(3);
	my $pid = $self->{server}->broker;

	$self->{server}->say('the broker restarts');
	kill $_, $pid for qw(TERM CONT);
	$self->{server}->await_gone($pid, 30) or kill 'KILL', $pid;
	sleep $down;
	$self->{server}{box}->run('', 'broker', 'start');
}

sub kill_broker
{
	my ($self, $random) = @_;
	my $down = $random->upto(5);

	$self->{server}->say('kill -9 of the broker');
	$self->{server}{box}->run('', 'broker', 'kill');
	sleep $down;
	$self->{server}{box}->run('', 'broker', 'start');
}

sub add_partition
{
	my ($self) = @_;
	my $server = $self->{server};
	return if $self->{added}++ >= Soak::Streams::MAX_PARTITIONS - Soak::Streams::PARTITIONS;

	$server->say('the topic gets another partition');
	$server->{box}->run('', 'topic', Soak::Streams::TOPIC, '--add-partitions', 1);
}

# ---- what users and administrators do ----

# Does something in the background, and says so.
sub later
{
	my ($self, @statements) = @_;

	my $text = join '; ', map { s/\s+/ /gr } @statements;

	$self->{server}->say($text);
	$self->{server}->sql_later($text, q{SET statement_timeout = '20s'}, @statements);
}

sub stop_stream
{
	my ($self, $random) = @_;
	my $stream = $self->stream($random);
	my $seconds = sprintf '%.1f', $random->upto(4);

	$self->later("SELECT weir.stop('$stream')", "SELECT pg_sleep($seconds)", "SELECT weir.start('$stream')");
}

sub alter_workers
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT weir.alter_stream('%s', parallelism => %d)}, $self->stream($random), $random->between(1, 3));
}

sub alter_batches
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT weir.alter_stream('%s', batch_rows => %d)}, $self->stream($random), $random->pick(1, 7, 100, 1000, 10000));
}

sub alter_disorder
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT soak.alter('%s', %d, NULL)}, $random->pick(qw(plain brief)), $random->between(0, 10_000));
}

sub alter_tombstones
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT soak.alter('%s', NULL, '%s')}, $random->pick(qw(plain brief)), $random->pick(qw(skip dead_letter)));
}

sub alter_retention
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT soak.retain('%s', %d)}, $random->pick(qw(brief wide)), $random->between(20, 120));
}

# Columns that no message has; new children then have other column numbers.
sub alter_columns
{
	my ($self, $random) = @_;
	my $stream = $self->stream($random);

	$self->later("ALTER TABLE $stream ADD COLUMN IF NOT EXISTS passing int", sprintf('SELECT pg_sleep(%.1f)', $random->upto(4)), "ALTER TABLE $stream DROP COLUMN IF EXISTS passing");
}

sub alter_settings
{
	my ($self, $random) = @_;
	my ($name, $value) = @{ $random->pick([ batch_rows => 100 ], [ batch_rows => 10000 ], [ batch_interval => 0 ], [ batch_interval => 50 ],
			[ worker_memory => 8 ], [ worker_memory => 64 ], [ synchronous_commit => 'on' ], [ synchronous_commit => 'off' ]) };

	$self->later("ALTER SYSTEM SET weir.$name = '$value'", 'SELECT pg_reload_conf()');
}

# Batches that take long are rolled back, and those that wait for a lock.
sub limit_batches
{
	my ($self, $random) = @_;
	my ($name, $ms) = @{ $random->pick([ batch_timeout => 30 ], [ batch_timeout => 300 ], [ lock_timeout => 1 ], [ lock_timeout => 500 ]) };
	my $seconds = sprintf '%.1f', $random->upto(6);

	$self->later("ALTER SYSTEM SET weir.$name = $ms", 'SELECT pg_reload_conf()', "SELECT pg_sleep($seconds)",
		"ALTER SYSTEM RESET weir.$name", 'SELECT pg_reload_conf()');
}

# Whose settings workers could come to have.
sub bearers
{
	my ($self) = @_;

	return ('ROLE keeper', 'DATABASE "' . $self->{server}{env}{PGDATABASE} . '"');
}

# A limit that does not bind workers.
sub limit_statements
{
	my ($self, $random) = @_;
	my $bearer = $random->pick($self->bearers);
	my $ms = $random->pick(1, 50);
	my $seconds = sprintf '%.1f', $random->upto(6);

	# a worker meets it when it begins
	$self->later("SELECT soak.change_server('ALTER $bearer SET statement_timeout = $ms')",
		q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type ~ '^pg_weir worker'},
		"SELECT pg_sleep($seconds)", "SELECT soak.change_server('ALTER $bearer RESET statement_timeout')");
}

sub alter_group
{
	my ($self, $random) = @_;
	my $stream = $self->stream($random);

	$self->later(sprintf q{SELECT weir.alter_stream('%s', commit_to_group => '%s')}, $stream, $random->pick("soak-$stream", "soak-$stream", ''));
}

# No group may be ahead of what is applied; but that of a stream that began
# anew is for a while.
sub look_at_groups
{
	my ($self, $random) = @_;
	my $stream = $self->stream($random);
	my $server = $self->{server};

	$server->fork("the group of $stream", sub {
		my $ahead = $self->groups_ahead($stream);
		$server->violation($ahead) if $ahead ne '';
	});
}

# Returns where a stream's group is ahead of the stream, as text.
sub groups_ahead
{
	my ($self, $stream) = @_;
	my $server = $self->{server};
	my %told = $server->{box}->run('', 'group', "soak-$stream", Soak::Streams::TOPIC) =~ /^(\d+)\t(\d+)$/mg;
	my $told = join ', ', map { "($_, $told{$_})" } sort keys %told;

	return '' if $told eq '';
	return $server->sql(qq{
		SELECT string_agg(format('the group of $stream is at %s, ahead of %s/%s', told, partition, applied_offset), '; ')
		FROM (VALUES $told) t (p, told) LEFT JOIN weir.stream_stats s ON s.stream = '$stream' AND s.partition = p
		WHERE told > coalesce(applied_offset, 0) AND NOT EXISTS (SELECT FROM soak.began b WHERE b.stream = '$stream')});
}

sub alter_server
{
	my ($self, $random) = @_;
	my $ms = $random->pick(10, 100, 500);

	$self->later(qq{SELECT soak.change_server('ALTER SERVER kafka OPTIONS (SET "fetch.wait.max.ms" ''$ms'')')});
}

sub take_right
{
	my ($self, $random) = @_;
	my $seconds = sprintf '%.1f', $random->upto(4);

	$self->later(q{SELECT soak.change_server('REVOKE USAGE ON FOREIGN SERVER kafka FROM keeper')}, "SELECT pg_sleep($seconds)",
		'SELECT soak.mend()');
}

sub mend
{
	my ($self) = @_;

	$self->later('SELECT soak.mend()');
}

sub replay
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT soak.replay('%s', %d)}, $self->stream($random), $random->between(0, 2));
}

# A seek to the beginning, together with emptying what triggers made.
sub begin_anew
{
	my ($self, $random) = @_;

	$self->later(sprintf q{SELECT soak.reset('%s')}, $self->stream($random));
}

sub ingest
{
	my ($self, $random) = @_;
	my $statement = sprintf q{SELECT soak.ingest('%s', %d, %d)}, $self->stream($random), $random->bits, $random->pick(1, 10, 1000);

	$self->later($statement) for 1 .. $random->between(1, 2);
}

sub index
{
	my ($self, $random) = @_;
	my $stream = $self->stream($random);

	$self->later("CREATE INDEX IF NOT EXISTS soak_$stream ON $stream (n)", 'SELECT pg_sleep(2)', "DROP INDEX IF EXISTS soak_$stream");
}

sub vacuum
{
	my ($self, $random) = @_;

	$self->later($random->pick('CHECKPOINT', 'VACUUM ANALYZE', 'VACUUM FULL soak.' . $self->stream($random) . '_sum'));
}

# ---- what others do at the same time ----

sub lock_table
{
	my ($self, $random) = @_;
	my $stream = $self->stream($random);
	my $seconds = sprintf '%.1f', $random->upto(5);
	my $mode = $random->pick('SHARE', 'SHARE ROW EXCLUSIVE', 'ACCESS EXCLUSIVE');
	my $what = $random->pick($stream, "soak.${stream}_sum", "soak.${stream}_copy", 'child');

	return $self->lock_child($stream, $mode, $seconds) if $what eq 'child';
	$self->later("LOCK TABLE ONLY $what IN $mode MODE; SELECT pg_sleep($seconds)");
}

sub lock_child
{
	my ($self, $stream, $mode, $seconds) = @_;

	$self->later(qq{DO \$\$ DECLARE child regclass := (SELECT chunk FROM weir_internal.chunk WHERE stream = '$stream'::regclass ORDER BY random() LIMIT 1);
		BEGIN IF child IS NOT NULL THEN EXECUTE format('LOCK TABLE %s IN $mode MODE', child); PERFORM pg_sleep($seconds); END IF; END \$\$});
}

sub hold_snapshot
{
	my ($self, $random) = @_;
	my ($stream, $seconds) = ($self->stream($random), sprintf '%.1f', $random->upto(8));

	$self->later('BEGIN ISOLATION LEVEL REPEATABLE READ', "SELECT count(*) FROM $stream", "SELECT pg_sleep($seconds)", 'COMMIT');
}

sub hold_xid
{
	my ($self, $random) = @_;

	$self->later(sprintf 'SELECT txid_current(); SELECT pg_sleep(%.1f)', $random->upto(8));
}

sub dump
{
	my ($self) = @_;
	my $server = $self->{server};

	$server->say('pg_dump');
	$server->fork('pg_dump', sub {
		my $err = '';
		IPC::Run::run([ 'env', (map { "$_=$server->{env}{$_}" } grep { /^PG/ } keys %{ $server->{env} }), 'pg_dump', '-Fc' ],
			'>', '/dev/null', '2>', \$err) or die $err;
	});
}

# Triggers raise errors of the environment, or of the definition.
sub bad_weather
{
	my ($self, $random) = @_;
	my $code = $random->pick(qw(40001 53100 55P03 42P01));
	my $seconds = sprintf '%.1f', $random->upto(4);

	$self->later("INSERT INTO soak.weather VALUES ('$code', now() + interval '$seconds s')", "SELECT pg_sleep($seconds)", 'SELECT soak.mend()');
}

# All rows take long for a while, those of a refill too.
sub brake
{
	my ($self, $random) = @_;

	$self->later(sprintf q{INSERT INTO soak.brake VALUES (now() + interval '%.1f s')}, $random->upto(10));
}

1;
