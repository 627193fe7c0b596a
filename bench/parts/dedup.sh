# dedup.sh: the drain with duplicates told by event id, an empty memory and one of ten million ids.

DEDUP=", event_id => '{event_id}', dedup_ttl => '1 day'"

# measure_dedup LABEL BASE SQL...: as measure, of a stream with event_id.
measure_dedup()
{
	STREAM_OPTIONS=$DEDUP
	measure "$@"
	STREAM_OPTIONS=
}

# Prints a statement that fills a stream's memory with ten million ids: random bytes, which no message has.
ten_million_ids()
{
	cat <<-'SQL'
		DO $$
		BEGIN
			FOR i IN 1 .. 1000 LOOP
				EXECUTE format('INSERT INTO %s SELECT nextval(''weir_internal.dedup_block''), ''2026-01-06'', 10000,
					string_agg(uuid_send(gen_random_uuid()), '''') FROM generate_series(1, 10000)',
					(SELECT ids FROM weir_internal.stream WHERE stream = 'drain'::regclass));
				COMMIT;
			END LOOP;
		END
		$$
	SQL
}

# How long a new process takes to know ten million ids: it judges a thousand events.
restart_ms()
{
	STREAM_OPTIONS=$DEDUP create_stream drain drain
	sql -c "$(ten_million_ids)"
	sql <<-'END'
		SELECT array_agg(jsonb_build_object('event_id', gen_random_uuid(), 'ts', '2026-01-05T10:00:00Z')) AS events
		FROM generate_series(1, 1000) \gset
		BEGIN;
		SELECT clock_timestamp() AS t \gset
		SELECT FROM weir.ingest('drain', :'events'::jsonb[]) \g /dev/null
		SELECT round(extract(epoch FROM clock_timestamp() - :'t') * 1000);
		ROLLBACK;
		SELECT FROM weir.drop_stream('drain') \g /dev/null
	END
}

part_dedup()
{
	local pair copy=() plain=() empty=() ms=()
	local tumble
	tumble=$(create t 'SELECT sensor_id, avg(temp), max(temp), count(*) FROM drain GROUP BY sensor_id' "weir.tumble('1 minute')")
	for ((pair = 1; pair <= PAIRS; pair++)); do
		copy_once
		copy+=("$RATE")
		drain_once drain "$MESSAGES" "$MESSAGES"
		plain+=("$RATE")
	done
	row 'COPY csv, before the next' "$(median "${copy[@]}")" 1.00
	row 'drain, to that' "$(median "${plain[@]}")" "$(ratios plain copy)"
	measure_dedup '  + dedup by uuid, to COPY' copy
	empty=("${RATES[@]}")
	row '    the same to the drain' "$(median "${empty[@]}")" "$(ratios empty plain)" \
		"$(awk "BEGIN { printf \"%.2f\", 1e6 / $(median "${empty[@]}") - 1e6 / $(median "${plain[@]}") }") us an event more"
	measure_dedup '  + dedup and tumble by sensor, to COPY' copy "$tumble"
	measure_dedup '  + dedup with 10 million ids, to none' empty "$(ten_million_ids)"
	for ((pair = 1; pair <= PAIRS; pair++)); do
		ms+=("$(restart_ms)")
	done
	row '10 million ids known again after a restart, ms' "$(median "${ms[@]}")"
}
