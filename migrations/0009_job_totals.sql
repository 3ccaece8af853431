-- How many jobs a user has, by status: the second table of the read model `jobs`, changed in one transaction with the first, so that
-- a list tells its total without counting. A row changes with nearly every batch; there is room beside it for the next one.
CREATE TABLE job_totals (
  user_id text PRIMARY KEY,
  pending bigint NOT NULL DEFAULT 0,
  processing bigint NOT NULL DEFAULT 0,
  done bigint NOT NULL DEFAULT 0,
  failed bigint NOT NULL DEFAULT 0,
  cancelled bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- What the read model has already. Its other versions are without: a rebuild that was under way begins anew, and there is no way back
-- to what was live before it.
INSERT INTO job_totals (user_id, pending, processing, done, failed, cancelled)
  SELECT user_id, count(*) FILTER (WHERE status = 'PENDING'), count(*) FILTER (WHERE status = 'PROCESSING'),
    count(*) FILTER (WHERE status = 'DONE'), count(*) FILTER (WHERE status = 'FAILED'),
    count(*) FILTER (WHERE status = 'CANCELLED')
  FROM jobs GROUP BY user_id;
