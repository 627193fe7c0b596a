-- Ready-made expectations: functions that give the text of a condition.
SET timezone = 'UTC';
SELECT weir.not_null('temp');
SELECT weir.not_null('Odd "Name');
SELECT weir.not_missing('note');
SELECT weir.not_missing('note', '{N/A,it''s}');
SELECT weir.accepted_values('unit', '{C,F,it''s}');
SELECT weir.accepted_range('temp', -80, 150);
SELECT weir.accepted_range('temp', -80.5, NULL);
SELECT weir.accepted_range('temp', NULL, 'Infinity'::float8, inclusive => false);
SELECT weir.accepted_range('ts', '2026-01-01', '2027-01-01', false);
SELECT weir.matches_regex('note', '^[a-z'']+$');
SELECT weir.value_length('note', 1, 10);
SELECT weir.value_length('note', max_length => 10);
SELECT weir.valid_format('mail', 'email');
SELECT weir.json_schema('payload', '{"type": "object", "required": ["it''s"]}');
SELECT weir.column_pair('min_temp', '<=', 'max_temp');
SELECT weir.event_time_bounds('ts', '1 day', '5 minutes');
SELECT weir.event_time_bounds('ts', max_age => '1 day', reference => 'sent_at');
SELECT weir.expression('temp > 0 -- above freezing');

-- All of them on a stream
SELECT weir.create_stream('kinds', columns => 'id int, temp float8, note text, unit text, min_temp int, max_temp int, mail text, payload jsonb, ts timestamptz');
SELECT weir.expect('kinds', name, expression, 'keep')
FROM (VALUES
    ('not_null', weir.not_null('temp')),
    ('not_missing', weir.not_missing('note', '{N/A}')),
    ('accepted_values', weir.accepted_values('unit', '{C,F}')),
    ('accepted_range', weir.accepted_range('temp', -80, 150)),
    ('matches_regex', weir.matches_regex('note', '^[a-z ]*$')),
    ('value_length', weir.value_length('note', 0, 5)),
    ('valid_format', weir.valid_format('mail', 'email')),
    ('json_schema', weir.json_schema('payload', '{"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}')),
    ('column_pair', weir.column_pair('min_temp', '<=', 'max_temp')),
    ('event_time_bounds', weir.event_time_bounds('ts', '1 day', '5 minutes')),
    ('expression', weir.expression('id > 0 -- positive') || ' AND id < 100')) v (name, expression);
SELECT name, expression FROM weir.expectation_stats WHERE stream = 'kinds' ORDER BY name;
SELECT accepted FROM weir.ingest('kinds', ARRAY[
    '{"id": 1, "temp": 20, "note": "fine", "unit": "C", "min_temp": 1, "max_temp": 1, "mail": "a.b+c@d-e.example.org", "payload": {"a": 1.0}, "ts": "2026-01-01T00:05:00Z"}',
    '{"id": 2}',
    '{"id": 0, "temp": 151, "note": " ", "unit": "K", "min_temp": 2, "max_temp": 1, "mail": "nobody", "payload": {"a": "1"}, "ts": "2026-01-01T00:05:01Z"}',
    '{"id": 100, "temp": "-Infinity", "note": "N/A", "unit": "", "mail": "", "payload": {}, "ts": "2025-12-30T23:59:59Z"}',
    '{"id": 4, "temp": "NaN", "note": "toolong", "mail": "a@b", "payload": [1]}'], kafka_timestamp => '2026-01-01 00:00:00Z');
SELECT id, _violations FROM kinds ORDER BY _offset;
SELECT weir.drop_stream('kinds');

-- Formats
SELECT format, string_agg(quote_literal(value), ' ' ORDER BY i) FILTER (WHERE valid) AS valid,
       string_agg(quote_literal(value), ' ' ORDER BY i) FILTER (WHERE NOT valid) AS not_valid
FROM (SELECT format, value, i, weir.is_valid_format(value, format) AS valid FROM (VALUES
    ('email', '{a@b.c,a.b+c@x-y.example,a@b,@b.c,a@,a@b.c.,a b@c.d,a@-b.c,a@b-.c,a@b..c,"a@b.c ",ä@b.c}'::text[]),
    ('url', '{http://a,https://u:p@a.b:80/c?d#e,ftp://[::1]/,a://b,//a,http:/a,http://,http:///a,"http://a b",http://a\"b,1a://b,mailto:a@b.c}'),
    ('uuid', '{00000000-0000-0000-0000-000000000000,ABCDEFab-cdef-4321-8765-0123456789ab,00000000000000000000000000000000,00000000-0000-0000-0000-00000000000g,"","{00000000-0000-0000-0000-000000000000}"}'),
    ('ip', '{1.2.3.4,255.255.255.255,::,::1,2001:db8::8a2e:370:7334,::ffff:1.2.3.4,256.1.1.1,1.2.3,1.2.3.4/8,1.2.3.4.5,:::,1::2::3,"",01.2.3.4}'),
    ('iso8601', '{2026-01-31,2024-02-29,2026-01-01T00:00:00Z,2026-01-01 23:59,2026-01-01T00:00:60.123+05:30,2026-01-01T00:00:00-08,2026-02-29,2026-13-01,2026-1-1,2026-01-01T24:00:00Z,2026-01-01T,2026-01-01T00:00:00+,20260101,1700000000,""}'))
    f (format, examples), unnest(examples) WITH ORDINALITY e (value, i)) x
GROUP BY format ORDER BY format;

-- What the functions refuse
\set SHOW_CONTEXT never
SELECT weir.not_null(NULL);
SELECT weir.accepted_values('unit', '{}');
SELECT weir.accepted_values('unit', '{C,NULL}');
SELECT weir.accepted_values('unit', NULL);
SELECT weir.accepted_range('temp', NULL::int, NULL);
SELECT weir.value_length('note');
SELECT weir.valid_format('mail', 'phone');
SELECT weir.column_pair('a', '; DROP', 'b');
SELECT weir.event_time_bounds('ts');
SELECT weir.json_schema('payload', '{"type": "integr"}');
