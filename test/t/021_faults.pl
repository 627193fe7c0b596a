# What goes wrong around a stream: its triggers, its owner, its partitions, the
# server.  Whatever it is, no event is lost, and none counts twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run ();
use JSON::PP qw(decode_json);
use Sandbox;
use Test::More;
use Time::HiRes qw(time);

my $box = Sandbox->new('mock', 'max_worker_processes=32');

sub make_stream { return $box->logged_stream(@_) }

sub poll_log { return $box->poll_log(@_) }

sub poll_alive
{
	my ($name, $what) = @_;

	$box->poll_state($name, 'running|idle', $what);
}

# ---- triggers ----

# The environment's fault: tried again until it works.
$box->sql('CREATE TABLE weather (code text)');
make_stream('stormy', <<~'END');
	IF EXISTS (SELECT FROM weather) THEN
		RAISE EXCEPTION 'bad weather' USING ERRCODE = (SELECT code FROM weather);
	END IF;
	END
my $produced = 0;
foreach my $code (qw(40001 40P01 53100 55P03 57014 XX000))
{
	$box->sql("INSERT INTO weather VALUES ('$code')");
	$box->produce('stormy', $produced + 1, $produced += 50);
	$box->poll_state('stormy', 'retrying', "$code is tried again");
	is($box->worker('stormy', "last_error || ', ' || (next_try > since)"), 'bad weather, true', 'with a next try');
	$box->poll("SELECT lag, time_lag < interval '1 minute' FROM weir.stream_stats WHERE stream = 'stormy'", '50\|t',
		'while the lag shows that messages wait') if $code eq '40001';
	$box->sql('DELETE FROM weather');
	poll_log('stormy', 1, $produced, 'and at last applied once');
	poll_alive('stormy', 'the stream runs again');
}
is($box->sql('SELECT count(*) FROM weir.dead_letters'), '0', 'no event is to blame');

# The definition's fault: stays failed until somebody acts.
$box->sql('CREATE TABLE lost (id int)');
make_stream('broken', 'INSERT INTO lost SELECT id FROM batch;');
$box->produce('broken', 1, 50);
poll_log('broken', 1, 50, 'a trigger works');
$box->sql('DROP TABLE lost');
$box->produce('broken', 51, 100);
$box->poll_state('broken', 'failed', 'a trigger without its table stops the stream');
is($box->worker('broken', 'last_error'), 'relation "lost" does not exist', 'which names it');
is($box->sql("SELECT pid IS NOT NULL FROM weir.status WHERE stream = 'broken'"), 't', 'and waits');
$box->sql('CREATE TABLE lost (id int)');
$box->sql("SELECT weir.start('broken')");
poll_log('broken', 1, 100, 'mended and started it goes on, with nothing lost');

# An event's fault.
make_stream('poisoned', <<~'END');
	IF EXISTS (SELECT FROM batch WHERE id % 37 = 0) THEN
		RAISE EXCEPTION 'poison';
	END IF;
	END
$box->produce('poisoned', 1, 200);
$box->poll("SELECT sum(consumed) FROM weir.stream_stats WHERE stream = 'poisoned'", '200', 'poison stops nothing');
is($box->sql('SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id % 37 = 0) FROM poisoned_log'),
	'195|195|0', 'good events are applied');
is($box->sql("SELECT string_agg(convert_from(value, 'UTF8')::jsonb ->> 'id', ' ' ORDER BY id), min(error_stage),"
	  . " min(sqlstate), min(message) FROM weir.dead_letters WHERE stream = 'poisoned'"),
	'37 74 111 148 185|trigger|P0001|poison', 'bad ones are dead letters');

# Every event's fault, that is: the trigger's, also where batches are small.
make_stream('picky', <<~'END', 'batch_rows => 3');
	IF EXISTS (SELECT FROM batch WHERE id > 20) THEN
		RAISE EXCEPTION 'not to my taste' USING ERRCODE = '22023';
	END IF;
	END
$box->run("rotten\n", 'produce', 'picky');
$box->produce('picky', 1, 60);
$box->run("rotten\n", 'produce', 'picky');
$box->produce('picky', 61, 200);
$box->poll_state('picky', 'failed', 'a trigger that refuses everything stops the stream');
like($box->worker('picky', 'last_error'), qr/picky_trigger.* refuses every event/, 'which names it');
is($box->sql("SELECT string_agg(kafka_offset || ' ' || error_stage, ',') FROM weir.dead_letters WHERE stream = 'picky'"),
	'0 decode', 'none of them is a dead letter');
my $stats = 'SELECT applied_offset, consumed, staged, dead_lettered, balanced'
  . " FROM weir.stream_stats JOIN weir.audit('picky') USING (partition, consumed, staged, dead_lettered)"
  . " WHERE stream = 'picky'";
is($box->sql($stats), '21|21|20|1|t', 'as if the first had not come yet');
$box->sql(<<~'END');
	CREATE OR REPLACE FUNCTION picky_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO picky_log SELECT id, _watermark FROM batch;
		RETURN NULL;
	END $$;
	SELECT weir.start('picky');
	END
poll_log('picky', 1, 200, 'mended and started it takes all of them');
is($box->sql($stats), '202|202|200|2|t', 'and the books balance');

# What has been replayed meanwhile does not come again.
make_stream('fickle', 'IF EXISTS (SELECT FROM weather) THEN RAISE \'bad mood\'; END IF;');
my $letters = "SELECT count(*) FROM weir.dead_letters WHERE stream = 'fickle' AND replayed_at IS NULL";
my $replay = "SELECT * FROM weir.replay_dead_letters('fickle')";
$box->sql("INSERT INTO weather VALUES ('bad')");
$box->produce('fickle', 1, 40);
$box->poll($letters, '40', 'a few events that are refused are dead letters');
$box->sql('DELETE FROM weather');
is($box->sql($replay), '40|40|0', 'which are applied later');
$box->sql("INSERT INTO weather VALUES ('bad')");
$box->produce('fickle', 41, 150);
$box->poll_state('fickle', 'failed', 'more of them are the fault of the trigger');
$box->sql('DELETE FROM weather');
$box->sql("SELECT weir.start('fickle')");
$box->poll("SELECT sum(consumed) FROM weir.stream_stats WHERE stream = 'fickle'", '150', 'the stream goes on');
$box->sql($replay);
poll_log('fickle', 1, 150, 'and each is applied once');

# ---- watermarks ----

# Produces one event at a time, seconds after one moment.
sub produce_at
{
	my ($topic, $partition, $id, @seconds) = @_;

	$box->run(join('', map { sprintf(qq({"id": %d, "ts": %d}\n), $id++, (1_700_000_000 + $_) * 1000) } @seconds),
		'produce', $topic, '--partition', $partition);
}

my $status = "SELECT extract(epoch FROM watermark) - 1700000000, held_back_by, consumed"
  . " FROM weir.status WHERE stream = 'tidal'";
my $idle = "SELECT count(*) FROM weir_internal.stream_partition WHERE stream = 'tidal'::regclass AND idle_since IS NOT NULL";
my $logged = "SELECT string_agg(id || ' ' || (extract(epoch FROM watermark) - 1700000000), ',' ORDER BY id) FROM tidal_log";

make_stream('tidal', '', '', 2);
produce_at('tidal', 0, 1, 0, 100);
$box->poll($status, '-Infinity\|1\|2', 'a partition without events holds the watermark back');
$box->sql("SELECT weir.alter_stream('tidal', idle_timeout => '1 second')");
$box->poll($status, '100\.0+\|\|2', 'until it is left out');
$box->poll($idle, '2', 'the other one is left out as well');
$box->poll($status, '100\.0+\|\|2', 'and the watermark stays');
produce_at('tidal', 1, 3, -50, 60, 160, 150);
$box->poll($logged, '1 -Infinity,2 0\.0+,3 100\.0+,4 100\.0+,5 100\.0+,6 160\.0+',
	'what comes back goes on from the watermark');
is($box->sql('SELECT partition, from_offset, extract(epoch FROM floor) - 1700000000 FROM weir_internal.watermark_floor'
	  . " WHERE stream = 'tidal'::regclass"), '1|0|100.000000', 'which is logged');
$box->poll($status, '160\.0+\|\|6', 'and moves it on, alone');
produce_at('tidal', 0, 7, 110, 170);
$box->poll($logged, '.*,7 160\.0+,8 160\.0+', 'the other one comes back behind it');
$box->poll($status, '160\.0+\|\|8|170\.0+\|\|8', 'the watermark never goes back');

# ---- seeks that meet a beginning ----

# Workers find out from where to start, slowly, while somebody says otherwise.
my @sought = map { "sought$_" } 1 .. 12;
$box->run('', 'topic', 'sought', '--partitions', 1);
$box->produce('sought', 1, 100);
$box->run('', 'mock', 'rtt', '-1', '300');
$box->sql('SET weir.probe_timeout = 0;' . join('', map { <<~"END" } @sought));
	SELECT weir.create_stream('$_', columns => 'id int, ts text', server => 'kafka', topic => 'sought');
	SELECT weir.start('$_');
	END
foreach my $stream (@sought)
{
	eval { $box->sql("SELECT weir.seek('$stream', '{\"0\": 90}')") };
	# too late for one that has read from the beginning
	$stream = undef if $@;
}
$box->run('', 'mock', 'rtt', '-1', '0');
@sought = grep { defined } @sought;
$box->poll(join(' UNION ALL ', map { "(SELECT count(*), min(id) FROM $_)" } @sought), join("\n", ('10\|91') x @sought),
	'no worker that begins undoes a seek');
$box->sql("SELECT weir.drop_stream('$_')") foreach @sought;

# ---- alerts ----

# Waits until weir.evaluate_alerts() has alerts of a stream like these; returns their messages.
sub poll_alerts
{
	my ($stream, $open, $what) = @_;
	my $alerts = "FROM weir.alerts WHERE what ~ '\\m$stream\$' AND resolved_at IS NULL";

	$box->poll("SELECT weir.evaluate_alerts() >= 0; SELECT coalesce(string_agg(source, ' ' ORDER BY source), 'none') $alerts",
		"t\n$open", $what);
	return $box->sql("SELECT message $alerts ORDER BY source");
}

my $ears = $box->busy_session('LISTEN weir_alerts');
$box->sql('CREATE TABLE needed (id int)');
make_stream('watched', 'INSERT INTO needed SELECT id FROM batch;');
$box->sql(<<~'END');
	SELECT weir.alter_alert_rule(rule, enabled => rule IN ('dead_letters', 'lag_messages', 'not_running')) FROM weir.alert_rules;
	SELECT weir.alter_alert_rule('lag_messages', threshold => 40, severity => 'critical');
	SELECT weir.alter_alert_rule('not_running', threshold => 0);
	END
poll_alerts('watched', 'none', 'a stream that runs raises no alert');
$box->run("rotten\n", 'produce', 'watched');
$box->produce('watched', 1, 50);
like(poll_alerts('watched', 'dead_letters', 'dead letters raise one'),
	qr/^stream \S*watched: 1\.96 % of 51 messages became dead letters$/, 'which says how many');
$box->produce('watched', 51, 150);
poll_alerts('watched', 'none', 'which is resolved when there are fewer of them');
$box->sql('DROP TABLE needed');
$box->produce('watched', 151, 200);
like(poll_alerts('watched', 'lag_messages not_running', 'a stream that has failed is behind, and does not run'),
	qr/: is 50 messages behind\n.*: is failed: relation "needed" does not exist$/, 'of which its alerts speak');
$box->sql("CREATE TABLE needed (id int); SELECT weir.start('watched')");
poll_alerts('watched', 'none', 'both are resolved when it goes on');
$box->end_session($ears, 'SELECT');
my @heard = grep { $_->{what} =~ /\bwatched$/ } map { decode_json($_) } $ears->{out} =~ /"weir_alerts" with payload "(.*)" received/g;
is_deeply([ sort map { "$_->{event} $_->{source} $_->{severity}" } @heard ],
	[ map { my $event = $_; map { "$event $_" } 'dead_letters error', 'lag_messages critical', 'not_running error' } qw(raised resolved) ],
	'who listens hears of each twice');
is_deeply([ sort keys %{ $heard[0] } ], [ qw(count event first_seen id message severity source what) ], 'in JSON');

# What is too unimportant is not told, nor that it is over; others are told what anybody may know.
$ears = $box->busy_session('LISTEN weir_alerts');
$box->sql(<<~'END');
	SELECT weir.alter_alert_rule('check', enabled => true, notify_from => 'error', with_message => false);
	SELECT weir_internal.raise_alert('check', 'small', 'warn', 'm');
	SELECT weir_internal.resolve_alert('check', 'small');
	SELECT weir_internal.raise_alert('check', 'growing', severity, 'm') FROM unnest('{warn,error,critical,error,warn}'::text[]) severity;
	SELECT weir_internal.raise_alert('check', 'growing', 'critical', 'm'), weir_internal.resolve_alert('check', 'growing');
	END
$box->end_session($ears, 'SELECT');
@heard = map { decode_json($_) } $ears->{out} =~ /"weir_alerts" with payload "(.*)" received/g;
is(join(', ', map { "$_->{event} $_->{severity}" } @heard), 'escalated error, escalated critical, escalated critical, resolved critical', 'what matters is told');
is_deeply([ map { join(' ', sort keys %$_) } @heard ], [ ('event id severity source') x 4 ], 'and no more of it than is wanted');
$box->sql("SELECT weir.alter_alert_rule('check', notify_from => 'info', with_message => true)");
$box->sql("SELECT weir.alter_alert_rule(rule, enabled => true) FROM weir.alert_rules; SELECT weir.drop_stream('watched')");

# ---- dead letters grow old ----

$box->sql("ALTER SYSTEM SET weir.dead_letter_retention = '1s'");
$box->sql('SELECT pg_reload_conf()');
$box->run("rotten\n", 'produce', 'stormy');
$box->poll("SELECT sum(dead_lettered) FROM weir.stream_stats WHERE stream = 'stormy'", '1', 'a dead letter');
$box->poll('SELECT count(*) FROM weir.dead_letters WHERE replayed_at IS NULL', '0', 'is purged by itself');
isnt($box->sql('SELECT count(*) FROM weir.dead_letters'), '0', 'those that were replayed stay as long as their rows');
$box->sql('ALTER SYSTEM RESET weir.dead_letter_retention');
$box->sql('SELECT pg_reload_conf()');

# ---- guards, owners, rights ----

# A stream that has failed does not outlive its extension.
$box->sql('CREATE DATABASE other');
$box->run(<<~'END', qw(psql -X -q -v ON_ERROR_STOP=1 -d other -v), 'bootstrap=' . $box->run('', 'env') =~ s/.*BOOTSTRAP=(\S+).*/$1/sr);
	CREATE EXTENSION pg_weir;
	CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" :'bootstrap');
	SELECT weir.create_stream('doomed', columns => 'id int, ts text', server => 'kafka', topic => 'stormy');
	ALTER TABLE doomed DISABLE TRIGGER weir_guard;
	SELECT weir.start('doomed');
	END
my $elsewhere = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND query ~ 'failed'";
$box->poll($elsewhere, '1', 'a stream that has failed waits');
$box->run('DROP EXTENSION pg_weir CASCADE', qw(psql -X -q -v ON_ERROR_STOP=1 -d other));
$box->poll($elsewhere, '0', 'but not for ever');

$box->sql('ALTER TABLE stormy DISABLE TRIGGER weir_guard');
$box->produce('stormy', $produced + 1, $produced += 50);
$box->poll_state('stormy', 'failed', 'a stream without its guard stops');
is($box->worker('stormy', 'last_error'), 'trigger "weir_guard" of stream "stormy" is disabled', 'and says so');
my $hint = $box->worker('stormy', 'last_hint');
like($hint, qr/^Use (ALTER TABLE public\.stormy ENABLE ALWAYS TRIGGER weir_guard)\.$/, 'and what to do');
$box->sql($hint =~ s/^Use |\.$//gr);
$box->sql("SELECT weir.start('stormy')");
poll_log('stormy', 1, $produced, 'which helps');

$box->sql(<<~'END');
	CREATE ROLE keeper NOLOGIN;
	CREATE ROLE heir NOLOGIN;
	GRANT ALL ON SCHEMA public TO keeper, heir;
	REVOKE USAGE ON FOREIGN SERVER kafka FROM PUBLIC;
	GRANT USAGE ON FOREIGN SERVER kafka TO keeper, heir;
	END
make_stream('owned', '');
$box->sql('ALTER TABLE owned_log OWNER TO keeper; ALTER TABLE owned OWNER TO keeper');
$box->produce('owned', 1, 50);
poll_log('owned', 1, 50, 'an owner need not be able to log in');
$box->sql('REVOKE USAGE ON FOREIGN SERVER kafka FROM keeper');
$box->poll_state('owned', 'failed', 'an owner may lose the right to use the server');
is($box->worker('owned', 'last_error'), 'role "keeper" may not use server "kafka"', 'which is said');
like($box->worker('owned', 'last_hint'), qr/GRANT USAGE ON FOREIGN SERVER kafka TO/, 'and what to do');
$box->produce('owned', 51, 100);
$box->sql('GRANT USAGE ON FOREIGN SERVER kafka TO keeper');
$box->sql("SELECT weir.start('owned')");
poll_log('owned', 1, 100, 'which helps');
my $before = $box->worker('owned', 'pid');
$box->sql('REASSIGN OWNED BY keeper TO heir; DROP OWNED BY keeper; DROP ROLE keeper');
$box->produce('owned', 101, 150);
poll_log('owned', 1, 150, 'another owner may take over');
$box->poll("SELECT pid <> $before FROM weir_internal.worker_slots() WHERE stream = 'owned'::regclass", 't',
	'and is whom the broker sees');
$box->sql('GRANT USAGE ON FOREIGN SERVER kafka TO PUBLIC');

# ---- coming and going ----

my $pid = $box->worker('owned', 'pid');
my $begin = time;
$box->sql('DROP TABLE owned');
$box->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 'a dropped stream has no worker');
cmp_ok(time - $begin, '<', 5, 'at once, not at the next look around');

$pid = $box->worker('broken', 'pid');
$box->sql("SELECT pg_terminate_backend($pid)");
$box->produce('broken', 101, 150);
poll_log('broken', 1, 150, 'a worker that is terminated comes back');

# Workers that begin, with a broker that knows the topic, but says nothing about
# its offsets from now on: the client's statistics name partitions that are not
# assigned yet.
$box->run('', 'topic', 'unready', '--partitions', 1);
$box->run('', 'mock', 'broker-errors', $_, 'ListOffsets', 'NO_ERROR', 2000, 10000) for 1 .. 3;
$box->sql(<<~'END');
	SET weir.probe_timeout = 0;
	SELECT weir.create_stream('unready', columns => 'id int, ts text', server => 'kafka', topic => 'unready', start_from => 'latest');
	SELECT weir.start('unready');
	END
$box->poll_state('unready', 'retrying', 'a worker that does not find out where to begin tries again');
my $unready = $box->worker('unready', 'pid');
$box->poll("SELECT clock_timestamp() - backend_start > '12 s' FROM pg_stat_activity WHERE pid = $unready", 't', 'and again');
$box->sql("SELECT weir.drop_stream('unready')");

# Workers that run, and workers that begin, with a broker that says nothing.
$box->run('', 'broker', 'pause');
$box->sql('SELECT pg_terminate_backend(' . $box->worker('stormy', 'pid') . ')');
$box->poll("SELECT pid <> $pid FROM weir_internal.worker_slots() WHERE stream = 'broken'::regclass", 't', 'workers');
my ($directory) = $box->run('', 'status') =~ /^directory\s+(\S+)/m;
my $pg_ctl = $ENV{PG_CONFIG} ? `$ENV{PG_CONFIG} --bindir` : `pg_config --bindir`;
chomp $pg_ctl;
ok(IPC::Run::run([ "$pg_ctl/pg_ctl", 'stop', '-D', "$directory/pg", '-m', 'fast', '-w', '-s', '-t', '10' ]),
	'the server stops although the broker hangs');

$box->down;
done_testing();
