-- One row for each user, UTC day and job type on which something happened. Durations are whole milliseconds; a histogram is
-- two arrays: bucket numbers in rising order, and how many durations fell into each (src/projections/job-stats/durations.ts).
CREATE TABLE job_stats (
  user_id text NOT NULL,
  day date NOT NULL,
  type text NOT NULL,
  created integer NOT NULL,
  done integer NOT NULL,
  failed integer NOT NULL,
  cancelled integer NOT NULL,
  retried integer NOT NULL,
  wait_count integer NOT NULL,
  wait_ms bigint NOT NULL,
  -- What the histogram gives, kept so that a row can be shown without it; null without a duration.
  wait_p95_ms bigint,
  wait_buckets smallint[] NOT NULL,
  wait_counts integer[] NOT NULL,
  run_count integer NOT NULL,
  run_ms bigint NOT NULL,
  run_p95_ms bigint,
  run_buckets smallint[] NOT NULL,
  run_counts integer[] NOT NULL,
  PRIMARY KEY (user_id, day, type),
  CHECK (cardinality(wait_buckets) = cardinality(wait_counts) AND (wait_count = 0) = (wait_p95_ms IS NULL)),
  CHECK (cardinality(run_buckets) = cardinality(run_counts) AND (run_count = 0) = (run_p95_ms IS NULL))
);

-- What the next event of a job is counted with. One row a job that is not DONE: nothing comes after DONE, while a FAILED or CANCELLED job
-- may be submitted again at any time.
CREATE TABLE job_stats_jobs (
  id uuid PRIMARY KEY,
  user_id text NOT NULL,
  type text NOT NULL,
  -- PENDING: since when it could have run.
  due_at timestamptz,
  -- PROCESSING: when the execution under way began.
  started_at timestamptz,
  CHECK (due_at IS NULL OR started_at IS NULL)
);
