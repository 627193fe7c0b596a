# What the demos share: how they speak, and the sandbox that each has for itself.
# shellcheck shell=bash disable=SC2034
# Sourced with DEMO and REPO set.

say()
{
	echo "demo: $*" >&2
}

die()
{
	say "$*"
	exit 1
}

# The lock must not leak into what the sandbox starts: it would outlive us.
sandbox()
{
	"$REPO/tools/sandbox" "$@" 8>&-
}

# Chooses the directory.  A sandbox that is there already is somebody's, unless
# the mark beside it says that a demo left it behind.
choose_sandbox()
{
	if [ "$(id -u)" -eq 0 ]; then
		WEIR_SANDBOX=${WEIR_SANDBOX:-/var/tmp/weir-demo}
	else
		WEIR_SANDBOX=${WEIR_SANDBOX:-${HOME:-/tmp}/.weir-demo}
	fi
	WEIR_SANDBOX=$(realpath -ms "$WEIR_SANDBOX")
	if [ -e "$WEIR_SANDBOX/run" ] && [ ! -e "$WEIR_SANDBOX.demo" ]; then
		say "$WEIR_SANDBOX is in use, taking $WEIR_SANDBOX-demo"
		WEIR_SANDBOX=$WEIR_SANDBOX-demo
	fi
	export WEIR_SANDBOX
	MARK=$WEIR_SANDBOX.demo
	mkdir -p "$(dirname "$MARK")"
	exec 8>>"$MARK"
	flock -n 8 || die "a demo is running already in $WEIR_SANDBOX: set WEIR_SANDBOX to run another"
}
