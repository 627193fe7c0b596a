# mock.sh: librdkafka's mock cluster as a process of its own.
#
# It forgets everything when it ends, and comes back on other ports.

MOCK_TOOL=$TOOLS/mock/weir-mock
MOCK_BROKERS=3

# mock_send COMMAND…: see the head of mock/weir-mock.c.
mock_send()
{
	"$MOCK_TOOL" send "$STATE/run/mock.sock" "$@"
}

mock_answers()
{
	[ -n "$(process_pid mock)" ] || die "the mock cluster ended: see $STATE/log/mock.log"
	mock_send bootstrap >/dev/null 2>&1
}

mock_launch()
{
	if [ -z "$(process_pid mock)" ]; then
		process_spawn mock "$MOCK_TOOL" serve "$STATE/run/mock.sock" "$MOCK_BROKERS"
	fi
	wait_until 10 "the mock cluster to answer" mock_answers
	mock_send bootstrap >"$STATE/run/bootstrap"
}
