# postgres.sh: the extension's build, and a scratch cluster in $STATE/pg.
#
# PostgreSQL does not run as root: for root everything that belongs to the
# cluster runs as the user postgres, for anybody else as that user.

as_postgres()
{
	if [ "$(id -u)" -eq 0 ]; then
		# From a directory that postgres can be in, lest it complain.
		(cd / && exec runuser -u postgres -- "$@" 9>&-)
	else
		"$@" 9>&-
	fi
}

pg_bin()
{
	echo "$("$PG_CONFIG" --bindir)/$1"
}

# Runs psql against the sandbox as its superuser.
sandbox_psql()
{
	PGHOST=127.0.0.1 PGPORT=$(<"$STATE/run/pgport") PGUSER=postgres \
		PGDATABASE=${SANDBOX_DATABASE:-weir} "$(pg_bin psql)" "$@"
}

# The same for scripts: quiet, bare, and any error is one.
sql()
{
	sandbox_psql -X -q -A -t -v ON_ERROR_STOP=1 "$@" 9>&-
}

extension_is_installed()
{
	local libdir sharedir file
	libdir=$("$PG_CONFIG" --pkglibdir)
	sharedir=$("$PG_CONFIG" --sharedir)/extension
	cmp -s "$REPO/pg_weir.so" "$libdir/pg_weir.so" || return 1
	for file in "$REPO"/pg_weir.control "$REPO"/pg_weir--*.sql; do
		cmp -s "$file" "$sharedir/${file##*/}" || return 1
	done
}

build_all()
{
	make -C "$REPO" PG_CONFIG="$PG_CONFIG" &&
		make -C "$TOOLS/kafka" &&
		make -C "$TOOLS/mock"
}

# Builds everything and installs the extension where it differs; sandboxes that
# start at the same time take turns.
build()
{
	local log=$STATE/log/build.log
	(
		flock 8
		build_all >"$log" 2>&1 || die "the build failed: see $log"
		! extension_is_installed || exit 0
		say "installing pg_weir below $("$PG_CONFIG" --pkglibdir)"
		make -C "$REPO" PG_CONFIG="$PG_CONFIG" install >>"$log" 2>&1 ||
			die "make install failed (does it need root?): see $log"
	) 8<"$REPO/Makefile" 9>&-
}

cluster_settings()
{
	cat <<-END
		listen_addresses = '127.0.0.1'
		port = $1
		unix_socket_directories = '$STATE/run'
		shared_preload_libraries = 'pg_weir,pg_cron'
		cron.database_name = 'weir'
		cron.host = '127.0.0.1'
		max_worker_processes = 32
		wal_level = logical
		fsync = on
		log_line_prefix = '%m [%p] %b %q%u@%d '
		timezone = 'UTC'
		log_timezone = 'UTC'
	END
}

cluster_create()
{
	[ "$(id -u)" -ne 0 ] || chown postgres "$STATE/pg" "$STATE/run"
	as_postgres "$(pg_bin initdb)" -D "$STATE/pg" -N -E UTF8 --locale=C.UTF-8 \
		-U postgres -A trust >"$STATE/log/initdb.log" 2>&1 ||
		die "initdb failed: see $STATE/log/initdb.log"
	port_pick
	echo "$PORT" >"$STATE/run/pgport"
	cluster_settings "$PORT" | as_postgres tee -a "$STATE/pg/postgresql.conf" >/dev/null
}

# cluster_set NAME=VALUE…: adds settings at the end, where they win.
cluster_set()
{
	local setting
	for setting; do
		printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}" |
			as_postgres tee -a "$STATE/pg/postgresql.conf" >/dev/null
	done
}

# Prints the pid of the running postmaster, or nothing.  Its pidfile survives a
# kill -9: the process must also have the cluster as its working directory.
postmaster_pid()
{
	local pid
	{ read -r pid <"$STATE/pg/postmaster.pid"; } 2>/dev/null || return 0
	if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$STATE/pg" ] && ! process_is_gone "$pid"; then
		echo "$pid"
	fi
}

cluster_start()
{
	local log=$STATE/log/postgres.log
	as_postgres "$(pg_bin pg_ctl)" start -D "$STATE/pg" -l "$log" -w -t 60 -s \
		2>>"$STATE/log/pg_ctl.log" ||
		die "PostgreSQL did not start: see $log"
	wait_until 60 "PostgreSQL to accept connections" cluster_answers
}

cluster_answers()
{
	SANDBOX_DATABASE=template1 sql -c 'SELECT 1' >/dev/null 2>&1
}

# Prints the pids of the cluster's processes, whether or not the postmaster is
# among them.
cluster_processes()
{
	local proc
	for proc in /proc/[0-9]*; do
		if [ "$(readlink "$proc/cwd")" = "$STATE/pg" ] &&
			[[ $(readlink "$proc/exe") =~ /postgres( \(deleted\))?$ ]]; then
			echo "${proc#/proc/}"
		fi
	done 2>/dev/null
}

# Kills the whole cluster, or what is left of it, the way a power cut does.  The
# postmaster is stopped first, so that no child escapes the list, and dies
# first, so that it does not notice the others.
cluster_kill()
{
	local postmaster pids pid
	postmaster=$(postmaster_pid)
	if [ -n "$postmaster" ]; then
		kill -STOP "$postmaster"
		pids=$(cluster_processes)
		kill -KILL "$postmaster"
	else
		pids=$(cluster_processes)
	fi
	for pid in $pids; do
		kill -KILL "$pid" 2>/dev/null || true
	done
	for pid in $pids; do
		wait_until 10 "process $pid to end" process_is_gone "$pid"
	done
	postmaster_await_burial
}

# PostgreSQL takes a zombie of the old postmaster for a running one.  Where
# nobody collects zombies, its pidfile has to go: nothing of it is alive.
postmaster_await_burial()
{
	local pid try
	{ read -r pid <"$STATE/pg/postmaster.pid"; } 2>/dev/null || return 0
	for try in {1..60}; do
		[ -d "/proc/$pid" ] || return 0
		# Somebody else has the pid by now: PostgreSQL sees that as well.
		process_is_gone "$pid" || return 0
		sleep 0.05
	done
	rm -f "$STATE/pg/postmaster.pid"
}

# Stops the cluster for good, and removes the shared memory segment that a
# postmaster leaves when it is killed.
cluster_remove()
{
	local segment
	if [ -n "$(postmaster_pid)" ]; then
		as_postgres "$(pg_bin pg_ctl)" stop -D "$STATE/pg" -m immediate -w -t 5 -s \
			>/dev/null 2>&1 || true
	fi
	cluster_kill
	segment=$(awk 'NR == 7 { print $2 }' "$STATE/pg/postmaster.pid" 2>/dev/null || true)
	[ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null || true
	rm -rf "$STATE/pg"
}

cluster_ensure()
{
	[ -f "$STATE/pg/PG_VERSION" ] || cluster_create
	if [ -z "$(postmaster_pid)" ]; then
		cluster_kill
		cluster_set ${SETTINGS[@]+"${SETTINGS[@]}"}
		cluster_start
	fi
}

# Creates the database with the extensions, and the server that points at the
# broker; where they exist, the server is pointed at the broker's address.
database_ensure()
{
	local exists
	exists=$(SANDBOX_DATABASE=postgres sql -c "SELECT 1 FROM pg_database WHERE datname = 'weir'")
	[ -n "$exists" ] || SANDBOX_DATABASE=postgres sql -c 'CREATE DATABASE weir'
	sql >/dev/null <<-'END' || die "could not create the extensions"
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS pg_weir;
		CREATE EXTENSION IF NOT EXISTS pg_cron;
		CREATE EXTENSION IF NOT EXISTS pgtap;
	END
}

server_ensure()
{
	sql -v bootstrap="$1" <<-'END' || die "could not create the server kafka"
		SELECT count(*) > 0 AS server_exists FROM pg_foreign_server WHERE srvname = 'kafka' \gset
		\if :server_exists
			ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" :'bootstrap');
		\else
			CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka
				OPTIONS ("bootstrap.servers" :'bootstrap');
			GRANT USAGE ON FOREIGN SERVER kafka TO PUBLIC;
		\endif
	END
}
