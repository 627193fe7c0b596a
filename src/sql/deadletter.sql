-- Dead letters: messages that could not be applied.

CREATE VIEW weir.dead_letters WITH (security_barrier) AS
SELECT d.id, n.nspname AS stream_schema, c.relname AS stream, d.partition, d.kafka_offset,
       d.kafka_timestamp, d.key, d.value, d.headers, d.error_stage, d.sqlstate, d.message, d.detail,
       d.column_name, d.constraint_name, d.object_name, d.failed_at, d.replayed_at
FROM weir_internal.dead_letter d
JOIN pg_catalog.pg_class c ON c.oid = d.stream::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW weir.dead_letters IS
'Messages that could not be applied, whole, with the reason; of streams whose owner''s rights the reader has. error_stage: decode, key, convert, event_time, constraint, expectation, staging, trigger, tombstone. Purged after weir.dead_letter_retention.';

CREATE FUNCTION weir.replay_dead_letters(
    stream regclass,
    filter text DEFAULT NULL,
    transform text DEFAULT NULL,
    OUT replayed bigint, OUT applied bigint, OUT failed bigint)
LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'weir_replay_dead_letters';
COMMENT ON FUNCTION weir.replay_dead_letters(regclass, text, text) IS
'Sends dead letters that have not been replayed through the stream again. filter: SQL condition over weir.dead_letters; transform: SQL expression over its columns that gives the value to send (text, jsonb or bytea). Those that succeed, or are duplicates by now, get replayed_at in the same transaction, the others stay as they were. For the stream''s owner.';
