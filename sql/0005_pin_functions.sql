-- Functions of triggers run with the search_path and the rights of whoever writes. So
-- a role that may create a schema could put tables and operators of its own in the way
-- of what they do, with the writer's rights; and a writer who has no rights to
-- ai_chat_daily_limits, or another search_path, could not insert exchanges any more.
-- From now on they look in pg_catalog alone, name the schema of the tables, and have the
-- rights of the tables' owner. Nobody else may use them for triggers of his own.
--
-- Nor may anybody else make functions and operators that take ai_chat_lease: in the
-- schema of the tables, they would fit better than those of the server that take any
-- type. To read the column needs no right to the type.
DO $do$
DECLARE
  schema text := (SELECT n.nspname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = 'ai_chat_daily_limits'::regclass::oid);
BEGIN
  -- The condition on request_count is here and not in the trigger, because a column
  -- that a trigger names cannot be given another type.
  EXECUTE pg_catalog.format($make$
    CREATE OR REPLACE FUNCTION %1$I.ai_chat_raise_context_seq() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
    BEGIN
      IF NEW.request_count > OLD.request_count
          OR pg_catalog.cardinality(NEW.leases)
            < pg_catalog.cardinality(OLD.leases) THEN
        NEW.context_seq := OLD.context_seq + 1;
      END IF;
      RETURN NEW;
    END $body$ $make$, schema);

  -- It is for our sake, and so never a reason for a write of theirs to fail, or to
  -- wait for long: where the row is locked for longer, or the update fails, a copy of the
  -- context stays in use until it expires.
  EXECUTE pg_catalog.format($make$
    CREATE OR REPLACE FUNCTION %1$I.ai_chat_raise_context_seq_of_user()
    RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '100ms' AS $body$
    BEGIN
      UPDATE %1$I.ai_chat_daily_limits SET context_seq = context_seq + 1
        WHERE telegram_id = NEW.telegram_id::bigint;
      RETURN NULL;
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'could not raise context_seq of a user: %%', SQLERRM;
      RETURN NULL;
    END $body$ $make$, schema);
  EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION'
    ' %1$I.ai_chat_raise_context_seq(),'
    ' %1$I.ai_chat_raise_context_seq_of_user() FROM PUBLIC', schema);
  EXECUTE pg_catalog.format('REVOKE USAGE ON TYPE %I.ai_chat_lease FROM PUBLIC',
    schema);
END
$do$;

-- A reservation makes the list longer, and is none of these.
DROP TRIGGER ai_chat_raise_context_seq ON ai_chat_daily_limits;
CREATE TRIGGER ai_chat_raise_context_seq BEFORE UPDATE ON ai_chat_daily_limits
  FOR EACH ROW WHEN (NEW.context_seq = OLD.context_seq
    AND pg_catalog.cardinality(NEW.leases)
      <= pg_catalog.cardinality(OLD.leases))
  EXECUTE FUNCTION ai_chat_raise_context_seq();
