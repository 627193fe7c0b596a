-- Windows of event time.

CREATE TYPE weir.window_spec AS (
    kind text,
    size interval,
    slide interval,
    shift interval,
    timezone text,
    gap interval);
COMMENT ON TYPE weir.window_spec IS 'Windows of event time, as weir.tumble, weir.hop and weir.session describe them';

CREATE FUNCTION weir.tumble(size interval, shift interval DEFAULT '0', timezone text DEFAULT NULL)
    RETURNS weir.window_spec
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_tumble';
COMMENT ON FUNCTION weir.tumble(interval, interval, text) IS
'Windows of one length side by side, [start, end), counted from Monday, 2000-01-03 00:00 UTC, those of months from 2000-01-01. shift moves every boundary, by less than size. With a timezone, size is whole days or months of its calendar, where a day may have 23 or 25 hours.';

CREATE FUNCTION weir.hop(size interval, slide interval, shift interval DEFAULT '0')
    RETURNS weir.window_spec
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_hop';
COMMENT ON FUNCTION weir.hop(interval, interval, interval) IS
'Windows of one length, [start, start + size), one beginning every slide, counted from Monday, 2000-01-03 00:00 UTC. An event is in every window that covers it. All lengths are fixed: no months. shift moves every boundary, by less than slide.';

CREATE FUNCTION weir.session(gap interval)
    RETURNS weir.window_spec
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'weir_session';
COMMENT ON FUNCTION weir.session(interval) IS
'Windows that last as long as a group''s events follow each other within gap: from the first event to gap after the last. Two events exactly gap apart are one session. gap is of fixed length: no months.';

CREATE FUNCTION weir_internal.windows_of(
    spec weir.window_spec,
    event_time timestamptz,
    watermark timestamptz,
    allowed_lateness interval DEFAULT '0',
    OUT window_start timestamptz, OUT window_end timestamptz, OUT late boolean)
    RETURNS SETOF record
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 2 AS 'MODULE_PATHNAME', 'weir_windows_of';
COMMENT ON FUNCTION weir_internal.windows_of(weir.window_spec, timestamptz, timestamptz, interval) IS
'The windows that an event is in, and whether it comes too late for each, given the watermark of its partition before it. A session is shown as if the event were alone in it.';
