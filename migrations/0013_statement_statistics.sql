-- phase: pre
-- The statements that took most time, for `loglineos xray`. The extension is no trusted one: RDS lets its master make it,
-- and has the library loaded; elsewhere a superuser does. Nothing depends on it: without it, xray says what to do.

DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
  RAISE NOTICE 'pg_stat_statements was not made: %', SQLERRM;
END
$$;
