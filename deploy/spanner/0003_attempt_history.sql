-- What became of every attempt. Written with what is written anyway, so that it costs no commit of its own.
ALTER TABLE NestEventForward ADD COLUMN history ARRAY<STRING(MAX)>;  -- the oldest first; shared/attempt_history.py
