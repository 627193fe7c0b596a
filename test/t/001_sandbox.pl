# tools/sandbox: what every other test with a broker stands on.  Two sandboxes
# side by side, one with Kafka and one with the mock cluster.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use IPC::Run ();
use Test::More;
use Time::HiRes qw(sleep time);

my $tool = dirname(__FILE__) . '/../../tools/sandbox';

# A directory that only its owner can enter, and one with a very long name: the
# postgres user and the names of sockets must not mind.
my $base = tempdir('weir-sandbox-XXXX', TMPDIR => 1, CLEANUP => 1);
my %directory = (kafka => "$base/kafka", mock => "$base/" . 'm' x 120);
my %state;

# Runs a verb and returns its exit status, output and error output.
sub sandbox
{
	my ($which, $input, @verb) = @_;
	my ($out, $err) = ('', '');

	local $ENV{WEIR_SANDBOX} = $directory{$which};
	IPC::Run::run([ $tool, @verb ], \$input, \$out, \$err, IPC::Run::timeout(300));
	return ($? >> 8, $out, $err);
}

# The same for verbs that must succeed: returns the output.
sub ok_sandbox
{
	my ($which, $input, @verb) = @_;
	my ($status, $out, $err) = sandbox(@_);

	is($status, 0, "$which: @verb") or diag($err);
	chomp $out;
	return $out;
}

sub sql
{
	my ($which, $query) = @_;
	my ($status, $out, $err) = sandbox($which, $query, qw(psql -X -q -A -t -v ON_ERROR_STOP=1));

	die "$query: $err" if $status != 0;
	chomp $out;
	return $out;
}

sub env
{
	my ($which) = @_;
	my %env = ok_sandbox($which, '', 'env') =~ /^([A-Z]+)=(.*)$/mg;

	return %env;
}

# Runs a command in a shell that knows no more than what "env" prints.
sub in_shell
{
	my ($which, $command) = @_;
	my $out = '';

	local $ENV{WEIR_SANDBOX} = $directory{$which};
	local $ENV{SANDBOX_TOOL} = $tool;
	IPC::Run::run([ 'sh', '-c', qq{eval "\$("\$SANDBOX_TOOL" env)"; $command} ],
		'<', \undef, '>', \$out, IPC::Run::timeout(60));
	chomp $out;
	return $out;
}

# Waits until a query answers what is expected, and reports it.
sub poll_is
{
	my ($which, $query, $expected, $name) = @_;
	my $deadline = time + 60;
	my $answer;

	while (1)
	{
		$answer = eval { sql($which, $query) } // 'an error';
		last if $answer eq $expected || time > $deadline;
		sleep 0.1;
	}
	is($answer, $expected, $name);
}

# The processes whose command line or working directory is in a sandbox.
sub processes
{
	my ($which) = @_;
	my @found;

	foreach my $proc (glob '/proc/[0-9]*')
	{
		my $cwd = readlink("$proc/cwd") // '';
		open(my $file, '<', "$proc/cmdline") or next;
		my $command = do { local $/; <$file> } // '';
		push @found, $proc if "$cwd/$command" =~ m{\Q$state{$which}\E[/\0]};
	}
	return @found;
}

sub postmaster
{
	my ($which) = @_;
	my ($pid) = ok_sandbox($which, '', 'status') =~ /^postgres +([0-9]+)$/m;

	return $pid;
}

sub consume
{
	my ($which, $topic, $partition, $format) = @_;

	return in_shell($which, "kcat -b \$BOOTSTRAP -C -t $topic -p $partition -e -q -f '$format'");
}

END
{
	my $status = $?;
	sandbox($_, '', 'down') foreach keys %directory;
	$? = $status;
}

# Before and after "up".
my ($status, $out, $err) = sandbox('mock', '', 'env');
isnt($status, 0, 'env without a sandbox fails');
like($err, qr/there is no sandbox/, 'and says why');
($status, $out, $err) = sandbox('mock', '', 'fly');
like($err, qr/unknown verb: fly/, 'an unknown verb is refused');

my %started;
foreach my $which (sort keys %directory)
{
	local $ENV{WEIR_SANDBOX} = $directory{$which};
	$started{$which} = IPC::Run::start([ $tool, 'up', "--$which", '--set', 'work_mem=5MB' ],
		'<', \undef, '>&', \my $output, IPC::Run::timeout(600));
}
foreach my $which (sort keys %started)
{
	$started{$which}->finish;
	is($started{$which}->result(0), 0, "up --$which beside the other");
	($state{$which}) = ok_sandbox($which, '', 'status') =~ /^directory +(.*)$/m;
}
($status, $out, $err) = sandbox('kafka', '', 'up');
is($status, 0, 'up a second time');
like($err, qr/is up already/, 'leaves it alone');
($status, $out, $err) = sandbox('kafka', '', 'up', '--mock');
isnt($status, 0, 'another broker is refused');
ok(-d "$directory{kafka}/$_", "there is a directory $_") foreach qw(pg kafka log run);

# What "up" has made.
my %kafka = env('kafka');
my %mock = env('mock');
isnt($kafka{PGPORT}, $mock{PGPORT}, 'two sandboxes have ports of their own');
is_deeply([ sort keys %kafka ], [qw(BOOTSTRAP PGDATABASE PGHOST PGPORT PGUSER)], 'env has five assignments');
is(in_shell('kafka', q{psql -XAtc 'SHOW server_encoding'}), 'UTF8', 'psql works after eval');
foreach my $which (qw(kafka mock))
{
	is(sql($which, q{SHOW shared_preload_libraries}), 'pg_weir,pg_cron', "$which: libraries are preloaded");
	is(sql($which, q{SHOW wal_level}), 'logical', "$which: wal_level");
	is(sql($which, q{SHOW fsync}), 'on', "$which: fsync");
	is(sql($which, q{SHOW work_mem}), '5MB', "$which: --set");
	is(sql($which, q{SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'}),
		'pg_cron pg_weir pgtap', "$which: extensions");
	is(sql($which, q{SELECT rolsuper FROM pg_roles WHERE rolname = current_user}), 't', "$which: PGUSER is a superuser");
	is(sql($which, q{SELECT option_value FROM pg_foreign_server, pg_options_to_table(srvoptions)
					 WHERE srvname = 'kafka' AND option_name = 'bootstrap.servers'}),
		$which eq 'kafka' ? $kafka{BOOTSTRAP} : $mock{BOOTSTRAP}, "$which: the server points at the broker");
	is(sql($which, q{CREATE ROLE nobody; SELECT has_server_privilege('nobody', 'kafka', 'USAGE')}), 't',
		"$which: everybody may use the server");
}

# Topics and messages.
ok_sandbox('kafka', '', qw(topic messages --partitions 2));
($status, $out, $err) = sandbox('kafka', '', qw(topic messages --partitions 2));
isnt($status, 0, 'a topic is not created twice');
($status, $out, $err) = sandbox('kafka', '', qw(topic other --partitions 1 --config nonsense=1));
isnt($status, 0, 'a wrong topic option is refused');
ok_sandbox('kafka', "k\tv\n\tempty key\nno key\nk\t\nk\tNIL\n",
	qw(produce messages --partition 1 --key --tombstone NIL --header a=b --timestamp 1700000000000));
is(consume('kafka', 'messages', 1, '%K[%k] %S[%s] %h %T\n'), join("\n",
	'1[k] 1[v] a=b 1700000000000',
	'0[] 9[empty key] a=b 1700000000000',
	'-1[] 6[no key] a=b 1700000000000',
	'1[k] 0[] a=b 1700000000000',
	'1[k] -1[] a=b 1700000000000'), 'keys, empty values, tombstones, headers, timestamps');
ok_sandbox('kafka', "00ff0A\n", qw(produce messages --partition 0 --hex));
is(in_shell('kafka', 'kcat -b $BOOTSTRAP -C -t messages -p 0 -e -q -D "" | od -An -tx1'), ' 00 ff 0a', '--hex');
ok_sandbox('kafka', "gone\n", qw(produce messages --partition 0 --transaction abort));
ok_sandbox('kafka', "kept\n", qw(produce messages --partition 0 --transaction commit));
is(in_shell('kafka', 'kcat -b $BOOTSTRAP -C -t messages -p 0 -o 1 -e -q'), 'kept', 'only the committed transaction is seen');
is(ok_sandbox('kafka', '', qw(offsets messages)), "0\t0\t5\n1\t0\t5", 'offsets count transaction markers too');
ok_sandbox('kafka', '', qw(topic messages --add-partitions 1));
ok_sandbox('kafka', '', qw(topic messages --delete-records 1:3));
is(ok_sandbox('kafka', '', qw(offsets messages)), "0\t0\t5\n1\t3\t5\n2\t0\t0", 'a partition more, three records less');
ok_sandbox('kafka', '', qw(topic messages --delete));
($status) = sandbox('kafka', '', qw(offsets messages));
isnt($status, 0, 'a deleted topic is gone');
($status) = sandbox('kafka', "x\n", qw(produce messages --partition 0));
isnt($status, 0, 'producing to no topic fails');

ok_sandbox('mock', '', qw(topic messages --partitions 3));
ok_sandbox('mock', join('', map { "$_\n" } 1 .. 10_000), qw(produce messages));
my $total = 0;
$total += (split /\t/)[2] foreach split /\n/, ok_sandbox('mock', '', qw(offsets messages));
is($total, 10_000, 'the mock keeps what is produced');

# Crashes of PostgreSQL.
sql('kafka', 'CREATE TABLE kept AS SELECT 1 AS n; CREATE UNLOGGED TABLE lost AS SELECT 1 AS n');
my $before = postmaster('kafka');
ok_sandbox('kafka', '', 'crash');
is(sql('kafka', 'SELECT count(*) FROM kept'), '1', 'what was committed is there after a crash');
is(sql('kafka', 'SELECT count(*) FROM lost'), '0', 'it was a crash');
isnt(postmaster('kafka'), $before, 'the postmaster is another one');
my $up_since = sql('kafka', 'SELECT pg_postmaster_start_time()');
is(sql('kafka', q{SELECT count(*) FROM pg_stat_activity WHERE backend_start < pg_postmaster_start_time()}), '0',
	'no process of before the crash is left');
ok_sandbox('kafka', '', 'restart');
isnt(sql('kafka', 'SELECT pg_postmaster_start_time()'), $up_since, 'restart restarts');
# Its children may still be about when "up" comes.
kill 'KILL', postmaster('kafka');
ok_sandbox('kafka', '', 'up');
is(sql('kafka', 'SELECT count(*) FROM kept'), '1', 'up repairs a sandbox that died');

# A stream, and the death of its worker and of its broker.
my $consumed = q{SELECT coalesce(sum(consumed), 0) FROM weir.stream_stats WHERE stream = 'things'};
my $events = join('', map { qq({"id": $_}\n) } 1 .. 1000);
ok_sandbox('kafka', '', qw(topic things --partitions 2));
sql('kafka', q{
	SELECT weir.create_stream('things', columns => 'id int', server => 'kafka', topic => 'things',
		format => 'json', start_from => 'earliest');
	SELECT weir.start('things');
});
ok_sandbox('kafka', $events, qw(produce things));
poll_is('kafka', $consumed, '1000', 'the stream reads the topic');
my $worker = sql('kafka', q{SELECT pid FROM weir.status WHERE stream = 'things'});
ok_sandbox('kafka', '', qw(kill-worker things));
ok(!-e "/proc/$worker/cwd", 'the worker is dead');
poll_is('kafka', "SELECT pid <> $worker FROM weir.status WHERE stream = 'things'", 't', 'another takes its place');
($status, $out, $err) = sandbox('kafka', '', qw(kill-worker nothing));
like($err, qr/there is no stream "nothing"/, 'kill-worker of no stream is refused');

ok_sandbox('kafka', '', qw(broker kill));
($status) = sandbox('kafka', '', qw(offsets things));
isnt($status, 0, 'a killed broker does not answer');
ok_sandbox('kafka', '', qw(broker start));
is({ env('kafka') }->{BOOTSTRAP}, $kafka{BOOTSTRAP}, 'the broker comes back on its port');
ok_sandbox('kafka', $events, qw(produce things));
poll_is('kafka', $consumed, '2000', 'topic and stream go on where they were');
ok_sandbox('kafka', '', qw(broker pause));
ok_sandbox('kafka', '', qw(status));
ok_sandbox('kafka', '', qw(broker resume));
ok_sandbox('kafka', '', qw(offsets things));

# Faults of the mock cluster.
ok_sandbox('mock', '', qw(mock topic-error messages UNKNOWN_TOPIC_OR_PART));
($status) = sandbox('mock', '', qw(offsets messages));
isnt($status, 0, 'a topic error is seen');
ok_sandbox('mock', '', qw(mock topic-error messages NO_ERROR));
ok_sandbox('mock', '', qw(mock leader messages 0 2));
like(in_shell('mock', 'kcat -b $BOOTSTRAP -L -t messages'), qr/partition 0, leader 2/, 'a leader moves');
ok_sandbox('mock', '', qw(mock errors ListOffsets _TRANSPORT 2));
ok_sandbox('mock', '', qw(offsets messages));
ok_sandbox('mock', '', qw(broker kill));
($status) = sandbox('mock', '', qw(offsets messages));
isnt($status, 0, 'brokers that are down do not answer');
ok_sandbox('mock', '', qw(broker start));
ok_sandbox('mock', '', qw(offsets messages));
foreach my $wrong ([qw(explode)], [qw(errors Fetch NONSENSE)], [qw(leader messages x 1)], [qw(rtt)])
{
	($status, $out, $err) = sandbox('mock', '', 'mock', @$wrong);
	isnt($status, 0, "mock @$wrong is refused");
	like($err, qr/error: /, 'with a reason');
}
($status) = sandbox('kafka', '', qw(mock bootstrap));
isnt($status, 0, 'real Kafka takes no mock commands');

# Down.
cmp_ok(scalar processes('kafka'), '>', 2, 'there are processes to look for');
ok_sandbox('kafka', '', 'down');
is_deeply([ processes('kafka') ], [], 'down leaves no process');
ok(!-e $directory{kafka} && !-e $state{kafka}, 'nor a directory');
is(sql('mock', 'SELECT 1'), '1', 'the other sandbox is still up');
kill 'KILL', postmaster('mock');
ok_sandbox('mock', '', 'down');
is_deeply([ processes('mock') ], [], 'down clears up after a crash, too');
ok_sandbox('mock', '', 'down');

done_testing();
