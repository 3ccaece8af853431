-- The audit trail's own memory: see docs/audit-format.md. Rows follow from the events alone, wherever batches were cut.

-- Hashes of the events in the order of the store, 32 to a row: row n has those of events 32n + 1 to 32n + 32.
CREATE TABLE audit_hashes (
  page bigint PRIMARY KEY CHECK (page >= 0),
  hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 1024 AND octet_length(hashes) % 32 = 0)
);
-- They do not compress, and a full row stays below the size from which Postgres would try.
ALTER TABLE audit_hashes ALTER COLUMN hashes SET STORAGE PLAIN;

-- One row every 1,024 events: the chain over all events up to the last of them.
CREATE TABLE audit_seals (
  number bigint PRIMARY KEY CHECK (number >= 1),
  chain bytea NOT NULL CHECK (octet_length(chain) = 32),
  -- Of its last event, in the store that the events were read from.
  position bigint NOT NULL,
  -- The span of its events' occurredAt; NULL when none has a time.
  earliest timestamptz,
  latest timestamptz
);

-- Where the chain stands, with the span of the events that no seal has yet.
CREATE TABLE audit_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  events bigint NOT NULL,
  chain bytea NOT NULL CHECK (octet_length(chain) = 32),
  earliest timestamptz,
  latest timestamptz
);

-- What was signed, by whom and when. Belongs to no read model: made anew from other events, seals shall contradict it.
CREATE TABLE audit_signatures (
  -- How many events the chain covers, from the first one on.
  events bigint NOT NULL CHECK (events >= 1),
  chain bytea NOT NULL CHECK (octet_length(chain) = 32),
  key_id text NOT NULL,
  signed_at timestamptz NOT NULL,
  signature bytea NOT NULL CHECK (octet_length(signature) = 64),
  PRIMARY KEY (events, key_id)
);
