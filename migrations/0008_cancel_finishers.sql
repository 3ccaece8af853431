-- The dispatcher looks for cancels that are due twice a second: not through all the other work that is.
CREATE INDEX open_work_cancels ON open_work (due_at) WHERE kind = 'cancel-finisher';
