-- What must still happen, kept by the dispatcher from the events alone. The queue is a copy of it that may be lost.
CREATE TABLE open_work (
  kind text NOT NULL CHECK (kind IN ('job', 'webhook', 'cancel-finisher')),
  job_id uuid NOT NULL,
  round integer NOT NULL,
  attempt integer NOT NULL,
  due_at timestamptz NOT NULL,
  PRIMARY KEY (kind, job_id, round, attempt)
);
CREATE INDEX open_work_due ON open_work (due_at, kind, job_id, round, attempt);
-- The dispatcher looks for cancels that are due twice a second: not through all the other work that is.
CREATE INDEX open_work_cancels ON open_work (due_at) WHERE kind = 'cancel-finisher';

-- The queue's epoch as the reconciler last wrote it into the queue itself: when the queue has another one, it lost data.
CREATE TABLE queue_epoch (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  epoch bigint NOT NULL
);

-- One row a worker process, renewed every 2 s. Dead after 10 s by the database's clock.
CREATE TABLE workers (
  worker_id text PRIMARY KEY,
  heartbeat integer NOT NULL,
  executions uuid[] NOT NULL,
  handler_types text[] NOT NULL,
  beat_at timestamptz NOT NULL
);
