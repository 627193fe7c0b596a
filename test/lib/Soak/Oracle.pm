# What the streams must hold, worked out from the topic alone, and the
# comparison.
#
# Facts that no topic tells are taken from where they were noted in the same
# transaction: from which offset on an option held, what was replayed as what,
# what was ingested, floors of partitions that returned from idleness.

package Soak::Oracle;

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Soak::Messages;
use Soak::Streams;
use Soak::Topic;

sub new
{
	my ($class, $server) = @_;
	my $bootstrap = $server->{env}{BOOTSTRAP};

	return bless {
		server => $server,
		topics => { map { $_ => Soak::Topic->new($bootstrap, Soak::Streams::TOPIC, $_) } qw(read_committed read_uncommitted) },
		unread => {}, standing => {}, begun => {},
	}, $class;
}

# Reads the topic until each partition has a message with the number given; returns whether it has.
sub read_until
{
	my ($self, $mark, $partitions, $seconds) = @_;
	my $deadline = time + $seconds;
	my %waiting = map { my $isolation = $_; map { ("$isolation $_" => 1) } 0 .. $partitions - 1 } keys %{ $self->{topics} };

	while (%waiting && time < $deadline)
	{
		for my $what (sort keys %waiting)
		{
			my ($isolation, $partition) = split / /, $what;
			my @messages = $self->{topics}{$isolation}->fetch($partition);

			push @{ $self->{unread}{$isolation}{$partition} }, @messages;
			delete $waiting{$what} if grep { defined $_->{value} && $_->{value} =~ /"n": $mark\b/ } @messages;
		}
		sleep 1 if %waiting;
	}
	return !%waiting;
}

# Returns one past the last offset read of each partition.
sub ends
{
	my ($self, $isolation) = @_;

	return $self->{topics}{$isolation}{next};
}

# Judges what has been read, and adds it to what is expected.
sub judge_all
{
	my ($self) = @_;

	for my $name (@Soak::Streams::names)
	{
		my $times = $self->{server}->sql("SELECT count(*) FROM soak.began WHERE stream = '$name'");
		my $unread = $times == ($self->{begun}{$name} // 0) ?
			$self->{unread}{ $Soak::Streams::streams{$name}{isolation_level} } : $self->begin_anew($name);
		$self->{begun}{$name} = $times;
		$self->judge($name, $_, $unread->{$_}) for sort { $a <=> $b } keys %$unread;
	}
	$self->{unread} = {};
	$self->expect_replayed;
}

# Forgets what was expected of a stream that began anew; returns all messages, by partition.
sub begin_anew
{
	my ($self, $name) = @_;
	my $isolation = $Soak::Streams::streams{$name}{isolation_level};
	my $topic = Soak::Topic->new($self->{server}{env}{BOOTSTRAP}, Soak::Streams::TOPIC, $isolation);

	delete $self->{standing}{$name};
	$self->{server}->sql("DELETE FROM soak.$_ WHERE stream = '$name'") for qw(expected expected_letter);
	return { map { $_ => [ $topic->fetch($_) ] } keys %{ $self->ends($isolation) } };
}

# Returns where the judgement of a partition stands: the watermark, options in
# force, counters; and what was noted about it, in the order of offsets.
sub standing
{
	my ($self, $name, $partition) = @_;
	my $stream = $Soak::Streams::streams{$name};
	my $standing = $self->{standing}{$name}{$partition} //= {
		disorder => $stream->{disorder}, tombstones => $stream->{tombstones}, watermark => undef,
		counts => { consumed => 0, staged => 0, dead_lettered => 0, skipped => 0 },
	};
	my $where = "WHERE stream = '$name' AND partition = $partition";

	$standing->{options} = [ $self->rows("SELECT from_offset, disorder, tombstones FROM soak.option $where ORDER BY id") ];
	$standing->{floors} = [ $self->rows("SELECT from_offset, floor FROM soak.kept_floor $where AND floor IS NOT NULL ORDER BY 1") ];
	return $standing;
}

# Takes over what was noted up to an offset.
sub take_notes
{
	my ($standing, $offset) = @_;
	my ($options, $floors) = @$standing{qw(options floors)};

	while (@$options && $options->[0][0] <= $offset)
	{
		my (undef, $disorder, $tombstones) = @{ shift @$options };
		$standing->{disorder} = $disorder if $disorder ne '';
		$standing->{tombstones} = $tombstones if $tombstones ne '';
	}
	while (@$floors && $floors->[0][0] <= $offset)
	{
		$standing->{watermark} = greatest($standing->{watermark}, (shift @$floors)->[1]);
	}
}

# Judges messages of one partition for one stream.
sub judge
{
	my ($self, $name, $partition, $messages) = @_;
	my $stream = $Soak::Streams::streams{$name};
	my $standing = $self->standing($name, $partition);
	my (@rows, @letters);

	for my $message (@$messages)
	{
		take_notes($standing, $message->{kafka_offset});
		my $fate = Soak::Messages::fate($message, $stream, $standing->{tombstones});
		$standing->{counts}{consumed}++;
		$standing->{counts}{ $fate eq 'row' ? 'staged' : $fate eq 'skipped' ? 'skipped' : 'dead_lettered' }++;
		if ($fate eq 'row')
		{
			push @rows, row($name, $message, $standing->{watermark});
			my $time = event_time($stream, $message);
			$standing->{watermark} = greatest($standing->{watermark}, $time - $standing->{disorder});
		}
		elsif ($fate ne 'skipped')
		{
			push @letters, letter($name, $message, $fate);
		}
	}
	$self->{server}->sql('COPY soak.expected FROM STDIN', join '', @rows) if @rows;
	$self->{server}->sql('COPY soak.expected_letter FROM STDIN', join '', @letters) if @letters;
}

# Returns the event time of a message that is a row; Kafka's, where it has no column for it.
sub event_time
{
	my ($stream, $message) = @_;

	return $message->{timestamp} unless $stream->{event_time} && defined $message->{value};
	return Soak::Messages::fields($message->{value})->{ts};
}

# Adds the rows that replays gave.
sub expect_replayed
{
	my ($self) = @_;
	my @rows = map {
		my ($name, $partition, $offset, $watermark, $value, $key, $timestamp, $batch) = @$_;
		row($name, {
			partition => $partition, kafka_offset => $offset, timestamp => $timestamp, value => pack('H*', $value),
			(key => $key eq '-' ? undef : pack('H*', $key)), headers => "batch=$batch",
		}, $watermark eq '' ? undef : $watermark);
	} $self->rows(q{SELECT r.stream, r.partition, r.kafka_offset, r.watermark, encode(r.value, 'hex'),
			coalesce(encode(l.key, 'hex'), '-'), soak.ms(l.kafka_timestamp), l.headers ->> 'batch'
		FROM soak.replayed r JOIN weir.dead_letters l USING (stream, partition, kafka_offset)
		WHERE NOT EXISTS (SELECT FROM soak.expected e
			WHERE (e.stream, e.partition, e.kafka_offset) = (r.stream, r.partition, r.kafka_offset))});

	$self->{server}->sql('COPY soak.expected FROM STDIN', join '', @rows) if @rows;
}

sub greatest
{
	my ($a, $b) = @_;

	return $b unless defined $a;
	return $a > $b ? $a : $b;
}

# Returns the rows of a query as lists of fields.
sub rows
{
	my ($self, $query) = @_;

	return map { [ split /\|/, $_, -1 ] } split /\n/, $self->{server}->sql($query);
}

# Writes fields as COPY reads them.
sub copy_line
{
	return join("\t", map { defined $_ ? $_ =~ s/\\/\\\\/gr : '\N' } @_) . "\n";
}

sub row
{
	my ($name, $message, $watermark) = @_;
	my $stream = $Soak::Streams::streams{$name};
	my $fields = Soak::Messages::fields($message->{value});
	my $has_key = ($stream->{text_key} || $stream->{metadata} =~ /key/) && defined $message->{key};
	my ($batch) = $message->{headers} =~ /batch=(\d+)/;

	return copy_line($name, $message->{partition}, $message->{kafka_offset}, @$fields{qw(n k v ts)},
		defined $fields->{note} ? md5_hex($fields->{note}) : undef,
		defined $fields->{more} ? qq({"more": $fields->{more}}) : undef,
		$has_key ? unpack('H*', $message->{key}) : undef,
		$stream->{metadata} =~ /headers/ && defined $batch ? qq({"batch": "$batch"}) : undef,
		$message->{timestamp}, $watermark,
		$stream->{text_key} ? (defined $message->{value} ? 'f' : 't') : undef);
}

sub letter
{
	my ($name, $message, $stage) = @_;

	return copy_line($name, $message->{partition}, $message->{kafka_offset}, $stage,
		map { defined $message->{$_} ? md5_hex($message->{$_}) : undef } qw(key value));
}

# ---- the comparison: each returns what is wrong, if anything ----

# Counts and shows rows that are in one query only.
sub difference
{
	my ($self, $expected, $found) = @_;

	return $self->{server}->sql(qq{
		WITH expected AS ($expected), found AS ($found),
			missing AS (SELECT * FROM expected EXCEPT ALL SELECT * FROM found),
			surplus AS (SELECT * FROM found EXCEPT ALL SELECT * FROM expected)
		(SELECT 'missing', (SELECT count(*) FROM missing), m.*::text FROM missing m LIMIT 3) UNION ALL
		(SELECT 'surplus', (SELECT count(*) FROM surplus), s.*::text FROM surplus s LIMIT 3)});
}

my $columns = 'partition, kafka_offset, n, k, v, ts, note, extra, key, headers, kafka_timestamp, watermark, tombstone';

# Does the copy that the trigger made have every row once, as it should be?
sub wrong_rows
{
	my ($self, $name) = @_;

	return $self->difference("SELECT $columns FROM soak.expected WHERE stream = '$name'",
		"SELECT * FROM soak.${name}_seen WHERE partition >= 0");
}

# The same for what was ingested, whose offsets are whatever they are.
sub wrong_ingested
{
	my ($self, $name) = @_;

	return $self->difference("SELECT n, k, v, md5(note) FROM soak.ingested WHERE stream = '$name'",
		"SELECT n, k, v, note FROM soak.${name}_seen WHERE partition = -1");
}

sub wrong_ingested_letters
{
	my ($self, $name) = @_;

	return $self->difference("SELECT value FROM soak.ingested_letter WHERE stream = '$name'",
		"SELECT convert_from(value, 'UTF8') FROM weir.dead_letters WHERE stream = '$name' AND partition = -1");
}

sub wrong_sums
{
	my ($self, $name) = @_;

	return $self->difference("SELECT coalesce(k, -1) AS k, count(*)::numeric AS count, coalesce(sum(v), 0)::numeric AS sum FROM ("
		  . "SELECT k, v FROM soak.expected WHERE stream = '$name' UNION ALL SELECT k, v FROM soak.ingested WHERE stream = '$name') e GROUP BY 1",
		"SELECT k, count, sum FROM soak.${name}_sum");
}

# The continuous aggregate against the copy: each event in its window, but for
# those that came too late by their own watermark.
sub wrong_windows
{
	my ($self, $name) = @_;
	my $time = $Soak::Streams::streams{$name}{event_time} ? 'coalesce(ts, _timestamp)' : '_timestamp';

	return $self->difference(qq{
			SELECT w, k, count(*), sum(v)
			FROM (SELECT date_bin('10 s', $time, '2000-01-03Z') AS w, k, v, _watermark FROM soak.${name}_copy) c
			WHERE _watermark < w + interval '10 s' GROUP BY 1, 2},
		"SELECT window_start, k, count, sum FROM soak.${name}_10s");
}

# The same by the extension itself, over what is staged.
sub wrong_by_verify
{
	my ($self, $name) = @_;

	return $self->{server}->sql("SELECT count(*) OVER (), side, data FROM weir.verify('soak.${name}_10s') LIMIT 5");
}

sub wrong_letters
{
	my ($self, $name) = @_;

	return $self->difference("SELECT partition, kafka_offset, stage, key, value FROM soak.expected_letter WHERE stream = '$name'",
		"SELECT partition, kafka_offset, error_stage, md5(key), md5(value) FROM weir.dead_letters WHERE stream = '$name' AND partition >= 0");
}

sub wrong_counts
{
	my ($self, $name) = @_;
	my %counts = map { $_ => $self->{standing}{$name}{$_}{counts} } keys %{ $self->{standing}{$name} };
	my $expected = join ' UNION ALL ', map {
		sprintf 'SELECT %d AS partition, %d AS consumed, %d AS staged, %d AS dead_lettered, %d AS skipped,'
		  . " (SELECT count(*) FROM soak.replayed r WHERE r.stream = '$name' AND r.partition = %d) AS replayed",
		  $_, @{ $counts{$_} }{qw(consumed staged dead_lettered skipped)}, $_
	} sort keys %counts;

	return $self->difference($expected, 'SELECT partition, consumed, staged, dead_lettered, skipped, replayed'
		  . " FROM weir.stream_stats WHERE stream = '$name' AND partition >= 0");
}

# Staging has nothing that the copy does not have; and all that is younger
# than the retention, or than another staged row of its partition.  $since:
# from when on everything must be there.  What was ingested does not come back.
sub wrong_staging
{
	my ($self, $name, $since) = @_;

	return $self->{server}->sql(qq{
		WITH staged AS (SELECT * FROM soak.${name}_staged), seen AS (SELECT * FROM soak.${name}_seen),
			surplus AS (SELECT * FROM staged EXCEPT ALL SELECT * FROM seen),
			first AS (SELECT partition, min(kafka_offset) AS kafka_offset FROM staged s WHERE partition >= 0
				AND NOT EXISTS (SELECT FROM soak.replayed r WHERE r.stream = '$name'
					AND (r.partition, r.kafka_offset) = (s.partition, s.kafka_offset))
				GROUP BY partition),
			needed AS (SELECT _partition, _offset FROM soak.${name}_copy c LEFT JOIN first f ON f.partition = c._partition
				WHERE c._partition >= 0 AND (c.arrived > '$since' OR c._offset >= f.kafka_offset
					AND NOT EXISTS (SELECT FROM soak.replayed r WHERE r.stream = '$name'
						AND (r.partition, r.kafka_offset) = (c._partition, c._offset)))),
			missing AS (SELECT * FROM needed EXCEPT ALL SELECT partition, kafka_offset FROM staged)
		(SELECT 'missing', (SELECT count(*) FROM missing), m.*::text FROM missing m LIMIT 3) UNION ALL
		(SELECT 'surplus', (SELECT count(*) FROM surplus), s.*::text FROM surplus s LIMIT 3)});
}

# Children that no stream knows, and the other way round.
sub wrong_children
{
	my ($self) = @_;

	return $self->difference(
		'SELECT stream::oid, chunk::oid FROM weir_internal.chunk',
		q{SELECT i.inhparent, i.inhrelid FROM pg_inherits i JOIN weir_internal.stream s ON s.stream = i.inhparent
		  UNION ALL SELECT NULL, oid FROM pg_class c WHERE relnamespace = 'weir_internal'::regnamespace AND relkind = 'r'
			AND relname ~ '_chunk\d*$' AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)});
}

1;
