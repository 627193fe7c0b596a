-- What it came to, for demo/run, which sets :messages, what the topic holds.
\pset tuples_only on
\pset format unaligned

SELECT rpad(label, 24) || value
FROM (SELECT sum(consumed) AS consumed, sum(staged) AS staged, sum(dead_lettered) AS dead_lettered,
             bool_and(balanced) AS balanced
      FROM weir.audit('sensors')) a,
     LATERAL (VALUES
         ('messages in the topic', :'messages'),
         ('consumed', consumed::text),
         ('staged', staged::text),
         ('dead-lettered', dead_lettered::text),
         ('in the aggregate', (SELECT readings::text FROM readings_ever)),
         ('audit balanced', CASE WHEN balanced THEN 'yes' ELSE 'no' END)
     ) v (label, value);
