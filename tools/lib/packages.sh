# packages.sh: what the sandbox needs from the distribution.
#
# Needs are checked by what they provide, not by package name, so that any
# PostgreSQL that $PG_CONFIG points at will do.  What is missing is installed
# from Debian as root; others are told what to ask for.

MISSING=()

# need PACKAGE COMMAND…: the package is missing unless the command succeeds.
need()
{
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || MISSING+=("$package")
}

has_server()
{
	[ -x "$("$PG_CONFIG" --bindir)/initdb" ]
}

has_server_headers()
{
	[ -f "$("$PG_CONFIG" --pgxs)" ] && [ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ]
}

has_extension()
{
	[ -f "$("$PG_CONFIG" --sharedir)/extension/$1.control" ]
}

has_compiler()
{
	command -v cc && command -v make
}

# Fills MISSING with the packages that BROKER and the build need.
packages_check()
{
	MISSING=()
	need postgresql-15 has_server
	need postgresql-server-dev-15 has_server_headers
	need postgresql-15-cron has_extension pg_cron
	need postgresql-15-pgtap has_extension pgtap
	need build-essential has_compiler
	need pkg-config command -v pkg-config
	need librdkafka-dev pkg-config --exists rdkafka
	if [ "$BROKER" = kafka ]; then
		need openjdk-17-jre-headless command -v java
		[ -d "$KAFKA_JARS" ] || need maven command -v mvn
	fi
}

has_fuzzer()
{
	command -v clang-14 && [ -f "$(clang-14 --print-file-name=libclang_rt.fuzzer-x86_64.a)" ]
}

# The tests and people at the prompt want these; the sandbox runs without.
packages_check_comforts()
{
	need kcat command -v kcat
	need postgresql-15-tdigest has_extension tdigest
	need postgresql-15-hll has_extension hll
	need libipc-run-perl perl -MIPC::Run -e 1
	need libtap-parser-sourcehandler-pgtap-perl command -v pg_prove
	has_fuzzer >/dev/null || MISSING+=(clang-14 libclang-rt-14-dev)
}

# Debian's packages start the servers they bring; a sandbox wants none of that.
packages_install()
{
	local policy=/usr/sbin/policy-rc.d status=0
	say "installing ${MISSING[*]}"
	if [ -e "$policy" ]; then
		policy=
	else
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update -q && apt-get install -q -y --no-install-recommends "${MISSING[@]}"; } \
		>"$STATE/log/apt.log" 2>&1 9>&- || status=$?
	[ -z "$policy" ] || rm -f "$policy"
	[ "$status" -eq 0 ] || die "apt-get failed: see $STATE/log/apt.log"
}

packages_ensure()
{
	packages_check
	if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
		packages_check_comforts
		[ ${#MISSING[@]} -eq 0 ] || packages_install
		packages_check
	fi
	[ ${#MISSING[@]} -eq 0 ] ||
		die "missing: install ${MISSING[*]} (for $PG_CONFIG) and try again"
}
