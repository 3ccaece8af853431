-- Where each projection (and the dispatcher) stands in the event store's order. -1: before the first event.
CREATE TABLE checkpoints (
  name text PRIMARY KEY,
  position bigint NOT NULL DEFAULT -1,
  -- Set when an event could not be applied: the consumer stopped in front of it.
  failed_event_id uuid,
  error text,
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- Who runs a service that may run only once. Judged by the database's clock.
CREATE TABLE leases (
  name text PRIMARY KEY,
  holder uuid NOT NULL,
  expires_at timestamptz NOT NULL
);

-- One row a job: what its stream folds to. json, not jsonb, keeps the client's bytes and the order of its keys.
CREATE TABLE jobs (
  id uuid PRIMARY KEY,
  user_id text NOT NULL,
  type text NOT NULL,
  payload json NOT NULL,
  webhook_url text,
  webhook_events json NOT NULL,
  status text NOT NULL CHECK (status IN ('PENDING', 'PROCESSING', 'DONE', 'FAILED', 'CANCELLED')),
  result json,
  error text,
  round integer NOT NULL,
  attempt integer NOT NULL,
  max_attempts integer,
  timeout_ms integer,
  due_at timestamptz,
  execution_id uuid,
  worker_id text,
  heartbeat integer,
  takeovers integer NOT NULL,
  cancel_requested boolean NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  revision integer NOT NULL,
  CHECK ((status = 'PROCESSING') = (execution_id IS NOT NULL)),
  CHECK ((execution_id IS NULL) = (worker_id IS NULL) AND (execution_id IS NULL) = (heartbeat IS NULL))
);
CREATE INDEX jobs_by_user ON jobs (user_id, created_at DESC, id DESC);
CREATE INDEX jobs_by_user_status ON jobs (user_id, status, created_at DESC, id DESC);

-- One row a log line. The id follows from the event and the line's number, so a replay gives the same rows.
CREATE TABLE job_logs (
  id uuid PRIMARY KEY,
  job_id uuid NOT NULL,
  position bigint NOT NULL,
  line smallint NOT NULL,
  message text NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX job_logs_in_order ON job_logs (job_id, position, line);
