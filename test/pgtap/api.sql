-- The shape of the API: what users call, read and see described.
\set QUIET on
\pset format unaligned
\pset tuples_only on
BEGIN;
SELECT no_plan();

-- Functions: names, arguments, defaults, results.
CREATE TEMP TABLE api (signature text);
INSERT INTO api VALUES
    ('alter_expectation(stream regclass, name text, expression text DEFAULT NULL::text, on_violation text DEFAULT NULL::text) → void'),
    ('drop_expectation(stream regclass, name text) → void'),
    ('expect(stream regclass, name text, expression text, on_violation text DEFAULT ''dead_letter''::text, if_not_exists boolean DEFAULT false) → void'),
    ('acknowledge_alert(id bigint) → void'),
    ('alter_alert_rule(rule text, enabled boolean DEFAULT NULL::boolean, threshold double precision DEFAULT NULL::double precision, severity text DEFAULT NULL::text, notify_from text DEFAULT NULL::text, quiet_time interval DEFAULT NULL::interval, repeat_after interval DEFAULT NULL::interval, with_message boolean DEFAULT NULL::boolean) → void'),
    ('accepted_range(column_name name, min_value anycompatible, max_value anycompatible, inclusive boolean DEFAULT true) → text'),
    ('accepted_values(column_name name, accepted text[]) → text'),
    ('column_pair(column_a name, operator text, column_b name) → text'),
    ('event_time_bounds(column_name name, max_age interval DEFAULT NULL::interval, max_future interval DEFAULT NULL::interval, reference name DEFAULT ''_timestamp''::name) → text'),
    ('expression(expression text) → text'),
    ('is_valid_format(value text, format text) → boolean'),
    ('json_schema(column_name name, schema jsonb) → text'),
    ('json_schema_valid(schema jsonb, value jsonb) → boolean'),
    ('matches_regex(column_name name, pattern text) → text'),
    ('not_missing(column_name name, missing_values text[] DEFAULT ''{}''::text[]) → text'),
    ('not_null(column_name name) → text'),
    ('valid_format(column_name name, format text) → text'),
    ('value_length(column_name name, min_length integer DEFAULT NULL::integer, max_length integer DEFAULT NULL::integer) → text'),
    ('alter_stream(stream regclass, dedup_ttl interval DEFAULT NULL::interval, max_out_of_orderness interval DEFAULT NULL::interval, max_future interval DEFAULT NULL::interval, idle_timeout interval DEFAULT NULL::interval, retention interval DEFAULT NULL::interval, paths jsonb DEFAULT NULL::jsonb, time_unit text DEFAULT NULL::text, column_options jsonb DEFAULT NULL::jsonb, tombstones text DEFAULT NULL::text, isolation_level text DEFAULT NULL::text, on_data_loss text DEFAULT NULL::text, parallelism integer DEFAULT NULL::integer, batch_rows integer DEFAULT NULL::integer, batch_bytes integer DEFAULT NULL::integer, batch_interval interval DEFAULT NULL::interval, commit_to_group text DEFAULT NULL::text) → void'),
    ('audit(stream regclass, OUT partition integer, OUT consumed bigint, OUT staged bigint, OUT duplicate bigint, OUT dead_lettered bigint, OUT dropped bigint, OUT skipped bigint, OUT replayed bigint, OUT balanced boolean) → SETOF record'),
    ('create_continuous_aggregate(name text, query text, time_window weir.window_spec DEFAULT NULL::weir.window_spec, allowed_lateness interval DEFAULT ''00:00:00''::interval, retention interval DEFAULT NULL::interval, backfill boolean DEFAULT true, if_not_exists boolean DEFAULT false) → regclass'),
    ('create_stream(name text, columns text, server name DEFAULT NULL::name, topic text DEFAULT NULL::text, format text DEFAULT ''json''::text, key_format text DEFAULT NULL::text, key_columns text[] DEFAULT NULL::text[], event_id text[] DEFAULT NULL::text[], dedup_ttl interval DEFAULT NULL::interval, event_time name DEFAULT NULL::name, max_out_of_orderness interval DEFAULT ''00:00:00''::interval, max_future interval DEFAULT ''1 day''::interval, idle_timeout interval DEFAULT NULL::interval, retention interval DEFAULT ''01:00:00''::interval, start_from text DEFAULT ''earliest''::text, paths jsonb DEFAULT ''{}''::jsonb, time_unit text DEFAULT NULL::text, column_options jsonb DEFAULT ''{}''::jsonb, metadata text[] DEFAULT ''{}''::text[], tombstones text DEFAULT ''dead_letter''::text, isolation_level text DEFAULT ''read_committed''::text, on_data_loss text DEFAULT ''stop''::text, parallelism integer DEFAULT 1, partitions integer DEFAULT 1, batch_rows integer DEFAULT NULL::integer, batch_bytes integer DEFAULT NULL::integer, batch_interval interval DEFAULT NULL::interval, commit_to_group text DEFAULT NULL::text, if_not_exists boolean DEFAULT false) → regclass'),
    ('create_alert(name text, query text, key text DEFAULT NULL::text, message text DEFAULT NULL::text, severity text DEFAULT ''error''::text, resolve_after interval DEFAULT NULL::interval, if_not_exists boolean DEFAULT false) → void'),
    ('drop_alert(name text) → void'),
    ('evaluate_alerts() → integer'),
    ('create_upsert(name text, query text, key text[], order_by name DEFAULT NULL::name, delete_when text DEFAULT NULL::text, tombstone_ttl interval DEFAULT NULL::interval, into_table regclass DEFAULT NULL::regclass, backfill boolean DEFAULT true, if_not_exists boolean DEFAULT false) → regclass'),
    ('create_check(name text, target regclass, kind text, params jsonb DEFAULT ''{}''::jsonb, severity text DEFAULT ''error''::text, schedule text DEFAULT NULL::text, filter text DEFAULT NULL::text, group_by text[] DEFAULT NULL::text[], mostly double precision DEFAULT NULL::double precision, warn_if text DEFAULT NULL::text, error_if text DEFAULT NULL::text, tags text[] DEFAULT ''{}''::text[], enabled boolean DEFAULT true, if_not_exists boolean DEFAULT false) → void'),
    ('drop_check(name text) → void'),
    ('run_checks(name text DEFAULT NULL::text, target regclass DEFAULT NULL::regclass, tag text DEFAULT NULL::text) → SETOF weir.check_results'),
    ('check_not_null(target regclass, column_name text, filter text DEFAULT NULL::text) → weir.check_results'),
    ('create_transform(name text, query text, event_time name DEFAULT NULL::name, retention interval DEFAULT NULL::interval, into_table regclass DEFAULT NULL::regclass, backfill boolean DEFAULT true, if_not_exists boolean DEFAULT false) → regclass'),
    ('drop(object regclass) → void'),
    ('drop_stream(stream regclass, cascade boolean DEFAULT false) → void'),
    ('hop(size interval, slide interval, shift interval DEFAULT ''00:00:00''::interval) → weir.window_spec'),
    ('purge_alerts(older_than interval DEFAULT ''90 days''::interval) → bigint'),
    ('replay_dead_letters(stream regclass, filter text DEFAULT NULL::text, transform text DEFAULT NULL::text, OUT replayed bigint, OUT applied bigint, OUT failed bigint) → record'),
    ('resolve_alert(id bigint) → void'),
    ('run_task(name text, interval_start timestamp with time zone DEFAULT NULL::timestamp with time zone, interval_end timestamp with time zone DEFAULT NULL::timestamp with time zone, downstream boolean DEFAULT true) → bigint'),
    ('backfill(task text, interval_start timestamp with time zone, interval_end timestamp with time zone, max_active integer DEFAULT 1, reprocess text DEFAULT ''none''::text) → bigint'),
    ('seek(stream regclass, seek_to text, reset boolean DEFAULT false) → void'),
    ('session(gap interval) → weir.window_spec'),
    ('start(stream regclass) → void'),
    ('stop(stream regclass, cancel_batch boolean DEFAULT false) → void'),
    ('tumble(size interval, shift interval DEFAULT ''00:00:00''::interval, timezone text DEFAULT NULL::text) → weir.window_spec'),
    ('test_server(server name, OUT test text, OUT ok boolean, OUT detail text) → SETOF record');
INSERT INTO api
SELECT format('ingest(stream regclass, payload %s, key bytea DEFAULT NULL::bytea, headers jsonb DEFAULT NULL::jsonb, kafka_timestamp timestamp with time zone DEFAULT NULL::timestamp with time zone, partition integer DEFAULT NULL::integer, OUT accepted bigint, OUT duplicate bigint, OUT dead_lettered bigint, OUT dropped bigint) → record', t)
FROM unnest('{text,text[],jsonb,jsonb[],bytea,bytea[]}'::text[]) t;
CREATE TEMP VIEW functions AS
SELECT p.oid, p.proname, format('%s(%s) → %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)) AS signature
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_weir'
WHERE p.pronamespace = 'weir'::regnamespace;
SELECT ok(EXISTS (SELECT FROM functions f WHERE f.signature = a.signature), 'weir.' || split_part(signature, ' →', 1)) FROM api a;

-- Every function names its arguments, so that they can be given by name.
SELECT is_empty($$ SELECT signature FROM functions, pg_proc p WHERE p.oid = functions.oid AND p.pronargs > 0
    AND (p.proargnames IS NULL OR '' = ANY (p.proargnames)) AND p.proname NOT LIKE '%validator' $$, 'arguments have names');
-- No parameter or column needs quotes.
SELECT is_empty($$ SELECT p.proname, n FROM functions, pg_proc p, unnest(p.proargnames) n
    WHERE p.oid = functions.oid AND quote_ident(n) <> n AND n NOT IN ('partition', 'columns', 'name', 'cascade', 'key') $$, 'parameters are no reserved words');
SELECT is_empty($$ SELECT attrelid::regclass, attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_get_keywords() k ON k.word = a.attname
    WHERE c.relnamespace = 'weir'::regnamespace AND k.catcode = 'R' $$, 'columns are no reserved words');

-- Views
SELECT columns_are('weir', 'dead_letters', '{id,stream_schema,stream,partition,kafka_offset,kafka_timestamp,key,value,headers,error_stage,sqlstate,message,detail,column_name,constraint_name,object_name,failed_at,replayed_at}'::name[]);
SELECT columns_are('weir', 'late_events', '{stream_schema,stream,aggregate_schema,aggregate,partition,kafka_offset,window_start,window_end,seen_at}'::name[]);
SELECT has_column('weir', 'check_results', c, 'check_results has ' || c)
FROM unnest('{run_id,check_name,target,column_name,status,observed,expected,failed_rows,total_rows,sample,duration,run_at}'::name[]) c;
SELECT is_empty($$ SELECT kind FROM weir_internal.check_kinds() WHERE to_regproc('weir.check_' || kind) IS NULL $$, 'each kind of check is a function, too');
SELECT columns_are('weir', 'derived', '{object_schema,object,kind,stream_schema,stream,source_schema,source}'::name[]);
SELECT columns_are('weir', 'alerts', '{id,source,what,severity,message,detail,first_seen,last_seen,count,acknowledged_at,acknowledged_by,resolved_at}'::name[]);
SELECT has_column('weir', 'status', c, 'status has ' || c)
FROM unnest('{stream_schema,stream,worker,state,since,last_error,next_try,watermark,held_back_by}'::name[]) c;
SELECT has_column('weir', 'stream_stats', c, 'stream_stats has ' || c)
FROM unnest('{stream_schema,stream,partition,consumed,staged,duplicate,dead_lettered,dropped,skipped,replayed,late,applied_offset,lag,gap}'::name[]) c;
SELECT has_view('weir', v, 'view ' || v) FROM unnest('{status,stream_stats,gaps,remembered_ids,dead_letters,catalog}'::name[]) v;
SELECT columns_are('weir', 'expectation_stats', '{stream_schema,stream,name,expression,on_violation,passed,failed,last_failed_at,last_failed_partition,last_failed_offset,created_at}'::name[]);
SELECT columns_are('weir', 'expectation_changes', '{stream_schema,stream,name,change,expression,on_violation,offsets,changed_at,changed_by}'::name[]);
SELECT columns_are('weir', 'gaps', '{stream_schema,stream,partition,from_offset,to_offset,offsets,cause,recorded_at,recorded_by,void_since}'::name[]);
SELECT col_type_is('weir', 'dead_letters', c, t, format('dead_letters.%s is %s', c, t))
FROM (VALUES ('id', 'bigint'), ('partition', 'integer'), ('kafka_offset', 'bigint'), ('kafka_timestamp', 'timestamp with time zone'),
    ('key', 'bytea'), ('value', 'bytea'), ('headers', 'jsonb'), ('failed_at', 'timestamp with time zone')) v (c, t);

-- The connection
SELECT has_schema('weir');
SELECT is((SELECT fdwvalidator::regproc::text FROM pg_foreign_data_wrapper WHERE fdwname = 'weir_kafka'), 'weir.weir_kafka_validator', 'wrapper with a validator');

-- Everything is described.
SELECT is_empty($$
    SELECT pg_describe_object(d.classid, d.objid, 0)
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
    WHERE e.extname = 'pg_weir' AND d.deptype = 'e' AND d.classid <> 'pg_type'::regclass
      AND d.classid <> 'pg_cast'::regclass
      AND obj_description(d.objid, d.classid::regclass::text) IS NULL
      AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND d.classid = 'pg_class'::regclass AND c.relkind IN ('i', 'S')) $$,
    'every object has a comment');

-- Settings are described and bounded.
SELECT cmp_ok((SELECT count(*) FROM pg_settings WHERE name LIKE 'weir.%'), '>=', 5::bigint, 'there are settings');
SELECT is_empty($$ SELECT name FROM pg_settings WHERE name LIKE 'weir.%' AND (short_desc IS NULL OR short_desc = '') $$, 'settings are described');
SELECT ok(EXISTS (SELECT FROM pg_settings WHERE name = s), s)
FROM unnest('{weir.batch_rows,weir.batch_bytes,weir.batch_interval,weir.synchronous_commit,weir.dead_letter_retention}'::text[]) s;

SELECT * FROM finish();
ROLLBACK;
