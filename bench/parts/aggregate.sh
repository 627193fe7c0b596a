# aggregate.sh: the drain with continuous aggregates over it.

# aggregated_once SQL...: a drain with what these statements create; sets RATE, WAL and MEMORY.
aggregated_once()
{
	AGGREGATES=("$@")
	eval "$(declare -f create_stream | sed '1s/create_stream/create_plain_stream/')"
	create_stream()
	{
		local statement
		create_plain_stream "$@"
		for statement in "${AGGREGATES[@]}"; do
			sql -c "$statement" >/dev/null
		done
	}
	drain_once drain "$MESSAGES" "$MESSAGES"
	eval "$(declare -f create_plain_stream | sed '1s/create_plain_stream/create_stream/')"
}

# create NAME QUERY WINDOW: prints the statement.
create()
{
	echo "SELECT weir.create_continuous_aggregate('$1', \$\$ $2 \$\$, $3)"
}

# measure LABEL BASE SQL...: adds a row with the ratio to the rates in the array BASE; sets RATES.
measure()
{
	local label=$1 base=$2 pair before=("${RATES[@]}")
	[ "$base" != RATES ] || base=before
	shift 2
	RATES=()
	for ((pair = 1; pair <= PAIRS; pair++)); do
		aggregated_once "$@"
		RATES+=("$RATE")
	done
	row "$label" "$(median "${RATES[@]}")" "$(ratios RATES "$base")" "$WAL WAL bytes a message, $MEMORY MB"
}

# read_once SQL: the milliseconds of a read of one group of those of the aggregate t, which SQL creates; sets READ.
read_once()
{
	local i
	create_stream drain drain
	sql -c "$1" >/dev/null
	sql -c "SELECT weir.start('drain')" >/dev/null
	await_consumed drain "$MESSAGES"
	READ=$({
		echo 'SELECT clock_timestamp() AS t \gset'
		for i in {1..100}; do
			echo "SELECT FROM t WHERE bucket = $((i * 9973));"
		done
		echo "SELECT round(extract(epoch FROM clock_timestamp() - :'t') * 10, 2);"
	} | sql | tail -n 1)
	sql -c "SELECT weir.drop_stream('drain', cascade => true)" >/dev/null
}

part_aggregate()
{
	local pair i plain=() tumble=() ten=() million
	local by_sensor='SELECT sensor_id, avg(temp), max(temp), count(*) FROM drain GROUP BY sensor_id'
	for ((pair = 1; pair <= PAIRS; pair++)); do
		drain_once drain "$MESSAGES" "$MESSAGES"
		plain+=("$RATE")
	done
	row 'drain, before the next' "$(median "${plain[@]}")" 1.00
	measure '  + tumble of a minute by sensor' plain "$(create t "$by_sensor" "weir.tumble('1 minute')")"
	tumble=("${RATES[@]}")
	open_snapshot
	measure '  the same under an old snapshot, to that' tumble "$(create t "$by_sensor" "weir.tumble('1 minute')")"
	close_snapshot
	measure '  + tumble of 10 minutes by sensor' plain "$(create t "$by_sensor" "weir.tumble('10 minutes')")"
	measure '  + hop of 1 hour by 10 minutes by sensor, to that' RATES "$(create t "$by_sensor" "weir.hop('1 hour', '10 minutes')")"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		ten+=("$(create "t$i" "SELECT sensor_id % $((i * 10)) AS part, avg(temp), min(humidity), stddev(temp) FROM drain GROUP BY 1" \
			"weir.tumble('$i minutes')")")
	done
	measure '  + ten aggregates, to one' tumble "${ten[@]}"
	million=$(create t "SELECT hashtext(event_id::text) & 1048575 AS bucket, count(*), sum(temp) FROM drain GROUP BY 1" NULL)
	measure '  + a million groups at random' plain "$million"
	read_once "$million"
	say "one of a million groups is read in $READ ms"
	TABLE+=("$(printf '%-50s %10s' '  one of these groups read, ms' "$READ")")
	measure '  + sessions of 100,000 users' plain \
		"$(create t "SELECT hashtext(event_id::text) % 50000 AS person, count(*), max(temp) FROM drain GROUP BY 1" \
			"weir.session('1 minute')")"
}
