# ten.sh: ten topics one after the other, and at once.

# Sets RATE, over all streams given.
drain_streams()
{
	local stream
	for stream; do
		create_stream "$stream" "$stream"
	done
	for stream; do
		sql -c "SELECT weir.start('$stream')" >/dev/null
	done
	for stream; do
		await_consumed "$stream" "$SHARE"
	done
	RATE=$(rate_of_commits "$@")
	for stream; do
		sql -c "SELECT weir.drop_stream('$stream')" >/dev/null
	done
}

part_ten()
{
	local i streams=() alone=() rates=()
	SHARE=$((MESSAGES / 10))
	for i in 0 1 2 3 4 5 6 7 8 9; do
		sandbox topic "ten$i" --partitions 1
		head -n "$SHARE" "$JSON" | sandbox produce "ten$i"
		streams+=("ten$i")
	done
	for i in "${streams[@]}"; do
		drain_streams "$i"
		alone+=("$RATE")
	done
	drain_streams "${streams[@]}"
	rates+=("$RATE")
	row 'ten topics, one after the other' "$(median "${alone[@]}")" 1.00 "$SHARE messages each"
	row 'ten topics at once, ten workers' "${rates[0]}" "$(ratio "${rates[0]}" "$(median "${alone[@]}")")" \
		"$(nproc) cores, Kafka on the same"
}
