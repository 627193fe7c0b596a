-- weir.json_schema_valid: JSON values by JSON Schemas.
CREATE FUNCTION pg_temp.judge(schema jsonb, good jsonb, bad jsonb) RETURNS TABLE (wrongly jsonb, was text) LANGUAGE sql AS $$
    SELECT v, 'valid' FROM jsonb_array_elements(bad) v WHERE weir.json_schema_valid(schema, v)
    UNION ALL SELECT v, 'invalid' FROM jsonb_array_elements(good) v WHERE NOT weir.json_schema_valid(schema, v)
$$;
CREATE TEMP TABLE cases (id int GENERATED ALWAYS AS IDENTITY, schema jsonb, good jsonb, bad jsonb);
INSERT INTO cases (schema, good, bad) VALUES
    ('true', '[1, null, {}]', '[]'),
    ('false', '[]', '[1, null, {}]'),
    ('{}', '[1, null, [], {"a": 1}]', '[]'),
    ('{"unknown": 1, "title": "x", "format": "email", "minimun": 5}', '[1, "x"]', '[]'),
    -- types: 1.0 is an integer
    ('{"type": "integer"}', '[1, 1.0, -5, 1e20, 123456789012345678901234567890]', '[1.5, "1", true, null, [1], {}]'),
    ('{"type": "number"}', '[1, 1.5]', '["1", null]'),
    ('{"type": "string"}', '["", "a"]', '[1, null, ["a"]]'),
    ('{"type": "boolean"}', '[true, false]', '[0, "true", null]'),
    ('{"type": "null"}', '[null]', '[0, "", false, {}]'),
    ('{"type": "array"}', '[[], [1]]', '[{}, "[]", 1]'),
    ('{"type": "object"}', '[{}, {"a": 1}]', '[[], "{}", null]'),
    ('{"type": ["integer", "null"]}', '[1, null]', '["1", 1.5]'),
    -- any value
    ('{"enum": [1, "a", null, {"b": [1, 2]}]}', '[1, 1.0, "a", null, {"b": [1, 2]}]', '[2, "A", {"b": [2, 1]}, [1], false]'),
    ('{"const": {"a": 1, "b": 2}}', '[{"b": 2, "a": 1.0}]', '[{"a": 1}, {"a": 1, "b": 2, "c": 3}]'),
    ('{"const": false}', '[false]', '[0, null, ""]'),
    ('{"const": [1]}', '[[1]]', '[1, [], [1, 1], ["1"]]'),
    -- numbers; other types are not concerned
    ('{"minimum": 1, "maximum": 3}', '[1, 3, 2.5, "0", null]', '[0.99, 3.01]'),
    ('{"exclusiveMinimum": 1, "exclusiveMaximum": 3}', '[1.01, 2.99]', '[1, 3]'),
    ('{"multipleOf": 0.01}', '[1, 0.07, 4.02, "x"]', '[0.075, 0.001]'),
    -- strings: characters, not bytes
    ('{"minLength": 2, "maxLength": 3}', '["äö", "abc", 1, []]', '["a", "", "ä", "abcd", "äöüß"]'),
    ('{"pattern": "^a+$"}', '["a", "aaa", 1]', '["", "b", "ab"]'),
    ('{"pattern": "b"}', '["abc", "b"]', '["ac"]'),
    -- arrays
    ('{"items": {"type": "integer"}, "minItems": 1, "maxItems": 2}', '[[1], [1, 2], "x"]', '[[], [1, 2, 3], ["1"], [1, "2"]]'),
    ('{"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "null"}}', '[[], [1], [1, "a"], [1, "a", null, null]]', '[["a"], [1, 1], [1, "a", 1]]'),
    ('{"items": [{"type": "integer"}], "additionalItems": false}', '[[], [1]]', '[[1, 2], ["a"]]'),
    ('{"items": false}', '[[], 1]', '[[1]]'),
    ('{"uniqueItems": true}', '[[], [1, 2], [1, "1"], [{"a": 1}, {"a": 2}], [[1], [2]], [0, false, null, ""]]', '[[1, 1], [1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[1], [1]], ["a", 1, "a"]]'),
    ('{"uniqueItems": false}', '[[1, 1]]', '[]'),
    ('{"contains": {"const": 1}}', '[[1], [2, 1], "x"]', '[[], [2]]'),
    ('{"contains": {"const": 1}, "minContains": 2, "maxContains": 3}', '[[1, 1], [1, 1, 1, 2]]', '[[1], [1, 1, 1, 1]]'),
    ('{"contains": {"const": 1}, "minContains": 0}', '[[], [2]]', '[]'),
    -- objects
    ('{"properties": {"a": {"type": "integer"}, "b": false}}', '[{}, {"a": 1}, {"c": 1}, [], "x"]', '[{"a": "1"}, {"b": 1}, {"a": null}]'),
    ('{"required": ["a", "b"]}', '[{"a": null, "b": 1}, [], 1]', '[{}, {"a": 1}]'),
    ('{"required": []}', '[{}]', '[]'),
    ('{"properties": {"a": {}}, "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}', '[{}, {"a": 1, "x1": 1}]', '[{"b": 1}, {"x1": "1"}]'),
    ('{"additionalProperties": {"type": "integer"}}', '[{"a": 1}]', '[{"a": "1"}]'),
    ('{"propertyNames": {"maxLength": 2}}', '[{"ab": 1}, {}]', '[{"abc": 1}]'),
    ('{"minProperties": 1, "maxProperties": 2}', '[{"a": 1}, {"a": 1, "b": 2}, []]', '[{}, {"a": 1, "b": 2, "c": 3}]'),
    ('{"dependentRequired": {"card": ["address", "name"]}}', '[{}, {"name": 1}, {"card": 1, "address": 1, "name": 1}]', '[{"card": 1}, {"card": 1, "name": 1}]'),
    -- combined
    ('{"allOf": [{"minimum": 1}, {"maximum": 3}]}', '[2]', '[0, 4]'),
    ('{"anyOf": [{"type": "string"}, {"minimum": 5}]}', '["a", 5, null]', '[4]'),
    ('{"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}', '[2, 3, 4]', '[1, 6]'),
    ('{"not": {"type": "string"}}', '[1, null]', '["a"]'),
    ('{"not": {}}', '[]', '[1, null]'),
    ('{"if": {"properties": {"t": {"const": 1}}, "required": ["t"]}, "then": {"required": ["a"]}, "else": {"required": ["b"]}}', '[{"t": 1, "a": 1}, {"t": 2, "b": 1}, {"b": 1}]', '[{"t": 1, "b": 1}, {"t": 2, "a": 1}, {}]'),
    ('{"if": {"minimum": 5}}', '[1, 9]', '[]'),
    -- references, one to itself and one with escapes
    ('{"$defs": {"node": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}, "v": {"type": "integer"}}}}, "$ref": "#/$defs/node"}',
     '[{}, {"children": [{"children": [{"v": 1}]}]}]', '[{"children": [{"children": [{"v": "1"}]}]}, 1, {"children": {}}]'),
    ('{"properties": {"next": {"$ref": "#"}}, "additionalProperties": false}', '[{}, {"next": {"next": {}}}]', '[{"next": {"nxet": {}}}]'),
    ('{"definitions": {"a/b": {"~c": [true, {"minimum": 5}]}}, "not": false, "properties": {"x": {"$ref": "#/definitions/a~1b/~0c/1"}}}', '[{"x": 5}]', '[{"x": 4}]');
SELECT id, schema, wrongly, was FROM cases, pg_temp.judge(schema, good, bad);

-- what is no schema, and what would be judged wrongly without a keyword that is not known here
SELECT weir.json_schema_valid('1', '1');
SELECT weir.json_schema_valid('[]', '1');
SELECT weir.json_schema_valid('{"properties": []}', '1');
SELECT weir.json_schema_valid('{"properties": {"a": {"items": 1}}}', '1');
SELECT weir.json_schema_valid('{"required": "a"}', '1');
SELECT weir.json_schema_valid('{"required": [1]}', '1');
SELECT weir.json_schema_valid('{"type": ["integer", "any"]}', '1');
SELECT weir.json_schema_valid('{"minimum": "1"}', '1');
SELECT weir.json_schema_valid('{"exclusiveMinimum": true}', '1');
SELECT weir.json_schema_valid('{"minLength": -1}', '1');
SELECT weir.json_schema_valid('{"minLength": 1.5}', '1');
SELECT weir.json_schema_valid('{"multipleOf": 0}', '1');
SELECT weir.json_schema_valid('{"pattern": "("}', '1');
SELECT weir.json_schema_valid('{"patternProperties": {"[": {}}}', '1');
SELECT weir.json_schema_valid('{"anyOf": []}', '1');
SELECT weir.json_schema_valid('{"enum": 1}', '1');
SELECT weir.json_schema_valid('{"uniqueItems": 1}', '1');
SELECT weir.json_schema_valid('{"dependentRequired": {"a": "b"}}', '1');
SELECT weir.json_schema_valid('{"$ref": "#/$defs/a"}', '1');
SELECT weir.json_schema_valid('{"$ref": "#/type", "type": "string"}', '1');
SELECT weir.json_schema_valid('{"$ref": "https://example.org/schema"}', '1');
SELECT weir.json_schema_valid('{"$ref": "#anchor"}', '1');
SELECT weir.json_schema_valid('{"properties": {"a": {"unevaluatedProperties": false}}}', '1');
SELECT weir.json_schema_valid('{"dependencies": {}}', '1');
\set VERBOSITY sqlstate
SELECT weir.json_schema_valid('{"$ref": "#"}', '1');
\set VERBOSITY default

-- a schema that is not a constant is checked with every call
SELECT weir.json_schema_valid(schema, '1') FROM (VALUES ('{"type": "integer"}'::jsonb), ('{"type": "integr"}')) v (schema);

-- deep and large values
SELECT weir.json_schema_valid('{"$ref": "#/$defs/n", "$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}}', (repeat('[', 500) || repeat(']', 500))::jsonb);
SELECT weir.json_schema_valid('{"uniqueItems": true}', (SELECT jsonb_agg(i) FROM generate_series(1, 100000) i));
