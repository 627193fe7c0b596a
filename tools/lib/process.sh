# process.sh: start, find and kill the processes of one sandbox.
#
# A pidfile in $STATE/run holds "pid starttime" (field 22 of /proc/PID/stat),
# so that a pid the kernel has given to somebody else since is never killed.
# PostgreSQL keeps a pidfile of its own; postgres.sh reads that one.

# Prints when a process was started, in clock ticks since boot; nothing if gone.
# The command name may hold blanks: fields are counted after its closing ")".
process_starttime()
{
	local stat fields
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	read -r -a fields <<<"${stat##*) }"
	# A zombie is as good as gone: only its parent can do anything about it.
	[ "${fields[0]}" = Z ] || echo "${fields[19]}"
}

process_is_gone()
{
	[ -z "$(process_starttime "$1")" ]
}

# Prints the pid of the process NAME of this sandbox, or nothing.
process_pid()
{
	local pid start
	{ read -r pid start <"$STATE/run/$1.pid"; } 2>/dev/null || return 0
	if [ -n "$start" ] && [ "$(process_starttime "$pid")" = "$start" ]; then
		echo "$pid"
	fi
}

# process_spawn NAME COMMAND…: runs it detached, its output in log/NAME.log.
# The lock's descriptor must not leak into it: it would hold the lock for ever.
process_spawn()
{
	local name=$1 pid
	shift
	setsid "$@" </dev/null >>"$STATE/log/$name.log" 2>&1 9>&- &
	pid=$!
	disown "$pid"
	echo "$pid $(process_starttime "$pid")" >"$STATE/run/$name.pid"
}

# Sends a signal to the process NAME; fails if there is none.
process_signal()
{
	local pid
	pid=$(process_pid "$2")
	[ -n "$pid" ] || die "the $2 process of this sandbox is not running"
	kill "-$1" "$pid"
}

# Kills the process NAME, if it runs, and returns when it is gone.
process_kill()
{
	local pid
	pid=$(process_pid "$1")
	if [ -n "$pid" ]; then
		kill -KILL "$pid" 2>/dev/null || true
		wait_until 10 "process $pid ($1) to end" process_is_gone "$pid"
	fi
	rm -f "$STATE/run/$1.pid"
}

# wait_until SECONDS WHAT COMMAND…: polls the command until it succeeds.
wait_until()
{
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ "$SECONDS" -le "$deadline" ] || die "waited in vain for $what"
		sleep 0.05
	done
}
