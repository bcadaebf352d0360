-- Where a user's conversation begins: exchanges from before it are history, and not
-- context. And the number of what the context is made of: each save and each new
-- conversation raises it, so whoever keeps a copy of the context can tell whether it is
-- the newest.
ALTER TABLE ai_chat_daily_limits
  ADD COLUMN IF NOT EXISTS context_from timestamptz,
  ADD COLUMN IF NOT EXISTS context_seq bigint NOT NULL DEFAULT 0;

-- A worker of an earlier version, and whoever else writes exchanges, knows nothing of
-- that number. A save of theirs counts, or uses a reservation up; a reservation that is
-- given back looks the same, and then a copy is thrown away for nothing.
CREATE OR REPLACE FUNCTION ai_chat_raise_context_seq() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  NEW.context_seq := OLD.context_seq + 1;
  RETURN NEW;
END $$;

DROP TRIGGER IF EXISTS ai_chat_raise_context_seq ON ai_chat_daily_limits;
CREATE TRIGGER ai_chat_raise_context_seq BEFORE UPDATE ON ai_chat_daily_limits
  FOR EACH ROW WHEN (NEW.context_seq = OLD.context_seq
    AND (NEW.request_count > OLD.request_count
      OR cardinality(NEW.leases) < cardinality(OLD.leases)))
  EXECUTE FUNCTION ai_chat_raise_context_seq();

-- Their exchanges have no chat_id.
CREATE OR REPLACE FUNCTION ai_chat_raise_context_seq_of_user() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ai_chat_daily_limits SET context_seq = context_seq + 1
    WHERE telegram_id = NEW.telegram_id;
  RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS ai_chat_raise_context_seq ON ai_chat_requests;
CREATE TRIGGER ai_chat_raise_context_seq AFTER INSERT ON ai_chat_requests
  FOR EACH ROW WHEN (NEW.chat_id IS NULL)
  EXECUTE FUNCTION ai_chat_raise_context_seq_of_user();
