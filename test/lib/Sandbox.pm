# A sandbox of a test's own (tools/sandbox), and ways to wait for things there.

package Sandbox;

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IPC::Run ();
use Test::More;
use Time::HiRes qw(sleep time);

my @boxes;
my $tool = dirname(__FILE__) . '/../../tools/sandbox';

# Starts a sandbox with the given kind of broker, mock or kafka.
sub new
{
	my ($class, $broker, @settings) = @_;
	my $directory = tempdir('weir-test-XXXX', TMPDIR => 1, CLEANUP => 1);
	my $self = bless { directory => $directory }, $class;

	push @boxes, $self;
	$self->run('', 'up', "--$broker", map { ('--set', $_) } @settings);
	return $self;
}

# Runs a verb that must succeed; returns its output.
sub run
{
	my ($self, $input, @verb) = @_;
	my ($out, $err) = ('', '');

	local $ENV{WEIR_SANDBOX} = $self->{directory};
	IPC::Run::run([ $tool, @verb ], \$input, \$out, \$err, IPC::Run::timeout(300))
	  or die "sandbox @verb: $err";
	chomp $out;
	return $out;
}

sub sql
{
	my ($self, $query) = @_;

	return $self->run($query, qw(psql -X -q -A -t -v ON_ERROR_STOP=1));
}

# Creates a stream with columns id and ts, and starts it.
sub stream
{
	my ($self, $name, $topic, $more) = @_;

	$more = $more ? ", $more" : '';
	$self->sql("SELECT weir.create_stream('$name', columns => 'id int, ts timestamptz',"
		  . " server => 'kafka', topic => '$topic', time_unit => 'ms' $more);"
		  . " SELECT weir.start('$name')");
}

# Makes a topic and a stream of the same name, which logs the ids of its events
# with their watermarks: in name_log, by a trigger that has first run the
# statements given.
sub logged_stream
{
	my ($self, $name, $statements, $more, $partitions) = @_;

	$self->run('', 'topic', $name, '--partitions', $partitions // 1);
	$more = $more ? ", $more" : '';
	$self->sql(<<~"END");
		CREATE TABLE ${name}_log (id int, watermark timestamptz);
		SELECT weir.create_stream('$name', columns => 'id int, ts timestamptz', server => 'kafka',
			topic => '$name', time_unit => 'ms', event_time => 'ts' $more);
		CREATE FUNCTION ${name}_trigger() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			$statements
			INSERT INTO ${name}_log SELECT id, _watermark FROM batch;
			RETURN NULL;
		END \$\$;
		CREATE TRIGGER log AFTER INSERT ON $name REFERENCING NEW TABLE AS batch
			FOR EACH STATEMENT EXECUTE FUNCTION ${name}_trigger();
		SELECT weir.start('$name');
		END
}

# Waits until exactly these numbers have been logged, each once.
sub poll_log
{
	my ($self, $name, $from, $to, $what) = @_;
	my $count = $to - $from + 1;
	my $sum = $count * ($from + $to) / 2;

	$self->poll("SELECT count(*), count(DISTINCT id), sum(id) FROM ${name}_log", "$count\\|$count\\|$sum", $what);
}

# Begins a session that runs some statements and then waits for end_session.
sub session
{
	my ($self, $statements) = @_;
	my $session = { in => "$statements;\n\\echo there\n", out => '', err => '' };

	local $ENV{WEIR_SANDBOX} = $self->{directory};
	$session->{process} = IPC::Run::start([ $tool, qw(psql -X -q -A -t -v ON_ERROR_STOP=1) ],
		\$session->{in}, \$session->{out}, \$session->{err}, IPC::Run::timeout(120));
	return $session;
}

# The same, and waits until they are done.
sub busy_session
{
	my ($self, $statements) = @_;
	my $session = $self->session($statements);

	$session->{process}->pump until $session->{out} =~ /^there$/m;
	return $session;
}

# Ends a session's transaction with the statement given; returns what it said.
sub end_session
{
	my ($self, $session, $statement) = @_;

	$session->{in} .= "$statement;\n" if $statement;
	$session->{process}->finish;
	return $session->{err};
}

# Sends events numbered from .. to.
sub produce
{
	my ($self, $topic, $from, $to, @options) = @_;

	$self->run(join('', map { qq({"id": $_, "ts": 1700000000000}\n) } $from .. $to),
		'produce', $topic, @options);
}

# Waits until a query answers as expected; returns its last answer.
sub await
{
	my ($self, $query, $expected) = @_;
	my $deadline = time + 60;
	my $answer;

	do
	{
		sleep 0.1 if defined $answer;
		$answer = eval { $self->sql($query) } // "error: $@";
	} until $answer =~ /^(?:$expected)$/ || time > $deadline;
	return $answer;
}

# The same, and reports it.
sub poll
{
	my ($self, $query, $expected, $name) = @_;

	like($self->await($query, $expected), qr/^(?:$expected)$/, $name);
}

# Waits until the first worker of a stream is in a state.
sub poll_state
{
	my ($self, $stream, $state, $name) = @_;

	$self->poll("SELECT state FROM weir_internal.worker_slots()"
		  . " WHERE stream = '$stream'::regclass AND worker = 0", $state, $name);
}

# Returns a column of the first worker of a stream.
sub worker
{
	my ($self, $stream, $column) = @_;

	return $self->sql("SELECT $column FROM weir_internal.worker_slots()"
		  . " WHERE stream = '$stream'::regclass AND worker = 0");
}

# Takes the sandbox down; an exit does so too.
sub down
{
	my ($self) = @_;

	$self->run('', 'down');
	$self->{down} = 1;
}

# While everything is still there that taking a sandbox down needs: objects
# that live until the end are destroyed too late for that.
END
{
	local $?;
	for my $box (grep { !$_->{down} } @boxes)
	{
		eval { $box->down; 1 } or warn $@;
	}
}

1;
