# letters.sh: the drain where one message in a hundred is a dead letter.

part_letters()
{
	local pair plain=() letters=()
	sandbox topic letters --partitions 1
	awk 'NR % 100 == 50 { sub(/"temp":/, "&\"warm\" ") } 1' "$JSON" | sandbox produce letters
	for ((pair = 1; pair <= PAIRS; pair++)); do
		drain_once drain "$MESSAGES" "$MESSAGES"
		plain+=("$RATE")
		drain_once letters "$MESSAGES" $((MESSAGES - (MESSAGES + 50) / 100))
		letters+=("$RATE")
	done
	row 'drain, before the next' "$(median "${plain[@]}")" 1.00
	row 'drain, 1 % of the messages are dead letters' "$(median "${letters[@]}")" \
		"$(ratios letters plain)" "$WAL WAL bytes a message"
}
