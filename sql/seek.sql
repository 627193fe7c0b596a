-- weir.seek and weir.wait, as far as no broker is needed.
SET client_min_messages = warning;
\set VERBOSITY default
CREATE SERVER seek_kafka FOREIGN DATA WRAPPER weir_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE ROLE regress_seek_reader;
SELECT weir.create_stream('far', columns => 'n int', server => 'seek_kafka', topic => 'far');
SELECT weir.create_stream('near', columns => 'n int');
CREATE TABLE plain (n int);

-- A stream that has consumed nothing begins elsewhere.
SELECT weir.seek('far', 'LATEST');
SELECT start_from FROM weir.catalog WHERE stream = 'far';
SELECT weir.seek('far', '{"0": 12, "1": 0}');
SELECT start_from FROM weir.catalog WHERE stream = 'far';

-- A time is read in the session's time zone, and means the same in any other.
SET timezone = 'Europe/Berlin';
SELECT weir.seek('far', '2026-07-01 12:00');
SET timezone = 'UTC';
SELECT start_from::timestamptz FROM weir.catalog WHERE stream = 'far';

-- What makes no sense
SELECT weir.seek('far', '');
SELECT weir.seek('far', 'infinity');
SELECT weir.seek('far', '{"0": -1}');
SELECT weir.seek('far', '{"00": 1}');
SELECT weir.seek('far', '{"a": 1}');
SELECT weir.seek('far', '{"0": "1"}');
SELECT weir.seek('far', NULL);
SELECT weir.seek(NULL, 'earliest');
SELECT weir.seek('far', 'earliest', reset => NULL);
SELECT weir.seek('far', 'earliest', reset => true);
SELECT weir.seek('near', 'earliest');
SELECT weir.seek('plain', 'earliest');
SELECT start_from::timestamptz FROM weir.catalog WHERE stream = 'far';

-- Waiting for a stream that nothing is read into
SELECT weir.wait('near');
SELECT weir.wait('far');
SELECT weir.wait('plain');
SELECT weir.wait(NULL);
SELECT weir.wait('far', NULL);
SELECT weir.wait('far', '-1 s');
SELECT weir.wait('far', '1 month');

-- Rights: SELECT to wait, the owner's to seek
SET ROLE regress_seek_reader;
SELECT weir.wait('near');
SELECT weir.seek('far', 'latest');
RESET ROLE;
GRANT SELECT ON near TO regress_seek_reader;
SET ROLE regress_seek_reader;
SELECT weir.wait('near');
RESET ROLE;

-- Nothing of a seek is left when it is rolled back.
BEGIN;
SELECT weir.seek('far', 'latest');
ROLLBACK;
SELECT start_from::timestamptz FROM weir.catalog WHERE stream = 'far';

SELECT weir.drop_stream('far');
SELECT weir.drop_stream('near');
DROP TABLE plain;
DROP SERVER seek_kafka;
DROP ROLE regress_seek_reader;
