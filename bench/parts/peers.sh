# peers.sh: what others do with the same topic, beside COPY.

part_peers()
{
	local peer few=$((MESSAGES < 2000 ? MESSAGES : 2000)) some=$((MESSAGES < 300000 ? MESSAGES : 300000)) copy
	/usr/bin/python3 -c 'import psycopg2, confluent_kafka' 2>/dev/null ||
		die "modules of Python are missing: install python3-psycopg2 and python3-confluent-kafka"
	copy_once
	copy=$RATE
	row 'COPY csv, 5 columns, unlogged table' "$copy" 1.00
	peer=$("$BENCH/drop" "$BOOTSTRAP" drain "$MESSAGES")
	row 'librdkafka alone, C: drops every message' "$peer" "$(ratio "$peer" "$copy")"
	peer=$("$BENCH/peer.py" copy "$BOOTSTRAP" drain "$some")
	row 'Python: COPY in batches of 10,000' "$peer" "$(ratio "$peer" "$copy")" "logged table, $some messages"
	peer=$("$BENCH/peer.py" insert "$BOOTSTRAP" drain "$few")
	row 'Python: INSERT and commit for each message' "$peer" "$(ratio "$peer" "$copy")" "logged table, $few messages"
}
