-- Windows of event time: which of them an instant is in, and for which of them an event is late.
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- What the three functions describe can be printed and kept.
SELECT weir.tumble('1 minute');
SELECT weir.tumble('1 day', timezone => 'Europe/Berlin', shift => '6 hours');
SELECT weir.hop(size => '1 hour', slide => '10 minutes');
SELECT weir.session(gap => '30 minutes');

-- The windows of an instant, "late" unless the watermark is before their end.
CREATE FUNCTION windows(spec weir.window_spec, t timestamptz, watermark timestamptz DEFAULT '-infinity', lateness interval DEFAULT '0')
RETURNS TABLE (w text) LANGUAGE sql AS $$
    SELECT format('[%s, %s)', window_start, window_end) || CASE WHEN late THEN ' late' ELSE '' END
    FROM weir_internal.windows_of(spec, t, watermark, lateness)
$$;
-- the same in seconds of a day
CREATE FUNCTION s(float8) RETURNS timestamptz LANGUAGE sql AS $$ SELECT '2026-01-01Z'::timestamptz + $1 * interval '1 s' $$;
CREATE FUNCTION in_seconds(spec weir.window_spec, t float8, watermark float8 DEFAULT NULL, lateness interval DEFAULT '0')
RETURNS TABLE (w text) LANGUAGE sql AS $$
    SELECT format('[%s, %s)', extract(epoch FROM window_start - s(0))::float8, extract(epoch FROM window_end - s(0))::float8)
        || CASE WHEN late THEN ' late' ELSE '' END
    FROM weir_internal.windows_of(spec, s(t), coalesce(s(watermark), '-infinity'), lateness)
$$;

-- Tumble: half-open, from Monday 2000-01-03, before the origin as after it.
SELECT t, w FROM unnest('{0, 9.999999, 10, -0.000001, -10}'::float8[]) t, in_seconds(weir.tumble('10 seconds'), t) w;
SELECT t, w FROM unnest('{2000-01-03, 2000-01-02 23:59:59.999999, 1999-12-27, 1969-12-31 23:59:59, 0044-03-15 BC}'::timestamptz[]) t, windows(weir.tumble('7 days'), t) w;
SELECT extract(isodow FROM window_start) AS day_of_week FROM weir_internal.windows_of(weir.tumble('1 week'), now(), '-infinity');
-- shifted
SELECT t, w FROM unnest('{2.9, 3, 12.999}'::float8[]) t, in_seconds(weir.tumble('10 seconds', '3 seconds'), t) w;
SELECT t, w FROM unnest('{6.9, 7}'::float8[]) t, in_seconds(weir.tumble('10 seconds', '-3 seconds'), t) w;

-- Months and years begin with 2000-01-01; a zone's days have 23 or 25 hours.
SELECT t, w FROM unnest('{2024-02-29 23:59:59, 2000-01-01, 1999-12-31 23:59:59}'::timestamptz[]) t, windows(weir.tumble('1 month'), t) w;
SELECT t, w FROM unnest('{2026-05-31, 2000-01-01, 1999-11-30}'::timestamptz[]) t, windows(weir.tumble('3 months', '1 month'), t) w;
SELECT t, w FROM unnest('{2026-05-31, 1999-12-31}'::timestamptz[]) t, windows(weir.tumble('5 years'), t) w;
SELECT window_end - window_start AS hours, w.* FROM unnest('{2021-03-14 12:00, 2021-11-07 12:00, 2021-06-01 12:00}'::timestamptz[]) t,
    weir_internal.windows_of(weir.tumble('1 day', timezone => 'America/Los_Angeles'), t, '-infinity') w;
SELECT t, w FROM unnest('{2021-03-14 07:59:59.999999, 2021-03-14 08:00, 2021-03-15 06:59:59, 2021-03-15 07:00}'::timestamptz[]) t,
    windows(weir.tumble('1 day', timezone => 'America/Los_Angeles'), t) w;
SELECT t, w FROM unnest('{2026-03-31 21:59:59, 2026-03-31 22:00}'::timestamptz[]) t, windows(weir.tumble('1 month', timezone => 'Europe/Berlin'), t) w;
SELECT t, w FROM unnest('{2026-07-01 03:59, 2026-07-01 04:00}'::timestamptz[]) t, windows(weir.tumble('1 day', '6 hours', 'Europe/Berlin'), t) w;
-- a day that began at one o'clock, and one that was left out
SELECT t, w FROM unnest('{2018-11-04 02:59:59, 2018-11-04 03:00}'::timestamptz[]) t, windows(weir.tumble('1 day', timezone => 'America/Sao_Paulo'), t) w;
SELECT t, w FROM unnest('{2011-12-30 09:59:59, 2011-12-30 10:00}'::timestamptz[]) t, windows(weir.tumble('1 day', timezone => 'Pacific/Apia'), t) w;

-- Every instant of three years is in the window that says so, whatever the clock does: the windows touch.
SELECT zone, size, count(*) FILTER (WHERE NOT (window_start <= t AND t < window_end)) AS outside,
    count(*) FILTER (WHERE window_start <> before AND window_start <> before_end) AS torn
FROM (SELECT zone, size, t, window_start, window_end,
          lag(window_start) OVER w AS before, lag(window_end) OVER w AS before_end
      FROM unnest('{America/Sao_Paulo,Australia/Lord_Howe,Europe/Berlin,Pacific/Apia,Africa/Cairo}'::text[]) zone,
          unnest('{1 day,2 days,1 month}'::interval[]) size,
          generate_series('2010-12-31 00:00Z'::timestamptz, '2013-12-31Z', '20 minutes') t,
          weir_internal.windows_of(weir.tumble(size, timezone => zone), t, '-infinity')
      WINDOW w AS (PARTITION BY zone, size ORDER BY t)) x
GROUP BY zone, size HAVING count(*) FILTER (WHERE NOT (window_start <= t AND t < window_end)) > 0
    OR count(*) FILTER (WHERE window_start <> before AND window_start <> before_end) > 0;

-- Hop: every window that covers the instant. Size need not be a multiple of slide, nor greater.
SELECT t, w FROM unnest('{8, 14, 10, -1}'::float8[]) t, in_seconds(weir.hop('10 seconds', '5 seconds'), t) w;
SELECT t, w FROM unnest('{0, 1.999, 2, 9}'::float8[]) t, in_seconds(weir.hop('10 seconds', '4 seconds'), t) w;
SELECT t, w FROM unnest('{0, 2.999, 3, 4.999}'::float8[]) t LEFT JOIN LATERAL in_seconds(weir.hop('3 seconds', '5 seconds'), t) w ON true;
SELECT t, w FROM unnest('{5, 0.9}'::float8[]) t, in_seconds(weir.hop('4 seconds', '2 seconds', shift => '1 second'), t) w;
-- the plain definition says the same
SELECT size, slide, shift, t FROM
    unnest('{1,2,3,5,7,10}'::int[]) size, unnest('{1,2,3,4,7}'::int[]) slide, generate_series(0, slide - 1) shift,
    generate_series(-12, 12) t
WHERE (SELECT array_agg(window_start ORDER BY 1) FROM weir_internal.windows_of(weir.hop(size * interval '1 s', slide * interval '1 s', shift * interval '1 s'),
           '2000-01-03Z'::timestamptz + t * interval '1 s', '-infinity'))
    IS DISTINCT FROM
      (SELECT array_agg('2000-01-03Z'::timestamptz + b * interval '1 s' ORDER BY b) FROM generate_series(-40, 40) b
       WHERE (b - shift) % slide = 0 AND b <= t AND t < b + size);

-- Session: [t, t + gap) of the event alone.
SELECT * FROM in_seconds(weir.session('30 seconds'), 5);

-- Late: the watermark has reached the window's end and the allowed lateness.
SELECT mark, w FROM unnest('{29.999, 30, 89.999, 90}'::float8[]) mark, in_seconds(weir.tumble('30 seconds'), 10, mark, '60 seconds') w;
SELECT t, w FROM unnest('{8, 14}'::float8[]) t, in_seconds(weir.hop('10 seconds', '5 seconds'), t, 16) w;
SELECT mark, w FROM unnest('{4.999, 5, 5.001}'::float8[]) mark, in_seconds(weir.session('30 seconds'), 5, mark) w;
SELECT mark, w FROM unnest('{6.999, 7}'::float8[]) mark, in_seconds(weir.session('30 seconds'), 5, mark, '2 seconds') w;

-- Boundaries beyond any timestamp.
SELECT * FROM windows(weir.tumble('1 day'), '294276-12-31 23:59:59');
SELECT * FROM windows(weir.tumble('1 year'), '294276-12-31');
SELECT * FROM windows(weir.tumble('1 week'), '4714-11-24 BC');
SELECT * FROM windows(weir.session('1 day'), '294276-12-31 23:59:59');

-- What describes no window.
SELECT weir.tumble(NULL);
SELECT weir.tumble('0');
SELECT weir.tumble('-1 minute');
SELECT weir.tumble('1 month 1 day');
SELECT weir.tumble('1 hour', timezone => 'Europe/Berlin');
SELECT weir.tumble('1 day', timezone => 'Mars/Olympus');
SELECT weir.tumble('1 hour', shift => '1 hour');
SELECT weir.tumble('1 month', shift => '-1 month');
SELECT weir.tumble('2 days', shift => '1 month', timezone => 'UTC');
SELECT weir.tumble('178000000 days');
SELECT weir.hop('1 month', '1 day');
SELECT weir.hop('1 day', '0');
SELECT weir.hop('1 day', '1 hour', '-61 minutes');
SELECT weir.hop('1 day', NULL);
SELECT weir.session('0');
SELECT weir.session('1 year');
SELECT * FROM weir_internal.windows_of(ROW('wave', NULL, NULL, NULL, NULL, NULL)::weir.window_spec, now(), now());
SELECT * FROM weir_internal.windows_of(ROW(NULL, NULL, NULL, NULL, NULL, NULL)::weir.window_spec, now(), now());
SELECT * FROM weir_internal.windows_of(weir.tumble('1 day'), now(), now(), '1 month');
