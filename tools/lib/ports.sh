# ports.sh: TCP ports that no other sandbox will take.
#
# A port is claimed by creating a file of its number, which only one process
# can do; the file names the sandbox.  The range lies below the one from which
# kernels pick ports of outgoing connections.

PORT_CLAIMS=/tmp/.weir-sandbox-ports

port_is_open()
{
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A claim is stale when its sandbox is gone or does not know the port.
port_claim_is_stale()
{
	local owner
	read -r owner <"$PORT_CLAIMS/$1" || return 1
	! grep -qsx "$1" "$owner/run/ports"
}

port_claim()
{
	(set -o noclobber; echo "$STATE" >"$PORT_CLAIMS/$1") 2>/dev/null
}

# Sets PORT to a free port and records it as this sandbox's.  The port is
# written to run/ports first: a claim that run/ports lacks would look stale.
port_pick()
{
	local try
	if [ ! -d "$PORT_CLAIMS" ]; then
		mkdir -m 1777 "$PORT_CLAIMS" 2>/dev/null || true
	fi
	for try in {1..500}; do
		PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 10000))
		if [ -e "$PORT_CLAIMS/$PORT" ] && port_claim_is_stale "$PORT"; then
			rm -f "$PORT_CLAIMS/$PORT" 2>/dev/null || true
		fi
		[ ! -e "$PORT_CLAIMS/$PORT" ] || continue
		echo "$PORT" >>"$STATE/run/ports"
		if port_claim "$PORT" && ! port_is_open "$PORT"; then
			return
		fi
	done
	die "no free port found after $try attempts"
}

ports_release()
{
	local port owner
	[ -f "$STATE/run/ports" ] || return 0
	while read -r port; do
		owner=$(cat "$PORT_CLAIMS/$port" 2>/dev/null || true)
		[ "$owner" != "$STATE" ] || rm -f "$PORT_CLAIMS/$port"
	done <"$STATE/run/ports"
}
