-- One row an attempt to deliver a webhook. The id is the event's, so a replay gives the same rows.
CREATE TABLE webhook_logs (
  id uuid PRIMARY KEY,
  job_id uuid NOT NULL,
  position bigint NOT NULL,
  url text NOT NULL,
  -- json, not jsonb: what was sent, byte for byte.
  payload json NOT NULL,
  status_code integer,
  success boolean NOT NULL,
  attempt integer NOT NULL,
  error text,
  created_at timestamptz NOT NULL,
  CHECK (success = (error IS NULL)),
  CHECK (NOT success OR status_code IS NOT NULL)
);
CREATE UNIQUE INDEX webhook_logs_in_order ON webhook_logs (job_id, position);

-- What webhooks to a user's receivers are signed with. Identity data: plain rows, changed in place, never in the event store.
CREATE TABLE webhook_secrets (
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  secret bytea NOT NULL CHECK (octet_length(secret) BETWEEN 24 AND 64),
  created_at timestamptz NOT NULL,
  -- null for the present one; one that was rotated away signs beside it until then.
  expires_at timestamptz,
  PRIMARY KEY (user_id, secret)
);
CREATE UNIQUE INDEX webhook_secrets_present ON webhook_secrets (user_id) WHERE expires_at IS NULL;
