# expect.sh: the drain with expectations of its events.

# expect NAME EXPRESSION [ON_VIOLATION]: prints the statement.
expect()
{
	echo "SELECT weir.expect('drain', '$1', \$\$ $2 \$\$, '${3:-dead_letter}')"
}

part_expect()
{
	local pair plain=() compared=() evaluated=()
	local comparisons=(
		"$(expect sane_temp 'temp BETWEEN -80 AND 150')"
		"$(expect sane_humidity 'humidity BETWEEN 0 AND 100' keep)"
		"$(expect has_id 'event_id IS NOT NULL')"
		"$(expect known 'sensor_id >= 0 AND sensor_id < 1000000' drop)"
		"$(expect not_old "ts > '2000-01-01Z'" stop)")
	local expressions=(
		"$(expect sane_temp 'abs(temp - 35) <= 115')"
		"$(expect sane_humidity 'humidity / 100 <= 1' keep)"
		"$(expect has_id "event_id <> '00000000-0000-0000-0000-000000000000'")"
		"$(expect known 'sensor_id % 1000000 = sensor_id' drop)"
		"$(expect not_old "ts > '2000-01-01Z' OR temp IS NULL" stop)")
	for ((pair = 1; pair <= PAIRS; pair++)); do
		drain_once drain "$MESSAGES" "$MESSAGES"
		plain+=("$RATE")
		aggregated_once "${comparisons[@]}"
		compared+=("$RATE")
		aggregated_once "${expressions[@]}"
		evaluated+=("$RATE")
	done
	row 'drain, before the next' "$(median "${plain[@]}")" 1.00
	row '  + five expectations, comparisons' "$(median "${compared[@]}")" "$(ratios compared plain)"
	row '  + five expectations, expressions' "$(median "${evaluated[@]}")" "$(ratios evaluated plain)"
}
