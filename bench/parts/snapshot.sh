# snapshot.sh: rates while somebody has had a transaction open for long.

# Opens a transaction that keeps all versions of rows; close_snapshot ends it.
open_snapshot()
{
	exec 7> >(sandbox psql -X -q -A -t >"$WEIR_SANDBOX/log/snapshot.out")
	SNAPSHOT=$!
	echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM weir.status LIMIT 1; SELECT 1;' >&7
	until [ -s "$WEIR_SANDBOX/log/snapshot.out" ]; do
		sleep 0.1
	done
}

close_snapshot()
{
	exec 7>&-
	wait "$SNAPSHOT"
}

# Sets RATE: batches of one message a second, each in a transaction of its own, as a worker commits them.
small_batches()
{
	local ms
	ms=$(sql <<-END
		SET synchronous_commit = off;
		SELECT clock_timestamp() AS t \gset
		DO \$\$ BEGIN FOR i IN 1 .. $BATCHES LOOP
		    PERFORM weir.ingest('ticks', '{"id": 1}'); COMMIT;
		END LOOP; END \$\$;
		SELECT round(extract(epoch FROM clock_timestamp() - :'t') * 1000);
	END
	)
	RATE=$((BATCHES * 1000 / ms))
}

part_snapshot()
{
	local pair plain=() under=() few=() many=()
	BATCHES=${BATCHES:-30000}
	sql -c "SELECT weir.create_stream('ticks', columns => 'id int')" >/dev/null
	for ((pair = 1; pair <= PAIRS; pair++)); do
		drain_once drain "$MESSAGES" "$MESSAGES"
		plain+=("$RATE")
		small_batches
		few+=("$RATE")
		open_snapshot
		drain_once drain "$MESSAGES" "$MESSAGES"
		under+=("$RATE")
		small_batches
		many+=("$RATE")
		close_snapshot
		sql -c 'VACUUM weir_internal.stream_partition'
	done
	row 'drain, before the next' "$(median "${plain[@]}")" 1.00
	row 'drain, under an old snapshot' "$(median "${under[@]}")" "$(ratios under plain)"
	row 'batches of one message (weir.ingest)' "$(median "${few[@]}")" 1.00
	row "the same, $BATCHES of them under an old snapshot" "$(median "${many[@]}")" "$(ratios many few)"
}
