-- Schemas.  What users call and read is in weir; what they need not see is in
-- weir_internal.  Children of streams live there too, without being members of
-- the extension.  Both schemas are members: a dump then leaves them to CREATE
-- EXTENSION, also where the extension is there already.

CREATE SCHEMA weir;
CREATE SCHEMA weir_internal;
COMMENT ON SCHEMA weir_internal IS 'pg_weir: definitions, offsets and the children of staging tables; not for direct use';
COMMENT ON SCHEMA weir IS 'pg_weir: streams out of Kafka, and what is derived from them';
