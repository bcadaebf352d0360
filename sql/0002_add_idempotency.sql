-- What a repeat of a chat under the same Idempotency-Key has to find: whether it asks
-- the same, and what the first one was told. Of the key there is a hash in the first
-- half of chat_id. Rows of chats without a key, and of other writers, have no digest.
ALTER TABLE ai_chat_requests
  ADD COLUMN IF NOT EXISTS key_digest bytea,
  ADD COLUMN IF NOT EXISTS remaining_requests int;
