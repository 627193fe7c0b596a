-- The connection to Kafka: a foreign server of this wrapper says where the
-- brokers are, its user mappings say who we are.  There is no handler: topics
-- are read by streams, not as foreign tables.

CREATE FUNCTION weir.weir_kafka_validator(options text[], catalog oid) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'weir_kafka_validator';
COMMENT ON FUNCTION weir.weir_kafka_validator(text[], oid) IS
    'checks the options of Kafka servers and their user mappings when they are written';

-- Who may create servers is the administrator's to say:
-- GRANT USAGE ON FOREIGN DATA WRAPPER weir_kafka TO ...
CREATE FOREIGN DATA WRAPPER weir_kafka NO HANDLER VALIDATOR weir.weir_kafka_validator;
COMMENT ON FOREIGN DATA WRAPPER weir_kafka IS
    'Kafka; options are librdkafka''s property names, secrets go to user mappings';

-- Anybody may call it; it asks for USAGE on the server.
CREATE FUNCTION weir.test_server(server name, OUT test text, OUT ok boolean, OUT detail text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
    AS 'MODULE_PATHNAME', 'weir_test_server';
COMMENT ON FUNCTION weir.test_server(name) IS
    'connects to a Kafka server for at most 10 seconds: lists brokers, topics and partitions, or says why it cannot';
