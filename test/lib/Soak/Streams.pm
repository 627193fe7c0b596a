# The streams of a soak, all of one topic, and the logged tables that their
# triggers maintain: a copy of each row, sums by key, counts by partition; and
# a continuous aggregate over each.

package Soak::Streams;

use strict;
use warnings;

use Soak::Messages;

use constant TOPIC => 'events';
use constant PARTITIONS => 4;
use constant MAX_PARTITIONS => 6;

# event_time: whether the column ts is; text_key: whether the key is a column
# of its own.
our %streams = (
	plain => {
		event_time => 1, disorder => 5000, tombstones => 'dead_letter', parallelism => 1, retention => 3600,
		isolation_level => 'read_committed', metadata => '{key,headers}',
	},
	wide => {
		event_time => 0, disorder => 0, tombstones => 'row', parallelism => 2, retention => 60, text_key => 1,
		isolation_level => 'read_uncommitted', metadata => '{headers}', more => ', batch_rows => 500',
	},
	brief => {
		event_time => 1, disorder => 1000, tombstones => 'skip', parallelism => 2, retention => 32,
		isolation_level => 'read_committed', metadata => '{}', more => q{, idle_timeout => '1 s'},
	},
);
our @names = sort keys %streams;

# What all streams need.
sub common_sql
{
	return tables_sql() . actions_sql();
}

# Where facts are noted that the topic does not tell, and what is expected.
sub tables_sql
{
	return q{
		CREATE SCHEMA soak;
		CREATE ROLE keeper NOLOGIN;
		GRANT CREATE ON SCHEMA public TO keeper;
		GRANT ALL ON SCHEMA soak TO keeper;
		GRANT USAGE ON FOREIGN SERVER kafka TO keeper;
		REVOKE USAGE ON FOREIGN SERVER kafka FROM PUBLIC;
		CREATE TABLE soak.weather (code text, until timestamptz);
		CREATE TABLE soak.brake (until timestamptz);
		GRANT SELECT ON soak.weather, soak.brake TO keeper;
		-- a constraint that makes everything slow, refills too
		CREATE FUNCTION soak.braked(n bigint) RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
			IF n % 100 = 0 AND EXISTS (SELECT FROM soak.brake WHERE until > clock_timestamp()) THEN PERFORM pg_sleep(0.2); END IF;
			RETURN true;
		END $$;
		CREATE TABLE soak.option (id serial, stream text, partition int, from_offset bigint, disorder int, tombstones text);
		CREATE TABLE soak.replayed (stream text, partition int, kafka_offset bigint, watermark bigint, value bytea,
			PRIMARY KEY (stream, partition, kafka_offset));
		CREATE TABLE soak.ingested (stream text, n bigint, k int, v int, note text);
		CREATE TABLE soak.ingested_letter (stream text, value text);
		CREATE TABLE soak.began (stream text, at timestamptz DEFAULT clock_timestamp());
		CREATE TABLE soak.retention (stream text, since timestamptz, retention interval);
		CREATE TABLE soak.kept_floor (stream text, partition int, from_offset bigint, floor bigint,
			PRIMARY KEY (stream, partition, from_offset));
		CREATE FUNCTION soak.ms(t timestamptz) RETURNS bigint IMMUTABLE LANGUAGE sql
			AS 'SELECT CASE WHEN isfinite(t) THEN round(extract(epoch FROM t) * 1000)::bigint END';
		-- floors are facts of the clock: no oracle can tell them
		CREATE FUNCTION soak.keep_floor() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			INSERT INTO soak.kept_floor SELECT (SELECT relname FROM pg_catalog.pg_class WHERE oid = NEW.stream),
				NEW.partition, NEW.from_offset, soak.ms(NEW.floor)
			ON CONFLICT (stream, partition, from_offset) DO UPDATE SET floor = excluded.floor;
			RETURN NULL;
		END $$;
		CREATE TRIGGER keep AFTER INSERT OR UPDATE ON weir_internal.watermark_floor FOR EACH ROW EXECUTE FUNCTION soak.keep_floor();
		CREATE TABLE soak.expected (stream text, partition int, kafka_offset bigint, n bigint, k int, v int, ts bigint,
			note text, extra text, key text, headers text, kafka_timestamp bigint, watermark bigint, tombstone bool);
		CREATE TABLE soak.expected_letter (stream text, partition int, kafka_offset bigint, stage text, key text, value text);
		CREATE INDEX ON soak.expected (stream);
	};
}

# What is done to streams and noted in the same transaction.
sub actions_sql
{
	my $transform = Soak::Messages::mend_transform();
	my $filter = Soak::Messages::mend_filter();

	return qq{
		CREATE FUNCTION soak.alter(stream text, max_out_of_orderness int, tombstones text) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM weir.alter_stream(\$1::regclass, max_out_of_orderness => \$2 * interval '1 ms', tombstones => \$3);
			INSERT INTO soak.option (stream, partition, from_offset, disorder, tombstones)
			SELECT \$1, p, coalesce((SELECT applied_offset FROM weir.stream_stats s WHERE s.stream = \$1 AND s.partition = p), 0), \$2, \$3
			FROM generate_series(0, @{[MAX_PARTITIONS - 1]}) p;
		END \$\$;
		-- PostgreSQL itself has no lock for that, and says "tuple concurrently updated"
		CREATE FUNCTION soak.change_server(command text) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM pg_advisory_xact_lock(1);
			EXECUTE command;
		EXCEPTION WHEN undefined_object THEN
			EXECUTE replace(command, '(SET ', '(ADD ');
		END \$\$;
		-- gives back what was taken, and starts streams that are stopped or have failed
		CREATE FUNCTION soak.mend() RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM soak.change_server('GRANT USAGE ON FOREIGN SERVER kafka TO keeper');
			PERFORM weir.start(s.stream::regclass) FROM (SELECT DISTINCT stream FROM weir.status WHERE state IN ('stopped', 'failed')) s;
		END \$\$;
		CREATE FUNCTION soak.retain(stream text, seconds int) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM weir.alter_stream(\$1::regclass, retention => \$2 * interval '1 s');
			INSERT INTO soak.retention VALUES (\$1, clock_timestamp(), \$2 * interval '1 s');
		END \$\$;
		CREATE FUNCTION soak.replay(name text, residue int) RETURNS bigint LANGUAGE plpgsql AS \$replay\$
		DECLARE
			result bigint;
		BEGIN
			SELECT applied INTO result FROM weir.replay_dead_letters(name::regclass,
				filter => \$f\$ $filter \$f\$ || ' AND partition >= 0 AND kafka_offset % 3 = ' || residue, transform => \$t\$ $transform \$t\$);
			INSERT INTO soak.replayed
			SELECT l.stream, l.partition, l.kafka_offset, soak.ms(greatest(p.watermark, p.floor)), convert_to($transform, 'UTF8')
			FROM weir.dead_letters l JOIN weir_internal.stream_partition p USING (partition)
			WHERE l.stream = name AND p.stream = name::regclass AND l.replayed_at IS NOT NULL AND partition >= 0
				AND NOT EXISTS (SELECT FROM soak.replayed r WHERE r.stream = name AND (r.partition, r.kafka_offset) = (l.partition, l.kafka_offset));
			RETURN result;
		END \$replay\$;
		-- DELETE, as the watch's snapshots would see through TRUNCATE
		CREATE FUNCTION soak.reset(name text) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM weir.seek(name::regclass, 'earliest', reset => true);
			EXECUTE format('DELETE FROM soak.%1\$I; DELETE FROM soak.%2\$I; DELETE FROM soak.%3\$I', name || '_copy', name || '_sum', name || '_part');
			DELETE FROM soak.replayed WHERE stream = name;
			DELETE FROM soak.ingested WHERE stream = name;
			DELETE FROM soak.kept_floor WHERE stream = name;
			DELETE FROM soak.option WHERE stream = name;
			INSERT INTO soak.option (stream, partition, from_offset, disorder, tombstones)
			SELECT name, p, 0, extract(epoch FROM s.max_out_of_orderness) * 1000, s.tombstones
			FROM weir_internal.stream s, generate_series(0, @{[MAX_PARTITIONS - 1]}) p WHERE s.stream = name::regclass;
			INSERT INTO soak.began VALUES (name);
		END \$\$;
		CREATE FUNCTION soak.ingest(stream text, first bigint, count int) RETURNS bigint LANGUAGE plpgsql AS \$\$
		BEGIN
			INSERT INTO soak.ingested SELECT \$1, n, n % 31, n % 500, '#ingested' FROM generate_series(first, first + count - 1) n;
			INSERT INTO soak.ingested_letter VALUES (\$1, 'broken ' || first);
			RETURN (SELECT accepted FROM weir.ingest(\$1::regclass, (SELECT array_agg(format(
				'{"n": %s, "k": %s, "v": %s, "ts": 1700000000000, "note": "#ingested"}', n, n % 31, n % 500))
				FROM generate_series(first, first + count - 1) n) || ('broken ' || first)));
		END \$\$;
	};
}

# Creates a stream, its tables, its trigger, and two views that bring its rows
# and their copies into the form of soak.expected.
sub create_sql
{
	my ($name) = @_;
	my $stream = $streams{$name};
	my $key_column = $stream->{text_key} ? 'key text, ' : '';
	my $more = $stream->{more} // '';
	$more .= q{, event_time => 'ts'} if $stream->{event_time};
	$more .= q{, key_format => 'text', key_columns => '{key}'} if $stream->{text_key};
	my $columns = 'n, k, v, ts, note, _partition, _offset, _timestamp, _watermark, _extra';
	$columns .= ', key, _tombstone' if $stream->{text_key};
	$columns .= ', _key' if $stream->{metadata} =~ /key/;
	$columns .= ', _headers' if $stream->{metadata} =~ /headers/;

	return join '', qq{
		SET ROLE keeper;
		SELECT weir.create_stream('$name', server => 'kafka', topic => '@{[TOPIC]}',
			columns => '${key_column}n bigint NOT NULL CHECK (soak.braked(n)), k int, v int CHECK (v > -1000), ts timestamptz, note text',
			time_unit => 'ms', max_out_of_orderness => '$stream->{disorder} ms', retention => '$stream->{retention} s',
			tombstones => '$stream->{tombstones}', isolation_level => '$stream->{isolation_level}',
			metadata => '$stream->{metadata}', parallelism => $stream->{parallelism} $more);
		CREATE TABLE soak.${name}_copy AS SELECT clock_timestamp() AS arrived, $columns FROM $name;
		CREATE TABLE soak.${name}_sum (k int PRIMARY KEY, count bigint, sum bigint);
		CREATE TABLE soak.${name}_part (partition int PRIMARY KEY, count bigint, last_offset bigint);
		CREATE FUNCTION soak.derive_$name() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			IF EXISTS (SELECT FROM soak.weather WHERE until > clock_timestamp()) THEN
				RAISE EXCEPTION 'bad weather' USING ERRCODE = (SELECT code FROM soak.weather ORDER BY until DESC LIMIT 1);
			END IF;
			IF EXISTS (SELECT FROM batch WHERE v = 666) THEN
				RAISE EXCEPTION 'the trigger refuses this';
			END IF;
			INSERT INTO soak.${name}_copy SELECT clock_timestamp(), $columns FROM batch;
			INSERT INTO soak.${name}_sum AS s SELECT coalesce(k, -1), count(*), coalesce(sum(v), 0) FROM batch GROUP BY 1 ORDER BY 1
				ON CONFLICT (k) DO UPDATE SET count = s.count + excluded.count, sum = s.sum + excluded.sum;
			INSERT INTO soak.${name}_part AS p SELECT _partition, count(*), max(_offset) FROM batch GROUP BY 1 ORDER BY 1
				ON CONFLICT (partition) DO UPDATE SET count = p.count + excluded.count,
					last_offset = greatest(p.last_offset, excluded.last_offset);
			RETURN NULL;
		END \$\$;
		CREATE TRIGGER derive AFTER INSERT ON $name REFERENCING NEW TABLE AS batch
			FOR EACH STATEMENT EXECUTE FUNCTION soak.derive_$name();
		CREATE INDEX ON soak.${name}_copy (_partition, _offset);
		SELECT weir.create_continuous_aggregate('soak.${name}_10s', 'SELECT k, count(*) AS count, sum(v) AS sum FROM $name GROUP BY k',
			weir.tumble('10 seconds'));
		}, (map { view_sql($name, @$_) } [ 'staged', $name ], [ 'seen', "soak.${name}_copy" ]), 'RESET ROLE;';
}

# Makes a view of rows in the form of soak.expected.
sub view_sql
{
	my ($name, $view, $table) = @_;
	my $stream = $streams{$name};
	my $key = $stream->{text_key} ? q{convert_to(key, 'UTF8')} : $stream->{metadata} =~ /key/ ? '_key' : 'NULL::bytea';
	my $headers = $stream->{metadata} =~ /headers/ ? '_headers::text' : 'NULL::text';
	my $tombstone = $stream->{text_key} ? '_tombstone' : 'NULL::bool';

	return qq{
		CREATE VIEW soak.${name}_$view AS
		SELECT _partition AS partition, _offset AS kafka_offset, n, k, v, soak.ms(ts) AS ts, md5(note) AS note,
			_extra::text AS extra, encode($key, 'hex') AS key, $headers AS headers, soak.ms(_timestamp) AS kafka_timestamp,
			soak.ms(_watermark) AS watermark, $tombstone AS tombstone
		FROM $table;
		};
}

1;
