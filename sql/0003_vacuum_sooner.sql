-- Exchanges that were pruned leave room for new ones once they have been vacuumed. By
-- itself that begins when a fifth of the table is dead, which is a million rows of
-- five, and then takes long; sooner and shorter is cheaper, and keeps the table at its
-- size. Texts over 2 KB live in a table of their own, which has its own figures.
--
-- The end of the table is not given back to the disk: that takes a lock which chats,
-- and queries on replicas, would wait for, and new exchanges need the room anyway.
--
-- No index for pruning: it walks the primary key. One on created_at would cost every
-- chat, and could only be built here with writes locked out: 0.9 s for two million rows
-- of 1 KB in memory (BRIN: 0.7 s), and as long as it takes to read the table where it
-- is on the disk. What is set here waits for a vacuum that is under way, and for nobody
-- else.
ALTER TABLE ai_chat_requests SET (
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 1000,
  toast.autovacuum_vacuum_scale_factor = 0.02,
  toast.autovacuum_vacuum_threshold = 1000,
  vacuum_truncate = off,
  toast.vacuum_truncate = off
);
