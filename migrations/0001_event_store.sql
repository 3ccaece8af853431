CREATE SCHEMA eventstore;

-- The log: the only truth. Written by eventstore.append alone, never updated, never deleted.
CREATE TABLE eventstore.events (
  -- Drawn under the append lock and without a cache: the order of positions is the order of commits. Holes mean nothing.
  position bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) UNIQUE,
  stream text NOT NULL,
  revision integer NOT NULL CHECK (revision >= 0),
  id uuid NOT NULL,
  type text NOT NULL,
  -- json, not jsonb: \u0000 and lone surrogates survive, numbers and the order of keys stay as written.
  data json NOT NULL,
  metadata json NOT NULL,
  -- Bytes of data and metadata, so that a reader can bound a page without unpacking them.
  size integer NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, revision)
);

-- Carries out appends one after the other in one transaction. Append i writes the next counts[i] elements of the event
-- arrays; events[n] goes to streams[targets[n]], and a stream stands in `streams` once. expected: -2 any, -1 no stream,
-- else the revision of the last event. Returns one row an append, in order: its last revision, or, when the stream is
-- elsewhere, the actual one (-1: no stream). Never raises on a conflict, so that one append does not undo its neighbours.
-- Ids that already stand where the append would have put them are the repetition of an append whose reply was lost.
CREATE FUNCTION eventstore.append(
  streams text[], expected integer[], counts integer[],
  targets integer[], ids uuid[], types text[], datas json[], metadatas json[], sizes integer[]
) RETURNS TABLE (appended boolean, revision integer)
LANGUAGE plpgsql VOLATILE
-- The plans are kept for the life of a session: made on a small table, they would scan it all when it has grown.
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  -- Each stream's last revision, moved on as the appends are carried out.
  lasts integer[];
  -- For appends that expect nothing: the revision that their first event has already.
  repeated integer[];
  -- Where each event goes; NULL when its append writes nothing.
  revisions integer[] := array_fill(NULL::integer, ARRAY[cardinality(ids)]);
  oks boolean[] := array_fill(false, ARRAY[cardinality(expected)]);
  results integer[] := array_fill(-1, ARRAY[cardinality(expected)]);
  target integer;
  last integer;
  before integer;
  first integer;
  past integer := 1;
BEGIN
  -- One writer at a time until commit. Without it a reader at position p could miss a smaller one that commits later.
  PERFORM pg_advisory_xact_lock(7305228461);

  SELECT array_agg(coalesce(
      (SELECT e.revision FROM eventstore.events e WHERE e.stream = s.name ORDER BY e.revision DESC LIMIT 1), -1
    ) ORDER BY s.n) INTO lasts
    FROM unnest(streams) WITH ORDINALITY AS s (name, n);

  IF -2 = ANY (expected) THEN
    -- Only the newest events are looked at, as many as the append has and some of others': a lost reply is asked for again
    -- within seconds.
    SELECT array_agg((
        SELECT max(e.revision) FROM eventstore.events e
        WHERE a.expected = -2 AND e.stream = streams[targets[a.first]] AND e.id = ids[a.first]
          AND e.revision > lasts[targets[a.first]] - a.count - 16
      ) ORDER BY a.n) INTO repeated
      FROM (
        SELECT u.expected, u.count, u.n, (1 + sum(u.count) OVER (ORDER BY u.n) - u.count)::integer AS first
        FROM unnest(expected, counts) WITH ORDINALITY AS u (expected, count, n)
      ) a;
  END IF;

  FOR i IN 1 .. cardinality(expected) LOOP
    first := past;
    past := first + counts[i];
    target := targets[first];
    last := lasts[target];
    before := CASE WHEN expected[i] = -2 THEN coalesce(repeated[i] - 1, last) ELSE expected[i] END;
    IF before = last THEN
      FOR n IN first .. past - 1 LOOP
        last := last + 1;
        revisions[n] := last;
      END LOOP;
      lasts[target] := last;
      oks[i] := true;
    ELSIF last >= before + counts[i] THEN
      -- The events there are in the table, or come earlier in this very batch.
      oks[i] := NOT EXISTS (
        SELECT FROM generate_series(first, past - 1) AS n
        WHERE ids[n] IS DISTINCT FROM coalesce(
          (SELECT e.id FROM eventstore.events e WHERE e.stream = streams[target] AND e.revision = before + 1 + n - first),
          (SELECT ids[k] FROM generate_series(1, first - 1) AS k
            WHERE targets[k] = target AND revisions[k] = before + 1 + n - first)
        )
      );
      IF oks[i] THEN
        last := before + counts[i];
      END IF;
    END IF;
    results[i] := last;
  END LOOP;

  INSERT INTO eventstore.events (stream, revision, id, type, data, metadata, size)
    SELECT streams[u.target], u.revision, u.id, u.type, u.data, u.metadata, u.size
    FROM unnest(targets, revisions, ids, types, datas, metadatas, sizes) WITH ORDINALITY
      AS u (target, revision, id, type, data, metadata, size, n)
    WHERE u.revision IS NOT NULL ORDER BY u.n;

  RETURN QUERY SELECT * FROM unnest(oks, results);
END
$$;
