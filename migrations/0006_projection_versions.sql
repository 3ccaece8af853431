-- Versions of read models. The live one's tables are where the service looks and its position is in `checkpoints`; without a
-- row here it is version 1. The tables of any other are in a schema of their own (read_model_<projection>_<version>), and
-- its position is here.
CREATE TABLE projection_versions (
  projection text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  -- building: filled to become the live one. verifying: filled to be compared with it. previous: was live before.
  state text NOT NULL CHECK (state IN ('live', 'building', 'verifying', 'previous')),
  -- How far the events are in its tables.
  position bigint CHECK ((position IS NULL) = (state = 'live')),
  -- The release of Asyncly that began it: another one may fold events into other rows. NULL when the projector did.
  release text CHECK (release IS NOT NULL OR state = 'live' OR state = 'previous'),
  begun_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (projection, version),
  -- At the end of a statement: two versions change places in one.
  UNIQUE (projection, state) DEFERRABLE INITIALLY IMMEDIATE
);
