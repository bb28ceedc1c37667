-- phase: pre
-- The roles of manual 7.2. The login that migrates (RDS: `postgres`) is no superuser: it becomes a member of
-- `admin`, which owns everything, and later files begin by turning into it.

DO $$
DECLARE
  role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['admin', 'lambda_exec', 'readonly'] LOOP
    -- Roles belong to the cluster: another database of it may have made them already.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
      EXECUTE format('CREATE ROLE %I NOSUPERUSER NOBYPASSRLS %s', role_name,
                     CASE role_name WHEN 'admin' THEN 'NOLOGIN' ELSE 'LOGIN' END);
    END IF;
    -- Where RDS offers sign-in by IAM token, the runtime roles use nothing else.
    IF role_name <> 'admin' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam') THEN
      EXECUTE format('GRANT rds_iam TO %I', role_name);
    END IF;
  END LOOP;
  ALTER ROLE readonly SET default_transaction_read_only = on;

  -- The runtime roles too, so that where one DATABASE_URL serves all, its login can become each of them.
  FOREACH role_name IN ARRAY ARRAY['admin', 'lambda_exec', 'readonly'] LOOP
    IF NOT pg_has_role(current_user, role_name, 'USAGE') THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
    END IF;
  END LOOP;

  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO admin', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO lambda_exec, readonly', current_database());
END
$$;

-- Trusted extensions: the owner of the database may create them. They serve the search of memories.
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA public;

ALTER SCHEMA app OWNER TO admin;
ALTER TABLE app.schema_migration OWNER TO admin;
