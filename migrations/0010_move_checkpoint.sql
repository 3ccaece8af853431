-- Moves a consumer's checkpoint or fails, so that nothing that was sent along with it in the same transaction happens either.
CREATE FUNCTION move_checkpoint(consumer text, expected bigint, reached bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE checkpoints SET position = reached, failed_event_id = NULL, error = NULL, updated_at = now()
    WHERE name = consumer AND position = expected;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'The checkpoint of % does not stand at %', consumer, expected USING ERRCODE = 'AS001';
  END IF;
END $$;
