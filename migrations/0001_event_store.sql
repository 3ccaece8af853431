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

-- Carries out appends one after the other in one transaction. Append i writes the next `counts[i]` elements of the
-- event arrays to streams[i]. expected: -2 any, -1 no stream, else the revision of the last event. Returns one row an append:
-- its last revision, or, when the stream is elsewhere, the actual one (-1: no stream). It never raises on a conflict, so
-- that one append does not undo its neighbours.
-- Ids that stand already where the append would have put them are the repetition of an append whose reply was lost.
CREATE FUNCTION eventstore.append(
  streams text[], expected integer[], counts integer[],
  ids uuid[], types text[], datas json[], metadatas json[], sizes integer[]
) RETURNS TABLE (appended boolean, revision integer)
LANGUAGE plpgsql VOLATILE
-- The plans are kept for the life of a session: made on a small table, they would scan it all when it has grown.
SET enable_seqscan = off
AS $$
DECLARE
  last integer;
  before integer;
  first integer := 1;
  past integer;
BEGIN
  -- One writer at a time until commit. Without it a reader at position p could miss a smaller one that commits later.
  PERFORM pg_advisory_xact_lock(7305228461);
  FOR i IN 1 .. cardinality(streams) LOOP
    past := first + counts[i];
    SELECT e.revision INTO last FROM eventstore.events e
      WHERE e.stream = streams[i] ORDER BY e.revision DESC LIMIT 1;
    last := coalesce(last, -1);
    before := expected[i];
    IF before = -2 THEN
      -- Only the newest events are looked at: a lost reply is asked for again within seconds.
      SELECT e.revision - 1 INTO before FROM eventstore.events e
        WHERE e.stream = streams[i] AND e.revision > last - 64 AND e.id = ids[first]
        ORDER BY e.revision DESC LIMIT 1;
      before := coalesce(before, last);
    END IF;
    IF before = last THEN
      INSERT INTO eventstore.events (stream, revision, id, type, data, metadata, size)
        SELECT streams[i], last + 1 + n - first, ids[n], types[n], datas[n], metadatas[n], sizes[n]
        FROM generate_series(first, past - 1) AS n;
      appended := true;
      revision := last + counts[i];
    ELSE
      appended := last >= before + counts[i] AND NOT EXISTS (
        SELECT FROM generate_series(first, past - 1) AS n
        LEFT JOIN eventstore.events e ON e.stream = streams[i] AND e.revision = before + 1 + n - first
        WHERE e.id IS DISTINCT FROM ids[n]
      );
      revision := CASE WHEN appended THEN before + counts[i] ELSE last END;
    END IF;
    RETURN NEXT;
    first := past;
  END LOOP;
END
$$;
