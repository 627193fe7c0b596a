# A reader that looks at one snapshot after the other while everything happens:
# what holds at every commit.

package Soak::Watch;

use strict;
use warnings;

use Soak::Streams;

# A procedure that looks until it finds something wrong, or its session ends.
sub create_sql
{
	my $checks = join '', map { check_sql($_) } @Soak::Streams::names;

	return qq{
		CREATE PROCEDURE soak.watch() LANGUAGE plpgsql AS \$watch\$
		DECLARE
			wrong text;
			before jsonb := '{}';
			after jsonb;
		BEGIN
			LOOP
				after := (SELECT jsonb_object_agg(format('%s/%s, begun anew %s times', stream, partition,
							(SELECT count(*) FROM soak.began b WHERE b.stream = s.stream)),
						jsonb_build_array(applied_offset, CASE WHEN isfinite(watermark) THEN soak.ms(watermark) ELSE -1 END))
					FROM weir.stream_stats s WHERE partition >= 0);
				wrong := (SELECT min(format('%s goes back from %s to %s', key, b.value, after -> key)) FROM jsonb_each(before) b
					WHERE (b.value ->> 0)::bigint > (after -> key ->> 0)::bigint
						OR (b.value ->> 1)::bigint > (after -> key ->> 1)::bigint);
				IF wrong IS NOT NULL THEN RAISE EXCEPTION 'invariant: %', wrong; END IF;
				before := coalesce(after, '{}');
				$checks
				COMMIT;
				PERFORM pg_sleep(random() * 0.3);
			END LOOP;
		END \$watch\$;
	};
}

# What must hold for one stream in one snapshot.
sub check_sql
{
	my ($name) = @_;

	return qq{
				SELECT min(a::text) INTO wrong FROM weir.audit('$name') a WHERE NOT balanced;
				IF wrong IS NOT NULL THEN RAISE EXCEPTION 'invariant: $name is not balanced: %', wrong; END IF;
				SELECT min(format('%s, %s', s, p)) INTO wrong FROM (SELECT * FROM weir_internal.stream_partition WHERE stream = '$name'::regclass) s
					FULL JOIN soak.${name}_part p USING (partition)
					WHERE coalesce(s.staged + s.replayed, 0) <> coalesce(p.count, 0) OR p.last_offset >= s.applied_offset;
				IF wrong IS NOT NULL THEN RAISE EXCEPTION 'invariant: $name: offsets and results differ: %', wrong; END IF;
				IF (SELECT sum(count) FROM soak.${name}_sum) <> (SELECT sum(count) FROM soak.${name}_part) THEN
					RAISE EXCEPTION 'invariant: $name: results differ from each other';
				END IF;
				IF random() < 0.2 THEN
					SELECT min(format('%s/%s', _partition, _offset)) INTO wrong
						FROM (SELECT _partition, _offset FROM $name GROUP BY 1, 2 HAVING count(*) > 1) d;
					IF wrong IS NOT NULL THEN RAISE EXCEPTION 'invariant: $name: % is staged twice', wrong; END IF;
				END IF;
	};
}

# What must hold in a copy of the database: a query that returns what is wrong.
sub copy_sql
{
	my $results = join ' UNION ALL ', map { qq{
		SELECT format('$_: offsets and results differ: %s, %s', s, p)
		FROM (SELECT * FROM weir_internal.stream_partition WHERE stream = '$_'::regclass) s
		FULL JOIN soak.${_}_part p USING (partition)
		WHERE coalesce(s.staged + s.replayed, 0) <> coalesce(p.count, 0) OR p.last_offset >= s.applied_offset} } @Soak::Streams::names;

	return qq{
		SELECT string_agg(wrong, '; ')
		FROM (SELECT format('%s is %s', stream, state) AS wrong FROM weir.status WHERE state NOT IN ('stopped', 'failed')
			UNION ALL $results) w};
}

# Starts a watch, in place of one that was ended by a fault.
sub start
{
	my ($server) = @_;

	return $server->fork('watch', sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ $server->psql, '-c', q{SET default_transaction_isolation = 'repeatable read'}, '-c', 'CALL soak.watch()' ],
			\'', \$out, \$err) and return;
		if ($err =~ /invariant:/)
		{
			open my $handle, '>>', "$server->{directory}/log/violations" or die $!;
			print $handle $err;
			close $handle;
		}
		die $err;
	});
}

# Returns what watches have found.
sub violations
{
	my ($server) = @_;

	open my $handle, '<', "$server->{directory}/log/violations" or return ();
	return grep { /invariant:/ } <$handle>;
}

1;
