-- Who may use the service. Plain rows, changed and deleted in place: none of this is in the event store.
CREATE TABLE users (
  id uuid PRIMARY KEY,
  -- As the user wrote it.
  email text NOT NULL CHECK (char_length(email) <= 254),
  password_hash text NOT NULL,
  created_at timestamptz NOT NULL
);
-- Case does not tell two addresses apart. COLLATE "C": the same rule whatever the server's locale.
CREATE UNIQUE INDEX users_email ON users (lower(email COLLATE "C"));

-- Refresh tokens in force. A token is usable while its row is there and it has not expired; logout deletes the row. A login
-- is a session: its refresh token and every access token made from it name the same one. What stays open for longer than
-- a request (a WebSocket) asks by it whether there has been a logout.
CREATE TABLE refresh_tokens (
  token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  session_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
CREATE UNIQUE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE api_keys (
  key_hash bytea PRIMARY KEY CHECK (octet_length(key_hash) = 32),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  created_at timestamptz NOT NULL
);
CREATE INDEX api_keys_by_user ON api_keys (user_id);
