# upsert.sh: the drain with upserts over it, beside INSERT ... ON CONFLICT from psql.

# copied KEY: COPY of the five columns into an unlogged table; sets COPIED, in rows a second.
copied()
{
	local begin end
	sql -c 'DROP TABLE IF EXISTS copied' \
		-c 'CREATE UNLOGGED TABLE copied (event_id uuid, sensor_id int, temp float8, humidity float8, ts timestamptz)' >/dev/null 2>&1
	begin=$(date +%s%N)
	sql -c "COPY copied FROM '$CSV' (FORMAT csv)" >/dev/null
	end=$(date +%s%N)
	COPIED=$((MESSAGES * 1000000000 / (end - begin)))
}

# merged KEY: the same rows into a logged table with a key, 10,000 a statement, the newest of each by DISTINCT ON; sets MERGED.
merged()
{
	local begin end
	sql -c 'DROP TABLE IF EXISTS merged' \
		-c 'CREATE TABLE merged (key int PRIMARY KEY, temp float8, humidity float8, ts timestamptz)' >/dev/null 2>&1
	awk -F, -v rows="$MESSAGES" 'BEGIN { print "CREATE TEMP TABLE part (event_id uuid, sensor_id int, temp float8, humidity float8, ts timestamptz);" }
		NR % 10000 == 1 { print "COPY part FROM STDIN (FORMAT csv);" }
		{ print }
		NR % 10000 == 0 || NR == rows { print "\\."
			print "INSERT INTO merged SELECT DISTINCT ON (1) '"$1"', temp, humidity, ts FROM part ORDER BY 1, ts DESC ON CONFLICT (key) DO UPDATE SET temp = excluded.temp, humidity = excluded.humidity, ts = excluded.ts WHERE excluded.ts > merged.ts;"
			print "TRUNCATE part;" }' "$CSV" >"$WEIR_SANDBOX/log/merge.sql"
	begin=$(date +%s%N)
	sql -f "$WEIR_SANDBOX/log/merge.sql" >/dev/null
	end=$(date +%s%N)
	MERGED=$((MESSAGES * 1000000000 / (end - begin)))
}

# upsert KEY [OPTION]: prints the statement.
upsert()
{
	echo "SELECT weir.create_upsert('latest', \$\$ SELECT $1 AS key, temp, humidity, ts FROM drain \$\$, '{key}', order_by => 'ts'${2-})"
}

part_upsert()
{
	local pair copies=() few=() many=()
	local million='hashtext(event_id::text) & 1048575'
	for ((pair = 1; pair <= PAIRS; pair++)); do
		copied
		copies+=("$COPIED")
		merged sensor_id
		few+=("$MERGED")
		merged "$million"
		many+=("$MERGED")
	done
	row 'COPY csv, before the next' "$(median "${copies[@]}")" 1.00
	row '  INSERT ... ON CONFLICT by psql, by sensor' "$(median "${few[@]}")" "$(ratios few copies)" 'batches of 10,000 by COPY'
	row '  INSERT ... ON CONFLICT by psql, a million keys' "$(median "${many[@]}")" "$(ratios many copies)" 'the same'
	measure '  drain + upsert by sensor' copies "$(upsert sensor_id)"
	measure '  drain + upsert of a million keys at random' copies "$(upsert "$million")"
	row '    to INSERT ... ON CONFLICT' "$(median "${RATES[@]}")" "$(ratios RATES many)"
	measure '  the same with deletes remembered' copies "$(upsert "$million" ", delete_when => 'temp < -50'")"
}
