-- Payloads from any session, through the same path as Kafka's.

DO $$
DECLARE
    payload_type text;
BEGIN
    FOREACH payload_type IN ARRAY '{text,text[],jsonb,jsonb[],bytea,bytea[]}'::text[] LOOP
        EXECUTE format($f$
            CREATE FUNCTION weir.ingest(
                stream regclass,
                payload %1$s,
                key bytea DEFAULT NULL,
                headers jsonb DEFAULT NULL,
                kafka_timestamp timestamptz DEFAULT NULL,
                partition int DEFAULT NULL,
                OUT accepted bigint, OUT duplicate bigint, OUT dead_lettered bigint, OUT dropped bigint)
            LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_ingest'$f$, payload_type);
        EXECUTE format($f$
            COMMENT ON FUNCTION weir.ingest(regclass, %1$s, bytea, jsonb, timestamptz, int) IS
            'Sends payloads into a stream, in this transaction, through decoding, constraints, staging and triggers. A NULL element is a tombstone. key, headers and kafka_timestamp go with every payload; without kafka_timestamp it is the present where nothing else tells an event''s time. Needs INSERT on the stream; runs as its owner. Constraints of the transaction become IMMEDIATE.'$f$, payload_type);
    END LOOP;
END
$$;
