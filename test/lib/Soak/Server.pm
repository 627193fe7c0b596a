# A sandbox under attack: statements that may fail, sessions in the
# background, the processes of server and broker, and what is kept of them
# when something is wrong.

package Soak::Server;

use strict;
use warnings;

use IPC::Run ();
use POSIX qw(WNOHANG);
use Sandbox;
use Test::More;
use Time::HiRes qw(sleep time);

my $begin = time;

sub new
{
	my ($class) = @_;
	my $box = Sandbox->new('kafka',
		'log_line_prefix=%m [%p] %e %b %q%u@%d ', 'max_connections=60', 'checkpoint_timeout=30s',
		'restart_after_crash=on', 'log_lock_waits=on');
	my $self = bless { box => $box, background => {} }, $class;

	($self->{directory}) = $box->run('', 'status') =~ /^directory\s+(\S+)/m;
	%{ $self->{env} } = $box->run('', 'env') =~ /^(PG\w+|BOOTSTRAP)=(\S+)$/mg;
	# its launcher would be in the way of what wants the database to itself
	$self->sql(q{ALTER SYSTEM SET cron.database_name = 'postgres'});
	$box->run('', 'restart');
	open $self->{log}, '>>', "$self->{directory}/log/steps.log" or die "steps.log: $!";
	$self->{log}->autoflush;
	return $self;
}

# Notes a step, with the time since the beginning.
sub say
{
	my ($self, $text) = @_;
	my $line = sprintf '%8.3f  %s', time - $begin, $text;

	print { $self->{log} } "$line\n";
	note($line) unless $ENV{HARNESS_ACTIVE} && !$ENV{HARNESS_IS_VERBOSE};
}

sub psql
{
	my ($self) = @_;

	return ('env', (map { "$_=$self->{env}{$_}" } grep { /^PG/ } keys %{ $self->{env} }), 'PGCONNECT_TIMEOUT=10',
		# whatever the database has
		'PGOPTIONS=-c statement_timeout=0',
		'psql', qw(-X -q -A -t -v ON_ERROR_STOP=1 -v VERBOSITY=verbose));
}

# Runs statements, in one transaction, and returns their output; dies where they fail.
sub sql
{
	my ($self, $statements, $input) = @_;
	my ($out, $err) = ('', '');
	$input //= '';

	IPC::Run::run([ $self->psql, '-c', $statements ], \$input, \$out, \$err, IPC::Run::timeout(900))
	  or die $err || "psql: $?";
	chomp $out;
	return $out;
}

# The same in another database.
sub sql_in
{
	my ($self, $database, $statements) = @_;

	local $self->{env} = { %{ $self->{env} }, PGDATABASE => $database };
	return $self->sql($statements);
}

# Notes that something is wrong, for the next comparison.
sub violation
{
	my ($self, $text) = @_;

	open my $handle, '>>', "$self->{directory}/log/violations" or die "violations: $!";
	print $handle "invariant: $text\n";
	close $handle;
}

# Polls a query until it gives what is expected; returns the last answer.
sub await
{
	my ($self, $seconds, $query, $expected) = @_;
	my $deadline = time + $seconds;
	my $answer;

	do
	{
		sleep 0.2 if defined $answer;
		$answer = eval { $self->sql($query) } // "error: $@";
	} until $answer =~ /^(?:$expected)$/ || time > $deadline;
	return $answer;
}

# ---- in the background ----

# Runs code in a process of its own.
sub fork
{
	my ($self, $name, $code) = @_;
	my $pid = CORE::fork() // die "fork: $!";

	if ($pid == 0)
	{
		my $ok = eval { $code->(); 1 };
		$self->say("$name: " . ($@ =~ s/\s+\z//r =~ s/\n.*//sr)) unless $ok;
		# no END blocks: they would take the sandbox down
		POSIX::_exit($ok ? 0 : 1);
	}
	$self->{background}{$pid} = $name;
	return $pid;
}

# Runs statements one after the other, each a transaction, in one session.
sub sql_later
{
	my ($self, $name, @statements) = @_;

	return $self->fork($name, sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ $self->psql, map { ('-c', $_) } @statements ], \'', \$out, \$err)
		  or die $err || "psql: $?";
	});
}

# Collects those that have ended; returns how many are left.
sub reap
{
	my ($self) = @_;

	for my $pid (keys %{ $self->{background} })
	{
		delete $self->{background}{$pid} if waitpid($pid, WNOHANG) != 0;
	}
	return scalar keys %{ $self->{background} };
}

# Waits for all in the background to end; returns the names of those that do not.
sub settle
{
	my ($self, $seconds) = @_;
	my $deadline = time + $seconds;

	sleep 0.1 while $self->reap && time < $deadline;
	return sort values %{ $self->{background} };
}

# ---- processes ----

sub first_line
{
	my ($file) = @_;

	open my $handle, '<', $file or return '';
	return scalar(<$handle>) // '';
}

sub postmaster
{
	my ($self) = @_;

	return (first_line("$self->{directory}/pg/postmaster.pid") =~ /^(\d+)/)[0];
}

sub broker
{
	my ($self) = @_;

	return (first_line("$self->{directory}/run/kafka.pid") =~ /^(\d+)/)[0];
}

# Is a process there, and no zombie?
sub alive
{
	my ($pid) = @_;

	return first_line("/proc/$pid/stat") =~ /\) [^ZX]/;
}

# Returns pid and title of the server's children.
sub children
{
	my ($self) = @_;
	my $postmaster = $self->postmaster or return ();
	my @children;

	for my $file (glob '/proc/[0-9]*/stat')
	{
		my ($pid, $state, $parent) = first_line($file) =~ /^(\d+) \(.*\) (\S) (\d+) / or next;
		next if $parent != $postmaster || $state eq 'Z';
		push @children, [ $pid, first_line("/proc/$pid/cmdline") =~ s/\0.*//sr ];
	}
	return sort { $a->[0] <=> $b->[0] } @children;
}

# Returns those of our workers.
sub workers
{
	my ($self) = @_;

	return grep { $_->[1] =~ /pg_weir worker/ } $self->children;
}

sub await_gone
{
	my ($self, $pid, $seconds) = @_;
	my $deadline = time + $seconds;

	sleep 0.05 while alive($pid) && time < $deadline;
	return !alive($pid);
}

# Waits until the server answers again; it may be recovering.
sub await_server
{
	my ($self) = @_;

	$self->await(60, 'SELECT 1', 1) eq '1' or die 'the server does not answer';
}

# ---- evidence ----

# Keeps what can be told of a server that hangs: stacks, status, locks.
sub keep_evidence
{
	my ($self, $why) = @_;
	my $file = sprintf '%s/log/evidence-%d.txt', $self->{directory}, time - $begin;

	open my $handle, '>', $file or return diag("$file: $!");
	print $handle "$why\n\n";
	for my $query ('SELECT * FROM weir.status', 'SELECT * FROM weir.stream_stats', 'SELECT * FROM weir_internal.refill',
		'SELECT * FROM weir_internal.worker_slots()', 'SELECT * FROM weir_internal.chunk',
		'SELECT * FROM pg_stat_activity', 'SELECT * FROM pg_locks WHERE NOT granted')
	{
		print $handle "== $query\n", (eval { $self->sql("\\x \\\\ $query") } // eval { $self->sql($query) } // $@), "\n\n";
	}
	for my $worker ($self->workers)
	{
		my $stack = '';
		IPC::Run::run([ 'timeout', '30', 'gdb', '-p', $worker->[0], '-batch', '-ex', 'thread apply all bt' ],
			\'', '>&', \$stack);
		print $handle "== $worker->[1] ($worker->[0])\n$stack\n";
	}
	close $handle;
	diag("evidence is in $file");
}

# Stops everything, and keeps the directory: `tools/sandbox up` takes it up again.
sub keep
{
	my ($self) = @_;
	my $postmaster = $self->postmaster;

	kill 'CONT', map { $_->[0] } $self->children;
	kill 'INT', $postmaster if $postmaster && alive($postmaster);
	kill 'KILL', $self->broker if $self->broker;
	$self->await_gone($postmaster, 30) if $postmaster;
	$self->{box}{down} = 1;
	$File::Temp::KEEP_ALL = 1;
	return $self->{directory};
}

1;
