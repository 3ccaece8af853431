-- A login is a session: its refresh token and every access token made from it name the same one. What stays open for longer
-- than a request (a WebSocket) asks by it whether there has been a logout. Tokens from before have no session and are void.
DELETE FROM refresh_tokens;
ALTER TABLE refresh_tokens ADD COLUMN session_id uuid NOT NULL;
CREATE UNIQUE INDEX refresh_tokens_session ON refresh_tokens (session_id);
