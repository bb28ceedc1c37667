-- phase: pre
-- The statements that took most time, for `loglineos xray`. RDS has the library loaded; the extension is no trusted one,
-- so only its rds_superuser can make it. Elsewhere a superuser does, or xray says what to do.

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser') THEN
    IF pg_has_role(current_user, 'rds_superuser', 'MEMBER') THEN
      CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public;
    END IF;
  END IF;
END
$$;
