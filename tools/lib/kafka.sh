# kafka.sh: a real Apache Kafka, one node in KRaft mode.
#
# The jars come from Maven into a cache that all sandboxes share; data and
# configuration live in $STATE/kafka and survive `broker kill`.

KAFKA_VERSION=$(sed -n '/<artifactId>kafka_2.13</,/<version>/s/.*<version>\(.*\)<.*/\1/p' \
	"$TOOLS/kafka/pom.xml")
KAFKA_JARS=$CACHE/kafka-$KAFKA_VERSION

# Fetches the jars once; the rename makes a half-filled cache impossible.
kafka_fetch()
{
	[ ! -d "$KAFKA_JARS" ] || return 0
	say "fetching Apache Kafka $KAFKA_VERSION"
	mkdir -p "$CACHE"
	(
		flock 8
		[ ! -d "$KAFKA_JARS" ] || exit 0
		rm -rf "$KAFKA_JARS.part"
		mvn -q -B -f "$TOOLS/kafka/pom.xml" dependency:copy-dependencies \
			-DincludeScope=runtime -DoutputDirectory="$KAFKA_JARS.part" >&2 &&
			mv "$KAFKA_JARS.part" "$KAFKA_JARS"
	) 8>"$CACHE/lock" || die "could not fetch Apache Kafka with Maven"
}

kafka_configure()
{
	local port controller
	port_pick; port=$PORT
	port_pick; controller=$PORT
	cat >"$STATE/kafka/server.properties" <<-END
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$controller
		listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
		advertised.listeners=PLAINTEXT://127.0.0.1:$port
		controller.listener.names=CONTROLLER
		log.dirs=$STATE/kafka/data
		auto.create.topics.enable=false
		# One node holds the only copy of everything.
		default.replication.factor=1
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		transaction.state.log.num.partitions=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		broker.heartbeat.interval.ms=500
		broker.session.timeout.ms=3000
		# What takes minutes in production should take moments here.
		group.initial.rebalance.delay.ms=0
		log.cleaner.backoff.ms=200
		log.retention.check.interval.ms=1000
		log.segment.delete.delay.ms=1000
		# Tests send large messages.
		message.max.bytes=16777216
		replica.fetch.max.bytes=16777216
		socket.request.max.bytes=134217728
	END
	echo "127.0.0.1:$port" >"$STATE/run/bootstrap"
}

# kafka_java CLASS ARGUMENT…: becomes that Java program.
kafka_java()
{
	exec java -Xms128m -Xmx1g -XX:+UseSerialGC -Xshare:auto \
		-Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
		-Dorg.slf4j.simpleLogger.showDateTime=true \
		-Dorg.slf4j.simpleLogger.dateTimeFormat="yyyy-MM-dd HH:mm:ss.SSS" \
		-cp "$KAFKA_JARS/*" "$@"
}

# A cluster id is 16 random bytes in URL-safe base64; it must not look like an
# option.
kafka_format()
{
	local id
	id=W$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)
	(kafka_java kafka.tools.StorageTool format -t "$id" \
		-c "$STATE/kafka/server.properties") >>"$STATE/log/kafka.log" 2>&1 </dev/null 9>&- ||
		die "could not format Kafka's storage: see $STATE/log/kafka.log"
}

# Starts the broker, formatting its storage the first time; does not wait.
kafka_launch()
{
	[ -z "$(process_pid kafka)" ] || return 0
	mkdir -p "$STATE/kafka"
	[ -f "$STATE/kafka/server.properties" ] || kafka_configure
	[ -f "$STATE/kafka/data/meta.properties" ] || kafka_format
	# exec in a subshell: the pid is Java's own.
	export -f kafka_java
	export KAFKA_JARS
	process_spawn kafka bash -c 'kafka_java kafka.Kafka "$1"' kafka "$STATE/kafka/server.properties"
}

kafka_answers()
{
	[ -n "$(process_pid kafka)" ] || die "Kafka ended: see $STATE/log/kafka.log"
	port_is_open "${1##*:}" && "$KAFKA_TOOL" -b "$1" ping 2>/dev/null
}

kafka_wait()
{
	local bootstrap
	bootstrap=$(<"$STATE/run/bootstrap")
	wait_until 60 "Kafka to answer" kafka_answers "$bootstrap"
}
