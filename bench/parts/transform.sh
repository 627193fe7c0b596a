# transform.sh: the drain with a transform over it.

part_transform()
{
	local pair copy=() RATES=()
	local lookup="CREATE TABLE IF NOT EXISTS places AS SELECT i AS sensor_id, 'place ' || i AS place FROM generate_series(0, 9999) i"
	local transform="SELECT weir.create_transform('enriched', \$\$
		SELECT d.event_id, d.sensor_id, p.place, d.temp * 9 / 5 + 32 AS temp_f, d.ts FROM drain d JOIN places p USING (sensor_id) \$\$)"
	for ((pair = 1; pair <= PAIRS; pair++)); do
		copy_once
		copy+=("$RATE")
	done
	row 'COPY csv, before the next' "$(median "${copy[@]}")" 1.00
	measure '  drain' copy 'SELECT 1'
	measure '  + transform with a join of 10,000 rows' copy "$lookup" "$transform"
	measure '  + an aggregate over that' RATES "$lookup" "$transform" \
		"$(create per_place 'SELECT place, avg(temp_f) FROM enriched GROUP BY place' "weir.tumble('1 minute')")"
	sql -c 'DROP TABLE places'
}
