-- Functions of triggers run with the search_path and the rights of whoever writes. So
-- a role that may create a schema could put tables and operators of its own in the way
-- of what they do, with the writer's rights; and a writer who has no rights to
-- ai_chat_daily_limits, or another search_path, could not insert exchanges any more.
-- From now on they name their schema, look nowhere else, and have the rights of the
-- tables' owner. Nobody else may use them for triggers of his own.
DO $do$
DECLARE
  schema text := (SELECT n.nspname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = 'ai_chat_daily_limits'::regclass);
BEGIN
  -- The condition on request_count is here and not in the trigger, because a column
  -- that a trigger names cannot be given another type.
  EXECUTE format($make$
    CREATE OR REPLACE FUNCTION %1$I.ai_chat_raise_context_seq() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, %1$I, pg_temp AS $body$
    BEGIN
      IF NEW.request_count > OLD.request_count
          OR cardinality(NEW.leases) < cardinality(OLD.leases) THEN
        NEW.context_seq := OLD.context_seq + 1;
      END IF;
      RETURN NEW;
    END $body$ $make$, schema);

  -- It is for our sake, and so never a reason for a write of theirs to fail, or to
  -- wait for long: where the row is locked for longer, or the update fails, a copy of the
  -- context stays in use until it expires.
  EXECUTE format($make$
    CREATE OR REPLACE FUNCTION %1$I.ai_chat_raise_context_seq_of_user()
    RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, %1$I, pg_temp
    SET lock_timeout = '100ms' AS $body$
    BEGIN
      UPDATE %1$I.ai_chat_daily_limits SET context_seq = context_seq + 1
        WHERE telegram_id = NEW.telegram_id;
      RETURN NULL;
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'could not raise context_seq of a user: %%', SQLERRM;
      RETURN NULL;
    END $body$ $make$, schema);
  EXECUTE format('REVOKE EXECUTE ON FUNCTION'
    ' %1$I.ai_chat_raise_context_seq(),'
    ' %1$I.ai_chat_raise_context_seq_of_user() FROM PUBLIC', schema);
END
$do$;

-- A reservation makes the list longer, and is none of these.
DROP TRIGGER ai_chat_raise_context_seq ON ai_chat_daily_limits;
CREATE TRIGGER ai_chat_raise_context_seq BEFORE UPDATE ON ai_chat_daily_limits
  FOR EACH ROW WHEN (NEW.context_seq = OLD.context_seq
    AND cardinality(NEW.leases) <= cardinality(OLD.leases))
  EXECUTE FUNCTION ai_chat_raise_context_seq();
