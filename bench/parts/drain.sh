# drain.sh: how fast one worker drains a topic, beside COPY of the same rows.

# copy_once: sets RATE.
copy_once()
{
	local ms
	ms=$(sql -v csv="$CSV" <<-'END'
		CHECKPOINT;
		CREATE UNLOGGED TABLE copied (event_id uuid, sensor_id int, temp float8, humidity float8, ts timestamptz);
		SELECT clock_timestamp() AS t \gset
		COPY copied FROM :'csv' (FORMAT csv);
		SELECT round(extract(epoch FROM clock_timestamp() - :'t') * 1000);
		DROP TABLE copied;
	END
	)
	RATE=$((MESSAGES * 1000 / ms))
}

# create_stream NAME TOPIC: five columns, one worker, the default settings, and STREAM_OPTIONS.
create_stream()
{
	sql >/dev/null <<-END
		SELECT weir.create_stream('$1',
		    columns => 'event_id uuid, sensor_id int, temp float8, humidity float8, ts timestamptz',
		    server => 'kafka', topic => '$2', event_time => 'ts', max_out_of_orderness => '5 seconds'${STREAM_OPTIONS:-});
	END
}

# await_consumed STREAM COUNT
await_consumed()
{
	local deadline=$((SECONDS + 600))
	until [ "$(sql -c "SELECT coalesce(sum(consumed), 0) >= $2 FROM weir.stream_stats WHERE stream = '$1'")" = t ]; do
		[ "$SECONDS" -lt "$deadline" ] || die "reading topic \"$1\" takes longer than 10 minutes"
		sleep 0.5
	done
}

worker_pid()
{
	sql -c "SELECT pid FROM weir.status WHERE stream = '$1'"
}

# Prints a process's greatest memory in MB, without what it shares.
memory_of()
{
	awk '/^VmHWM/ { hwm = $2 } /^RssShmem/ { shared = $2 } END { printf "%d", (hwm - shared) / 1024 }' "/proc/$1/status"
}

# Prints the rate of the commits that filled these tables, without the first one's rows.
rate_of_commits()
{
	local table union=
	for table; do
		union+="${union:+ UNION ALL }SELECT xmin AS xid, count(*) AS n FROM $table GROUP BY xmin"
	done
	sql <<-END
		WITH commits AS (SELECT pg_xact_commit_timestamp(xid) AS at, n FROM ($union) x)
		SELECT round((sum(n) - (SELECT n FROM commits ORDER BY at LIMIT 1)) /
		             greatest(extract(epoch FROM max(at) - min(at)), 0.001))
		FROM commits
	END
}

# drain_once TOPIC COUNT STAGED [HOOK]: sets RATE, WAL (bytes a message) and MEMORY (MB).
drain_once()
{
	local lsn
	sql -c CHECKPOINT
	create_stream drain "$1"
	lsn=$(sql -c "SELECT pg_current_wal_insert_lsn()")
	sql -c "SELECT weir.start('drain')" >/dev/null
	[ -z "${4:-}" ] || "$4"
	await_consumed drain "$2"
	MEMORY=$(memory_of "$(worker_pid drain)")
	WAL=$(sql -c "SELECT round((pg_current_wal_insert_lsn() - '$lsn') / $2, 2)")
	[ "$(sql -c "SELECT bool_and(balanced) AND sum(staged) = $3 FROM weir.audit('drain')")" = t ] ||
		die "topic \"$1\" did not become $3 rows"
	RATE=$(rate_of_commits drain)
	sql -c "SELECT weir.drop_stream('drain', cascade => true)" >/dev/null
}

# Measures pairs, each in the other order than the one before.
part_drain()
{
	local pair copy=() drain=()
	for ((pair = 1; pair <= PAIRS; pair++)); do
		((pair % 2)) || { drain_once drain "$MESSAGES" "$MESSAGES"; drain+=("$RATE"); }
		copy_once
		copy+=("$RATE")
		! ((pair % 2)) || { drain_once drain "$MESSAGES" "$MESSAGES"; drain+=("$RATE"); }
	done
	row 'COPY csv, 5 columns, unlogged table' "$(median "${copy[@]}")" 1.00
	row 'drain: Kafka -> staging, one worker' "$(median "${drain[@]}")" \
		"$(ratios drain copy)" "$WAL WAL bytes a message, $MEMORY MB"
}

# Watches the worker of a drain from the moment it exists, while it computes.
record_profile()
{
	local pid=
	until [ -n "$pid" ]; do
		pid=$(worker_pid drain)
	done
	perf record -q -F 2999 -p "$pid" -o "$WEIR_SANDBOX/log/perf.data" -- sleep 3 >&2
}

# perf_report SORT-KEYS PERCENT-LIMIT: prints one report over the recording.
perf_report()
{
	perf report -i "$WEIR_SANDBOX/log/perf.data" --stdio --sort "$1" --percent-limit "$2" 2>/dev/null |
		grep -v -e '^$' -e '^#' | sed 's, *-  *- *$,,'
}

# One more drain, under perf.
profile()
{
	drain_once drain "$MESSAGES" "$MESSAGES" record_profile
	{
		machine
		echo
		perf_report comm,dso 1
		echo
		perf_report comm,dso,symbol 0.8
	} >"$PROFILE"
}
