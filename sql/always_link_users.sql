-- Run at every migration: a shared database may have gained its users table since.
--
-- Where there is a table users with a unique integer id, user_id refers to it; where it
-- has telegram_id as well, user_id is filled from it. A users table of another
-- shape, or one that we have no rights to, is left alone, with a notice: an answered
-- chat must not be lost to a table that is not ours. For the same reason the function
-- that fills it reads a table alone, and not a view or a row security policy: their
-- functions would run with our rights.
DO $link$
DECLARE
  schema text := (SELECT n.nspname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = 'ai_chat_requests'::regclass);
  users regclass := to_regclass('users');
  users_name text := (SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = users);
  id_ok boolean;
  telegram_ok boolean;
  lock text := '';
BEGIN
  <<link>>
  BEGIN
    IF users IS NULL THEN
      EXIT link;
    END IF;

    SELECT EXISTS (
      SELECT FROM pg_index i JOIN pg_attribute a
        ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid = users AND i.indisunique AND i.indnkeyatts = 1
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND a.attname = 'id' AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)
    ) INTO id_ok;
    IF NOT id_ok THEN
      RAISE NOTICE 'users has no unique integer id: user_id stays empty';
      EXIT link;
    END IF;

    IF NOT EXISTS (SELECT FROM pg_constraint
        WHERE conrelid = 'ai_chat_requests'::regclass
          AND conname = 'ai_chat_requests_user_id_fkey') THEN
      IF NOT has_column_privilege(users, 'id', 'REFERENCES') THEN
        RAISE NOTICE 'no right to refer to users: user_id stays empty';
        EXIT link;
      END IF;
      -- A person who leaves takes the link along, not the history. Not valid first:
      -- old rows are checked without a lock that stops the service.
      EXECUTE format('ALTER TABLE ai_chat_requests'
        ' ADD CONSTRAINT ai_chat_requests_user_id_fkey FOREIGN KEY (user_id)'
        ' REFERENCES %s (id) ON DELETE SET NULL NOT VALID', users_name);
      -- Deleting a user looks for his rows.
      CREATE INDEX IF NOT EXISTS ai_chat_requests_user_id_idx
        ON ai_chat_requests (user_id) WHERE user_id IS NOT NULL;
    END IF;

    -- An earlier service had no foreign key, so there may be numbers of users who are
    -- gone. New rows are checked all the same.
    IF EXISTS (SELECT FROM pg_constraint
        WHERE conrelid = 'ai_chat_requests'::regclass
          AND conname = 'ai_chat_requests_user_id_fkey'
          AND NOT convalidated) THEN
      BEGIN
        ALTER TABLE ai_chat_requests
          VALIDATE CONSTRAINT ai_chat_requests_user_id_fkey;
      EXCEPTION WHEN foreign_key_violation THEN
        RAISE NOTICE 'rows of ai_chat_requests have a user_id that users does not'
          ' have: the foreign key is NOT VALID, and checks new rows alone';
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'no right to read users: the foreign key is NOT VALID, and'
          ' checks new rows alone';
      END;
    END IF;

    SELECT EXISTS (SELECT FROM pg_attribute
      WHERE attrelid = users AND attname = 'telegram_id' AND NOT attisdropped
        AND atttypid IN ('int4'::regtype, 'int8'::regtype)
    ) INTO telegram_ok;
    IF NOT telegram_ok THEN
      RAISE NOTICE 'users has no integer telegram_id: user_id stays empty';
      EXIT link;
    END IF;

    IF NOT has_column_privilege(users, 'id', 'SELECT')
        OR NOT has_column_privilege(users, 'telegram_id', 'SELECT') THEN
      RAISE NOTICE 'no right to read users: user_id stays empty';
      EXIT link;
    END IF;

    -- The lock keeps the user from being deleted between the look at him and the check
    -- of the foreign key; one that another service holds for long is passed over, for a
    -- chat must not wait for it. Without the right to it that may happen, and the chat of one
    -- who is deleted at that very moment fails.
    IF has_any_column_privilege(users, 'UPDATE') THEN
      lock := 'FOR KEY SHARE SKIP LOCKED';
    END IF;
    EXECUTE format($make$
      CREATE OR REPLACE FUNCTION %1$I.ai_chat_fill_user_id() RETURNS trigger
      LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, %1$I, pg_temp
      SET row_security = off AS $body$
      BEGIN
        IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%2$L)
            AND relkind IN ('r', 'p')) THEN
          SELECT u.id INTO NEW.user_id FROM %2$s u
            WHERE u.telegram_id = NEW.telegram_id AND u.id <= 2147483647
            ORDER BY u.id LIMIT 1 %3$s;
        END IF;
        RETURN NEW;
      EXCEPTION WHEN OTHERS THEN
        -- It was changed since; the next migration has a look.
        NEW.user_id := NULL;
        RETURN NEW;
      END $body$ $make$, schema, users_name, lock);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %I.ai_chat_fill_user_id()'
      ' FROM PUBLIC', schema);
    CREATE OR REPLACE TRIGGER ai_chat_fill_user_id
      BEFORE INSERT ON ai_chat_requests
      FOR EACH ROW WHEN (NEW.user_id IS NULL)
      EXECUTE FUNCTION ai_chat_fill_user_id();
    RETURN;
  END;
  -- What an earlier run made would now fail, and the chats with it.
  IF EXISTS (SELECT FROM pg_trigger WHERE tgname = 'ai_chat_fill_user_id'
      AND tgrelid = 'ai_chat_requests'::regclass) THEN
    DROP TRIGGER ai_chat_fill_user_id ON ai_chat_requests;
  END IF;
END
$link$;
