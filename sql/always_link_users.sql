-- Runs at every migration, because another service can create the table users
-- in a shared database later.
--
-- If a table users with a unique integer id exists, user_id references it. If
-- the table also has telegram_id, a trigger fills user_id from it. If users has
-- other columns, or the role lacks the privileges, the table is not used, with
-- a notice, because an answered chat must not fail because of another service's
-- table.
--
-- The function that fills user_id reads users with the privileges of our role,
-- and the owner of users can change the table at any time. Therefore the
-- function locks the table against changes, and then checks that reading it
-- runs no code of the owner: the table is not a view and has no row security
-- policy, and the types of its columns are compared with a number without a
-- user-defined cast. If the owner is another role, the table also has no child
-- tables, and no index or statistics with a function or an operator that is not
-- built into PostgreSQL, because the planner can run those of an index.
DO $link$
DECLARE
  schema text := (SELECT n.nspname FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = 'ai_chat_requests'::regclass::oid);
  -- If a foreign key of user_id exists, it names the table: an earlier version
  -- found the table through the search_path of the role.
  users regclass := coalesce(to_regclass('users'),
    (SELECT k.confrelid::regclass FROM pg_constraint k JOIN pg_attribute a
        ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
      WHERE k.conrelid = 'ai_chat_requests'::regclass::oid AND k.contype = 'f'
        AND pg_catalog.cardinality(k.conkey) = 1 AND a.attname = 'user_id'
      ORDER BY k.oid LIMIT 1));
  users_name text := (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = users::oid);
  id_ok boolean;
  telegram_ok boolean;
  lock text := '';
  kind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = users::oid);
  trigger_made boolean := EXISTS (SELECT FROM pg_trigger
    WHERE tgname = 'ai_chat_fill_user_id'
      AND tgrelid = 'ai_chat_requests'::regclass::oid);
BEGIN
  <<link>>
  BEGIN
    IF users IS NULL THEN
      IF trigger_made THEN
        RAISE NOTICE 'there is no table users in schema %: user_id stays empty',
          schema;
      END IF;
      EXIT link;
    END IF;

    SELECT EXISTS (
      SELECT FROM pg_index i JOIN pg_attribute a
        ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid = users::oid AND i.indisunique AND i.indnkeyatts = 1
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND a.attname = 'id'
        AND a.atttypid IN ('int4'::regtype::oid, 'int8'::regtype::oid)
    ) INTO id_ok;
    IF NOT id_ok THEN
      RAISE NOTICE 'users has no unique integer id: user_id stays empty';
      EXIT link;
    END IF;

    IF NOT EXISTS (SELECT FROM pg_constraint
        WHERE conrelid = 'ai_chat_requests'::regclass::oid
          AND conname = 'ai_chat_requests_user_id_fkey') THEN
      IF NOT has_column_privilege(users::oid, 'id', 'REFERENCES') THEN
        RAISE NOTICE 'no right to refer to users: user_id stays empty';
        EXIT link;
      END IF;
      -- When a user is deleted, user_id becomes null and the exchanges stay.
      -- The key is created as NOT VALID, because the later validation of the
      -- old rows takes no lock that blocks the service.
      EXECUTE pg_catalog.format('ALTER TABLE ai_chat_requests'
        ' ADD CONSTRAINT ai_chat_requests_user_id_fkey FOREIGN KEY (user_id)'
        ' REFERENCES %s (id) ON DELETE SET NULL NOT VALID', users_name);
      -- Used when a user is deleted, to find the rows of the user.
      CREATE INDEX IF NOT EXISTS ai_chat_requests_user_id_idx
        ON ai_chat_requests (user_id) WHERE user_id IS NOT NULL;
    END IF;

    -- An earlier service had no foreign key, so rows can contain ids of users
    -- who were deleted. New rows are checked even if the validation fails.
    IF EXISTS (SELECT FROM pg_constraint
        WHERE conrelid = 'ai_chat_requests'::regclass::oid
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
      WHERE attrelid = users::oid AND attname = 'telegram_id' AND NOT attisdropped
        AND atttypid IN ('int4'::regtype::oid, 'int8'::regtype::oid)
    ) INTO telegram_ok;
    IF NOT telegram_ok THEN
      RAISE NOTICE 'users has no integer telegram_id: user_id stays empty';
      EXIT link;
    END IF;

    -- LOCK TABLE requires the privilege on the whole table.
    IF NOT has_table_privilege(users::oid, 'SELECT') THEN
      RAISE NOTICE 'no right to read users: user_id stays empty';
      EXIT link;
    END IF;

    -- The row lock prevents the deletion of the user between the SELECT and the
    -- check of the foreign key. If another service has locked the row, SKIP
    -- LOCKED leaves user_id null, because a chat must not wait for that lock.
    -- Without the privilege for a row lock, the chat of a user who is deleted
    -- at that moment fails.
    IF has_any_column_privilege(users::oid, 'UPDATE') THEN
      lock := 'FOR KEY SHARE SKIP LOCKED';
    END IF;
    EXECUTE pg_catalog.format($make$
      CREATE OR REPLACE FUNCTION %1$I.ai_chat_fill_user_id() RETURNS trigger
      LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp
      SET row_security = off AS $body$
      BEGIN
        LOCK TABLE ONLY %2$s IN ACCESS SHARE MODE;
        IF EXISTS (SELECT FROM pg_class c
            WHERE c.oid = to_regclass(%2$L)::oid AND c.relkind = %4$L
              AND (SELECT count(*) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname IN ('id', 'telegram_id')
                  AND NOT a.attisdropped AND a.atttypid
                    IN ('int4'::regtype::oid, 'int8'::regtype::oid)) = 2
              AND (pg_get_userbyid(c.relowner) = current_user OR (c.relkind = 'r'
                AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_depend d
                  ON d.classid = 'pg_class'::regclass::oid
                    AND d.objid = i.indexrelid
                  WHERE i.indrelid = c.oid AND d.refclassid IN
                    ('pg_proc'::regclass::oid, 'pg_operator'::regclass::oid))
                AND NOT EXISTS (SELECT FROM pg_statistic_ext t JOIN pg_depend d
                  ON d.classid = 'pg_statistic_ext'::regclass::oid
                    AND d.objid = t.oid
                  WHERE t.stxrelid = c.oid AND d.refclassid IN
                    ('pg_proc'::regclass::oid,
                    'pg_operator'::regclass::oid))))) THEN
          SELECT u.id INTO NEW.user_id FROM %5$s %2$s u
            WHERE u.telegram_id = NEW.telegram_id::bigint AND u.id <= 2147483647
            ORDER BY u.id LIMIT 1 %3$s;
        END IF;
        RETURN NEW;
      EXCEPTION WHEN OTHERS THEN
        -- The table was changed. The next migration checks it again.
        NEW.user_id := NULL;
        RETURN NEW;
      END $body$ $make$, schema, users_name, lock, kind,
      -- ONLY excludes child tables. A partitioned table needs its partitions.
      CASE kind WHEN 'r' THEN 'ONLY' ELSE '' END);
    EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %I.ai_chat_fill_user_id()'
      ' FROM PUBLIC', schema);
    CREATE OR REPLACE TRIGGER ai_chat_fill_user_id
      BEFORE INSERT ON ai_chat_requests
      FOR EACH ROW WHEN (NEW.user_id IS NULL)
      EXECUTE FUNCTION ai_chat_fill_user_id();
    RETURN;
  END;
  -- The trigger of an earlier run would make each chat fail now.
  IF trigger_made THEN
    RAISE NOTICE 'the trigger that filled user_id is dropped';
    DROP TRIGGER ai_chat_fill_user_id ON ai_chat_requests;
  END IF;
END
$link$;
