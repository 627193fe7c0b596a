--
-- From JSON messages to rows: what a payload may look like, what becomes of
-- its fields, and which dead letter a bad one leaves.
--
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset null '(null)'

CREATE VIEW faults AS
    SELECT stream, kafka_offset, error_stage, sqlstate, column_name, message
    FROM weir.dead_letters;

--
-- A field goes to the column of its name, whatever the order.  What no column
-- holds is in _extra; what a message does not mention is NULL.
--
SELECT weir.create_stream('readings',
    columns    => 'event_id uuid, sensor_id int, temp float8, ts timestamptz',
    partitions => 1);
SELECT * FROM weir.ingest('readings', ARRAY[
    '{"event_id":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","sensor_id":17,"temp":21.53,"ts":"2026-01-01T00:00:00.123Z"}',
    ' { "ts" : "2026-01-01 01:00:00+01" , "sensor_id" : "18" } ',
    '{}',
    '{"sensor_id":null,"unit":"C","site":{"name":"north","floors":[1,2]}}',
    '{"sensor\u005fid":19,"temp":-0.5e2}',
    '{"sensor_id":"not a number","sensor_id":20}',
    '{"_offset":5,"sensor_id":21}']);
SELECT event_id, sensor_id, temp, ts, _extra FROM readings ORDER BY _offset;

-- What is no JSON object is a dead letter of stage decode, and the others of
-- its batch go through.
SELECT * FROM weir.ingest('readings', ARRAY[
    '', '   ', '[1]', '"text"', '5', 'null', '{', '{"a":1', '{"a":1,}', '{"a" 1}',
    '{"a":1} x', '{"a":01}', '{"a":.5}', '{"a":+1}', '{"a":1.}', '{"a":tru}', '{"a":NaN}',
    '{"a":"\q"}', '{"a":"\u12g4"}', '{"a":"\u0000"}', '{"a":"\ud800"}', '{"a":"\udc00"}',
    E'{"a":"\t"}', E'\uFEFF{"a":1}', '{"sensor_id":22}']);
SELECT * FROM weir.ingest('readings', ARRAY[
    '\x7b2261223a22ff227d', '\x7b2261223a22c080227d', '\x7b2261223a2200227d']::bytea[]);
SELECT * FROM weir.ingest('readings', '{"a":' || repeat('[', 10000) || repeat(']', 10000) || '}');
SELECT * FROM weir.ingest('readings', repeat('[', 10000));
SELECT kafka_offset, error_stage, sqlstate, column_name, message
    FROM faults WHERE stream = 'readings' ORDER BY kafka_offset;
SELECT sensor_id FROM readings WHERE sensor_id = 22;

--
-- Types.  The text of a scalar goes to its column; a value that does not fit
-- is a dead letter of stage convert that names the column, with the SQLSTATE a
-- cast would give.
--
SELECT weir.create_stream('numbers', partitions => 1,
    columns => 'i2 int2, i4 int, i8 int8, f4 float4, f8 float8, n numeric, n62 numeric(6,2), b bool');
SELECT * FROM weir.ingest('numbers', ARRAY[
    '{"i2":-32768,"i4":2147483647,"i8":-9223372036854775808}',
    '{"i2":"1","i4":" 2 ","i8":"+3"}',
    '{"f4":0.1,"f8":0.1,"n":0.10,"n62":0.125}',
    '{"f4":"Infinity","f8":"NaN","n":"NaN"}',
    '{"f8":21.534827364872364,"n":123456789012345678901234567890.5}',
    '{"n":1e20,"n62":-9999.994,"b":true}',
    '{"b":0}', '{"b":"yes"}',
    '{"i2":32768}', '{"i4":2147483648}', '{"i8":9223372036854775808}',
    '{"i4":1.0}', '{"i4":true}', '{"i4":"x"}', '{"i4":""}', '{"i4":{"a":1}}',
    '{"f8":1e400}', '{"f4":1e39}', '{"f8":"1.5x"}',
    '{"n":1e131072}', '{"n62":9999.995}', '{"n62":"Infinity"}', '{"b":2}',
    '{"unknown":1e131072}']);
SELECT i2, i4, i8, f4, f8, n, n62, b FROM numbers ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, column_name, message
    FROM faults WHERE stream = 'numbers' ORDER BY kafka_offset;

SELECT weir.create_stream('texts', partitions => 1,
    columns => 't text, v varchar(3), u uuid, j json, jb jsonb');
SELECT * FROM weir.ingest('texts', ARRAY[
    '{"t":"caf\u00e9 \ud83d\ude00 \"\\\/","v":"äöü","u":"{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"}',
    '{"t":12.50,"v":1}', '{"t":true}',
    '{"t":{"a" : [1, 2]},"j":{"a" : [1, 2]},"jb":{"a" : [1, 2]}}',
    '{"t":"","v":"abc  ","j":"s","jb":"s"}',
    '{"t":null,"j":null,"jb":null}',
    '{"jb":{"b":1,"a":[1.50,true,null,{}],"b":2}}',
    '{"v":"abcd"}', '{"u":"a0eebc99"}', '{"jb":[1e131072]}']);
SELECT t, v, u, j, jb FROM texts ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, column_name, message
    FROM faults WHERE stream = 'texts' ORDER BY kafka_offset;

-- Any other type goes through its input function, and arrays and composites
-- take JSON as jsonb_populate_record() does.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE place AS (lat float8, lon float8);
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN named AS text NOT NULL;
SELECT weir.create_stream('others', partitions => 1,
    columns => 'm mood, p place, ps place[], a int[], pc percent, nm named DEFAULT ''?'', '
               'ip inet, ba bytea, iv interval, c char(3), r int4range, '
               'twice int GENERATED ALWAYS AS (pc * 2) STORED');
SELECT * FROM weir.ingest('others', ARRAY[
    '{"m":"ok","p":{"lat":1.5,"lon":2},"ps":[{"lat":1},{"lon":2}],"a":[1,2],"pc":50}',
    '{"p":"(3,4)","a":"{5,6}","ip":"10.0.0.1/8","ba":"\\xdeadbeef","iv":"1 day","c":"x","r":"[1,5)"}',
    '{"twice":7,"nm":"x"}',
    '{"m":"angry"}', '{"a":["x"]}', '{"pc":101}', '{"nm":null}', '{"ip":"nowhere"}']);
SELECT m, p, ps, a, pc, nm, ip, ba, iv, c, r, twice, _extra FROM others ORDER BY _offset;
SELECT kafka_offset, sqlstate, column_name
    FROM faults WHERE stream = 'others' ORDER BY kafka_offset;

--
-- Points in time.  Without a zone a text means UTC, whatever TimeZone says.
--
SELECT weir.create_stream('times', partitions => 1, columns => 'tz timestamptz, ts timestamp(3), d date');
SET timezone = 'America/New_York';
SELECT * FROM weir.ingest('times', ARRAY[
    '{"tz":"2026-01-01T00:00:00","ts":"2026-01-01T00:00:00.1235","d":"2026-01-01"}',
    '{"tz":"2026-01-01","d":"2026-01-01T23:59:59-05:00"}',
    '{"tz":"2026-01-01 00:00:00.123456789+05:30"}', '{"tz":"2026-01-01T00:00-0530"}',
    '{"tz":"2026-01-01T00:00:00+02","ts":"2026-01-01T00:00:00+02"}',
    '{"tz":"2026-07-01 12:00 Europe/Berlin"}', '{"d":"infinity"}',
    '{"tz":"2026-02-30"}', '{"tz":"soon"}', '{"tz":"now"}', '{"tz":"2026-01-01 00:00 Nowhere/City"}',
    '{"d":"300000000-01-01"}', '{"tz":1767225600}', '{"d":1767225600}']);
SET timezone = 'UTC';
SELECT tz, ts, d FROM times ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, column_name, message
    FROM faults WHERE stream = 'times' ORDER BY kafka_offset;

-- A number is a point in time only where its unit is known.
SELECT weir.create_stream('epochs', partitions => 1, columns => 's timestamptz, ms timestamp, us timestamptz, d date',
    time_unit => 's', column_options => '{"ms":{"time_unit":"ms"},"us":{"time_unit":"us"}}');
SELECT * FROM weir.ingest('epochs', ARRAY[
    '{"s":1767225600,"ms":1767225600123,"us":1767225600123456,"d":1767225600}',
    '{"s":1767225600.5,"ms":1767225600123.4565,"us":0.5,"d":-1}',
    '{"s":1.7672256e9,"ms":-1,"us":"2026-01-01T00:00:00Z"}',
    '{"s":1e30}', '{"us":-1e30}']);
SELECT s, ms, us, d FROM epochs ORDER BY _offset;
SELECT kafka_offset, error_stage, sqlstate, column_name, message
    FROM faults WHERE stream = 'epochs' ORDER BY kafka_offset;

--
-- Paths reach nested fields.  A column with a path is not filled by a field of
-- its own name, and what is left of the objects on the way stays in _extra.
--
SELECT weir.create_stream('nested', partitions => 1,
    columns => 'user_id int, same_id text, first text, account jsonb, account_no int, dotted text',
    paths   => '{"user_id": "user.id", "same_id": ["user", "id"], "first": "user.name.first",
                 "account_no": "account.no", "dotted": ["a.b"]}');
SELECT * FROM weir.ingest('nested', ARRAY[
    '{"user":{"id":1,"name":{"first":"Ada","last":"L"}},"a.b":"x"}',
    '{"user":{"id":2,"name":"Bob"}}',
    '{"user":{"id":3}}', '{"user":null}', '{"user":[{"id":4}]}',
    '{"user_id":5,"dotted":"y"}',
    '{"account":{"no":6,"type":"z"}}',
    '{"user":{"id":7,"x":1},"user":{"name":{"first":"Eve"}}}']);
SELECT user_id, same_id, first, account, account_no, dotted, _extra FROM nested ORDER BY _offset;

--
-- Keys.
--
SELECT weir.create_stream('by_text', partitions => 1, columns => 'id int, v int',
    key_format => 'text', key_columns => '{id}');
SELECT * FROM weir.ingest('by_text', '{"v":1,"id":99}', key => '12');
SELECT * FROM weir.ingest('by_text', '{"v":2}');
SELECT * FROM weir.ingest('by_text', '{"v":3}', key => 'x');
SELECT * FROM weir.ingest('by_text', '{"v":4}', key => '\xff');
SELECT id, v, _extra FROM by_text ORDER BY _offset;

SELECT weir.create_stream('by_bytes', partitions => 1, columns => 'id bytea, v int',
    key_format => 'bytea', key_columns => '{id}');
SELECT * FROM weir.ingest('by_bytes', '{"v":1}', key => '\xff00');
SELECT id, v FROM by_bytes ORDER BY _offset;

SELECT weir.create_stream('by_json', partitions => 1, columns => 'id int, region text, v int',
    key_format => 'json', key_columns => '{id,region}');
SELECT * FROM weir.ingest('by_json', '{"v":1}', key => '{"id":1,"region":"eu","other":true}');
SELECT * FROM weir.ingest('by_json', '{"v":2}', key => '{"id":2}');
SELECT * FROM weir.ingest('by_json', '{"v":3}', key => '3');
SELECT * FROM weir.ingest('by_json', '{"v":4}', key => '{"id":');
SELECT id, region, v FROM by_json ORDER BY _offset;

SELECT weir.create_stream('by_scalar', partitions => 1, columns => 'id text, v int',
    key_format => 'json', key_columns => '{id}');
SELECT * FROM weir.ingest('by_scalar', '{"v":1}', key => '"one"');
SELECT * FROM weir.ingest('by_scalar', '{"v":2}', key => '{"id":"two"}');
SELECT * FROM weir.ingest('by_scalar', '{"v":3}', key => '[3]');
SELECT id, v FROM by_scalar ORDER BY _offset;

SELECT stream, kafka_offset, error_stage, sqlstate, column_name, message
    FROM faults WHERE stream LIKE 'by\_%' ORDER BY stream, kafka_offset;

--
-- Options that do not fit the columns are refused when the stream is made.
--
SELECT weir.create_stream('bad', 'a int', paths => '{"b": "x"}');
SELECT weir.create_stream('bad', 'a int', paths => '{"_offset": "x"}');
SELECT weir.create_stream('bad', 'a int', paths => '{"a": "x..y"}');
SELECT weir.create_stream('bad', 'a int', paths => '{"a": []}');
SELECT weir.create_stream('bad', 'a int', paths => '["a"]');
SELECT weir.create_stream('bad', 'a int', column_options => '{"a": {"time_unit": "s"}}');
SELECT weir.create_stream('bad', 'a date', column_options => '{"a": {"time_unit": "h"}}');
SELECT weir.create_stream('bad', 'a date', column_options => '{"a": {"unit": "s"}}');
SELECT weir.create_stream('bad', 'a int', key_columns => '{a}');
SELECT weir.create_stream('bad', 'a int', key_format => 'xml', key_columns => '{a}');
SELECT weir.create_stream('bad', 'a int', key_format => 'text', key_columns => '{b}');
SELECT weir.create_stream('bad', 'a int, b int', key_format => 'text', key_columns => '{a,b}');
SELECT weir.create_stream('bad', 'a int', key_format => 'bytea', key_columns => '{a}');

DROP VIEW faults;
DROP TABLE readings, numbers, texts, others, times, epochs, nested, by_text, by_bytes, by_json, by_scalar;
DROP TYPE mood, place;
DROP DOMAIN percent, named;
