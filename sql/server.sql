-- The connection to Kafka: servers, user mappings, weir.test_server.

-- Options are librdkafka's property names.
CREATE SERVER kafka FOREIGN DATA WRAPPER weir_kafka
    OPTIONS ("bootstrap.servers" 'broker1:9092, broker2:9092,[::1]:9092', "client.id" 'me', "fetch.wait.max.ms" '100');
ALTER SERVER kafka OPTIONS (ADD "security.protocol" 'sasl_ssl', ADD "sasl.mechanism" 'SCRAM-SHA-512');
CREATE USER MAPPING FOR PUBLIC SERVER kafka
    OPTIONS ("sasl.username" 'app', "sasl.password" 'se
cret');

-- What is missing
CREATE SERVER k FOREIGN DATA WRAPPER weir_kafka;
ALTER SERVER kafka OPTIONS (DROP "bootstrap.servers");
ALTER SERVER kafka OPTIONS (DROP "sasl.mechanism");

-- Names that are not there, with the nearest that is
CREATE SERVER k FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.server" 'a:9092');
CREATE SERVER k FOREIGN DATA WRAPPER weir_kafka OPTIONS ("security.protokol" 'ssl');
CREATE SERVER k FOREIGN DATA WRAPPER weir_kafka OPTIONS (colour 'green');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS (colour 'green');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS ("sasl.user" 'app');
ALTER FOREIGN DATA WRAPPER weir_kafka OPTIONS (ADD "client.id" 'me');

-- Names that stay shut, with the reason
DO $$
DECLARE
    name text;
    hint text;
BEGIN
    FOREACH name IN ARRAY '{group.id, enable.auto.commit, auto.offset.reset, isolation.level,
        offset.store.method, check.crcs, debug, log_level, log.queue, statistics.interval.ms,
        plugin.library.paths, interceptors, sasl.kerberos.kinit.cmd, sasl.kerberos.keytab,
        sasl.oauthbearer.token.endpoint.url, enable.sasl.oauthbearer.unsecure.jwt,
        ssl.engine.location, ssl.providers, https.ca.location, test.mock.num.brokers,
        enable.ssl.certificate.verification, ssl.endpoint.identification.algorithm,
        ssl.cipher.suites, receive.message.max.bytes, allow.auto.create.topics}'::text[]
    LOOP
        BEGIN
            EXECUTE format('ALTER SERVER kafka OPTIONS (ADD %I %L)', name, '1');
            RAISE WARNING '% was taken', name;
        EXCEPTION WHEN fdw_invalid_option_name THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            RAISE NOTICE '%: %', SQLERRM, hint;
        END;
    END LOOP;
END $$;

-- Nothing else can be set either: of these only client.rack.
CREATE FUNCTION taken(name text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE SERVER scratch FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" %L, %I %L)',
                   'a:9092', name, value);
    DROP SERVER scratch;
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END $$;
SELECT name FROM unnest('{client.rack, ssl.engine.id, sasl.kerberos.principal, sasl.oauthbearer.method,
    opaque, error_cb, default_topic_conf, internal.termination.signal, topic.blacklist, transactional.id,
    enable.metrics.push, ssl.ca.certificate.stores, ssl_key, enable.sparse.connections}'::text[]) AS name
WHERE taken(name, '1');

-- Two names of one option
ALTER SERVER kafka OPTIONS (ADD "sasl.mechanisms" 'PLAIN');
CREATE SERVER k FOREIGN DATA WRAPPER weir_kafka
    OPTIONS ("bootstrap.servers" 'a:9092', "metadata.broker.list" 'b:9092');
CREATE SERVER k FOREIGN DATA WRAPPER weir_kafka OPTIONS ("metadata.broker.list" 'b:9092');
DROP SERVER k;

-- Values
ALTER SERVER kafka OPTIONS (ADD "socket.timeout.ms" 'abc');
ALTER SERVER kafka OPTIONS (ADD "socket.timeout.ms" '5');
ALTER SERVER kafka OPTIONS (ADD "socket.timeout.ms" '0x2000');
ALTER SERVER kafka OPTIONS (ADD "queued.max.messages.kbytes" '2000000');
ALTER SERVER kafka OPTIONS (ADD "socket.keepalive.enable" 'perhaps');
ALTER SERVER kafka OPTIONS (SET "security.protocol" 'carrier pigeon');
ALTER SERVER kafka OPTIONS (SET "sasl.mechanism" 'GSSAPI');
ALTER SERVER kafka OPTIONS (SET "sasl.mechanism" 'OAUTHBEARER');
ALTER SERVER kafka OPTIONS (SET "client.id" E'two\nlines');
ALTER SERVER kafka OPTIONS (SET "client.id" '');
ALTER SERVER kafka OPTIONS (ADD "reconnect.backoff.ms" '20000');
CREATE FUNCTION brokers_taken(servers text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE SERVER scratch FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" %L)', servers);
    DROP SERVER scratch;
    RETURN true;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;
SELECT servers, brokers_taken(servers) FROM unnest(ARRAY['a', 'a:1', 'a:0', 'a:65536', 'a:', ':1', 'a:1,', ',a:1', 'a:1 b:2', 'a:1;b:2',
    'ssl://a:1', '[::1]', '[::1]:1', '[::1', '[]:1', E'a:1\n', '$(id):1', '', ' ', 'a:1, b:2']) AS servers;

-- Secrets go to user mappings, the rest to servers.
ALTER SERVER kafka OPTIONS (ADD "sasl.password" 'secret');
ALTER SERVER kafka OPTIONS (ADD "ssl.key.pem" 'secret');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS ("bootstrap.servers" 'a:9092');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka OPTIONS ("security.protocol" 'plaintext');

-- Files are for superusers and pg_read_server_files.
CREATE ROLE regress_weir_user;
GRANT USAGE ON SCHEMA weir TO regress_weir_user;
CREATE SERVER local FOREIGN DATA WRAPPER weir_kafka
    OPTIONS ("bootstrap.servers" '127.0.0.1:1', "ssl.ca.location" '/etc/ssl/certs/ca.pem');
ALTER SERVER local OPTIONS (DROP "ssl.ca.location");
GRANT USAGE ON FOREIGN DATA WRAPPER weir_kafka TO regress_weir_user;
SET ROLE regress_weir_user;
CREATE SERVER own FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
ALTER SERVER own OPTIONS (ADD "ssl.ca.location" '/etc/ssl/certs/ca.pem');
CREATE USER MAPPING FOR CURRENT_USER SERVER own OPTIONS ("ssl.key.location" '/etc/ssl/private/key.pem');
ALTER SERVER own OPTIONS (ADD "ssl.ca.pem" 'a certificate');
RESET ROLE;
GRANT pg_read_server_files TO regress_weir_user;
SET ROLE regress_weir_user;
CREATE USER MAPPING FOR CURRENT_USER SERVER own OPTIONS ("ssl.key.location" '/etc/ssl/private/key.pem');
DROP SERVER own CASCADE;

-- weir.test_server needs USAGE, and a server of ours.
SELECT * FROM weir.test_server('local');
RESET ROLE;
SELECT * FROM weir.test_server(NULL);
SELECT * FROM weir.test_server('nowhere');
CREATE FOREIGN DATA WRAPPER regress_weir_other;
CREATE SERVER other FOREIGN DATA WRAPPER regress_weir_other;
SELECT * FROM weir.test_server('other');
DROP FOREIGN DATA WRAPPER regress_weir_other CASCADE;

-- Trouble with the network is a row.
GRANT USAGE ON FOREIGN SERVER local TO regress_weir_user;
SET ROLE regress_weir_user;
SELECT * FROM weir.test_server('local');
RESET ROLE;

-- Trouble with options that only librdkafka as a whole can see is a row too, and tells no secret.
ALTER SERVER local OPTIONS (ADD "security.protocol" 'sasl_plaintext', ADD "sasl.mechanism" 'PLAIN');
SELECT * FROM weir.test_server('local');
ALTER SERVER local OPTIONS (SET "security.protocol" 'ssl', DROP "sasl.mechanism");
CREATE USER MAPPING FOR CURRENT_USER SERVER local OPTIONS ("ssl.key.pem" 'not a key but secret');
SELECT test, ok, detail ~ 'ssl.key.pem' AS named, detail ~ 'secret' AS told FROM weir.test_server('local');

-- The mapping taken is the user's own, else PUBLIC's.
ALTER SERVER local OPTIONS (SET "security.protocol" 'sasl_plaintext', ADD "sasl.mechanism" 'PLAIN');
SET ROLE regress_weir_user;
SELECT test, ok FROM weir.test_server('local');
RESET ROLE;
CREATE USER MAPPING FOR PUBLIC SERVER local OPTIONS ("sasl.username" 'app', "sasl.password" 'secret');
SET ROLE regress_weir_user;
SELECT test, ok FROM weir.test_server('local');
RESET ROLE;

DROP SERVER local CASCADE;
DROP SERVER kafka CASCADE;
DROP FUNCTION taken(text, text);
DROP FUNCTION brokers_taken(text);
REVOKE USAGE ON SCHEMA weir FROM regress_weir_user;
REVOKE USAGE ON FOREIGN DATA WRAPPER weir_kafka FROM regress_weir_user;
DROP ROLE regress_weir_user;
