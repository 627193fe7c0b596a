# latency.sh: how long it takes a message to be seen, at an even rate.

WARM_UP_SECONDS=5

part_latency()
{
	local seen
	sandbox topic latency --partitions 1
	sql >/dev/null <<-'END'
		SELECT weir.create_stream('latency', columns => 'id bigint, sent bigint, note text',
		    server => 'kafka', topic => 'latency');
		SELECT weir.start('latency');
		SELECT weir.wait('latency', '30 s');
	END
	# a broker that has just been started is slow at first
	"$BENCH/pace" "$BOOTSTRAP" latency 10000 "$WARM_UP_SECONDS"
	"$BENCH/pace" "$BOOTSTRAP" latency 10000 "$LATENCY_SECONDS"
	await_consumed latency $((10000 * (WARM_UP_SECONDS + LATENCY_SECONDS)))
	seen=$(sql <<-END
		WITH l AS (
		    SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - sent / 1000.0 AS ms
		    FROM latency WHERE _offset >= 10000 * $WARM_UP_SECONDS
		)
		SELECT format('p50 %s ms, p99 %s ms, p99.9 %s ms, worst %s ms',
		    round(p[1], 1), round(p[2], 1), round(p[3], 1), round(p[4], 1))
		FROM (SELECT percentile_disc(array[0.5, 0.99, 0.999, 1]) WITHIN GROUP (ORDER BY ms) AS p FROM l) q
	END
	)
	row 'produce -> visible, at an even rate' 10000 '' "$seen"
	row '    batches a second' "$(sql -c "SELECT count(DISTINCT xmin::text) / $LATENCY_SECONDS FROM latency WHERE _offset >= 10000 * $WARM_UP_SECONDS")"
	sql -c "SELECT weir.drop_stream('latency')" >/dev/null
}
