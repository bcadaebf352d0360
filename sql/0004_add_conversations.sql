-- Where a user's conversation begins: exchanges from before it are history, and not
-- context. And the number of what the context is made of: each save and each new
-- conversation raises it, so whoever keeps a copy of the context can tell whether it is
-- the newest.
ALTER TABLE ai_chat_daily_limits
  ADD COLUMN IF NOT EXISTS context_from timestamptz,
  ADD COLUMN IF NOT EXISTS context_seq bigint NOT NULL DEFAULT 0;
