# idle.sh: what streams cost to which nothing comes.

IDLE_STREAMS=100

# Prints the CPU time of all stream workers, in nanoseconds.
worker_time()
{
	local pid
	for pid in $(sql -c "SELECT pid FROM weir.status WHERE pid IS NOT NULL"); do
		cat "/proc/$pid"/task/*/schedstat
	done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

part_idle()
{
	local i before after
	for ((i = 1; i <= IDLE_STREAMS; i++)); do
		sandbox topic "idle$i" --partitions 1
	done
	sql >/dev/null <<-END
		DO \$\$ BEGIN FOR i IN 1 .. $IDLE_STREAMS LOOP
		    PERFORM weir.create_stream('idle' || i, columns => 'id int', server => 'kafka', topic => 'idle' || i);
		END LOOP; END \$\$;
		DO \$\$ BEGIN FOR i IN 1 .. $IDLE_STREAMS LOOP PERFORM weir.start('idle' || i); END LOOP; END \$\$;
	END
	# they sleep soundly after a minute
	say "waiting for $IDLE_STREAMS streams to calm down"
	sleep 75
	before=$(worker_time)
	sleep "$IDLE_SECONDS"
	after=$(worker_time)
	row "$IDLE_STREAMS idle streams" '' '' "$(awk "BEGIN { printf \"%.2f\", ($after - $before) / 1e7 / $IDLE_SECONDS }") % of a core"
	sql >/dev/null <<-END
		SET client_min_messages = warning;
		SELECT weir.drop_stream(('idle' || i)::regclass) FROM generate_series(1, $IDLE_STREAMS) i;
	END
}
