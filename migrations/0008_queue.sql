-- phase: pre
-- What is to be done, found without reading the ledger: requests that are pending and functions that are scheduled.
-- Both tables follow the spans by triggers and can be built again from them at any time: an index, not a truth.
-- The functions that cross tenants answer ids, tenants and owners only; a worker then acts as that owner.

SET LOCAL ROLE admin;

-- An instant or a count that stands in a span's metadata; null where it is none. A span must never fail to be
-- appended because of what an index makes of it.
CREATE FUNCTION ledger_idx.instant(p_text text) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- As the ledger writes them: no 'now', no 'infinity', no year that other programs cannot hold.
  IF p_text ~ '^[12]\d{3}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$' THEN
    RETURN p_text::timestamptz;
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END
$$;

CREATE FUNCTION ledger_idx.attempts(p_metadata jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN p_metadata ->> 'attempt' ~ '^[0-9]{1,4}$' THEN (p_metadata ->> 'attempt')::integer ELSE 0 END
$$;

-- Requests ------------------------------------------------------------------------------------------------

CREATE TABLE ledger_idx.pending (
  request_id  uuid        PRIMARY KEY,
  tenant_id   text        NOT NULL,
  owner_id    text        NOT NULL,
  function_id uuid,
  status      text        NOT NULL,  -- scheduled or running
  ready_at    timestamptz NOT NULL,  -- when it may be claimed: as asked for, or when the lease of its run is over
  attempts    integer     NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX pending_turn ON ledger_idx.pending (tenant_id, ready_at, request_id);

-- Whose turn it is: the tenant that was served longest ago. No part of the index: losing it costs nothing.
CREATE TABLE ledger_idx.turn (
  tenant_id text        PRIMARY KEY,
  served_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- The latest version of each request that is not finished. A version has the owner and tenant of the first (the
-- version guard), so one tenant's span cannot take another's request off the queue. Nobody acts as `system`.
CREATE VIEW ledger_idx.unfinished_request AS
  SELECT r.id AS request_id, r.tenant_id, r.owner_id, r.parent_id AS function_id, r.status,
         coalesce(ledger_idx.instant(r.metadata ->> 'retry_at'), r.at) AS ready_at,
         ledger_idx.attempts(r.metadata) AS attempts
    FROM ledger.universal_registry r
   WHERE r.entity_type = 'request' AND r.tenant_id IS NOT NULL AND r.owner_id <> 'system'
     AND r.status IN ('scheduled', 'running') AND NOT r.is_deleted
     AND NOT EXISTS (SELECT FROM ledger.universal_registry n WHERE n.id = r.id AND n.seq > r.seq);

CREATE FUNCTION ledger_idx.follow_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.status IN ('scheduled', 'running') AND NOT NEW.is_deleted THEN
    INSERT INTO ledger_idx.pending AS p VALUES (
      NEW.id, NEW.tenant_id, NEW.owner_id, NEW.parent_id, NEW.status,
      coalesce(ledger_idx.instant(NEW.metadata ->> 'retry_at'), NEW.at), ledger_idx.attempts(NEW.metadata))
    ON CONFLICT (request_id) DO UPDATE
      SET function_id = excluded.function_id, status = excluded.status, ready_at = excluded.ready_at,
          attempts = excluded.attempts;
  ELSE
    DELETE FROM ledger_idx.pending p WHERE p.request_id = NEW.id;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER ur_follow_request AFTER INSERT ON ledger.universal_registry
  FOR EACH ROW WHEN (NEW.entity_type = 'request' AND NEW.tenant_id IS NOT NULL AND NEW.owner_id <> 'system')
  EXECUTE FUNCTION ledger_idx.follow_request();

-- Locks the oldest request of the tenant whose turn it is, until the caller's transaction ends: of p_tenant first,
-- whose turn the caller knows to be unfinished. The caller appends its next version within that transaction, and so
-- moves it; else it is where it was. Requests for the functions p_busy are left for later.
-- The lock is the one that the version guard takes for an append to the request, and it is taken first here too: so a
-- claim and its owner's withdrawal never wait for each other in a circle. The ledger has the last word: an entry that
-- it does not confirm is passed over.
CREATE FUNCTION ledger.claim_request(p_busy uuid[], p_tenant text)
RETURNS TABLE (request_id uuid, tenant_id text, owner_id text, attempts integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  candidate text;
  next_id   uuid;
BEGIN
  FOR candidate IN
    WITH RECURSIVE waiting AS (  -- each tenant once, by steps through the index
      (SELECT p.tenant_id FROM ledger_idx.pending p ORDER BY p.tenant_id LIMIT 1)
      UNION ALL
      SELECT (SELECT p.tenant_id FROM ledger_idx.pending p WHERE p.tenant_id > w.tenant_id
               ORDER BY p.tenant_id LIMIT 1)
        FROM waiting w WHERE w.tenant_id IS NOT NULL)
    SELECT w.tenant_id
      FROM waiting w
     CROSS JOIN LATERAL (SELECT p.ready_at FROM ledger_idx.pending p
                          WHERE p.tenant_id = w.tenant_id AND p.ready_at <= statement_timestamp()
                          ORDER BY p.ready_at LIMIT 1) oldest
      LEFT JOIN ledger_idx.turn t ON t.tenant_id = w.tenant_id
     ORDER BY (w.tenant_id = p_tenant) IS NOT TRUE, t.served_at NULLS FIRST, oldest.ready_at, w.tenant_id
  LOOP
    FOR next_id IN
      SELECT p.request_id FROM ledger_idx.pending p
       WHERE p.tenant_id = candidate AND p.ready_at <= statement_timestamp()
         AND (p.function_id = ANY (p_busy)) IS NOT TRUE
       ORDER BY p.ready_at, p.request_id
    LOOP
      CONTINUE WHEN NOT pg_try_advisory_xact_lock(hashtextextended(next_id::text, 0));
      RETURN QUERY
        SELECT u.request_id, u.tenant_id, u.owner_id, u.attempts FROM ledger_idx.unfinished_request u
         WHERE u.request_id = next_id AND u.ready_at <= statement_timestamp();
      CONTINUE WHEN NOT FOUND;
      IF pg_try_advisory_xact_lock(hashtextextended('turn ' || candidate, 0)) THEN  -- else another is just doing that
        INSERT INTO ledger_idx.turn AS t VALUES (candidate, clock_timestamp())
          ON CONFLICT (tenant_id) DO UPDATE SET served_at = excluded.served_at;
      END IF;
      RETURN;
    END LOOP;
  END LOOP;
END
$$;

-- What is dead is found without reading all requests.
CREATE INDEX ur_dead_request ON ledger.universal_registry (at, id)
  WHERE entity_type = 'request' AND status = 'dead' AND NOT is_deleted;
CREATE VIEW ledger_idx.dead_request AS  -- but for those that their owners have withdrawn since
  SELECT r.id AS request_id, r.tenant_id, r.owner_id, r.status, ledger_idx.attempts(r.metadata) AS attempts, r.at
    FROM ledger.universal_registry r
   WHERE r.entity_type = 'request' AND r.status = 'dead' AND NOT r.is_deleted
     AND NOT EXISTS (SELECT FROM ledger.universal_registry n WHERE n.id = r.id AND n.seq > r.seq);

-- Functions that ask to be run ----------------------------------------------------------------------------

CREATE TABLE ledger_idx.schedule (
  function_id uuid        PRIMARY KEY,
  tenant_id   text        NOT NULL,
  owner_id    text        NOT NULL,
  seq         integer     NOT NULL,
  schedule    text,                  -- five fields of cron, UTC; null: once, for this version
  since       timestamptz NOT NULL,  -- slots after this instant are still to be run
  due_at      timestamptz NOT NULL   -- when to look at it next
) WITH (fillfactor = 70);
CREATE INDEX schedule_due ON ledger_idx.schedule (due_at);

CREATE VIEW ledger_idx.scheduled_function AS
  SELECT r.id AS function_id, r.tenant_id, r.owner_id, r.seq, r.metadata ->> 'schedule' AS schedule,
         -- Since when it has had this schedule: a new version of the code must not skip the slot that is due.
         (SELECT min(v.at) FROM ledger.universal_registry v
           WHERE v.id = r.id AND v.seq > coalesce(
             (SELECT max(o.seq) FROM ledger.universal_registry o WHERE o.id = r.id
                 AND o.metadata ->> 'schedule' IS DISTINCT FROM r.metadata ->> 'schedule'), -1)) AS since
    FROM ledger.universal_registry r
   WHERE r.entity_type = 'function' AND r.tenant_id <> 'system' AND r.owner_id <> 'system' AND NOT r.is_deleted
     AND (r.status = 'scheduled' OR r.metadata ->> 'schedule' IS NOT NULL)
     AND NOT EXISTS (SELECT FROM ledger.universal_registry n WHERE n.id = r.id AND n.seq > r.seq);

CREATE FUNCTION ledger_idx.follow_function() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT NEW.is_deleted AND (NEW.status = 'scheduled' OR NEW.metadata ->> 'schedule' IS NOT NULL) THEN
    INSERT INTO ledger_idx.schedule AS s VALUES (
      NEW.id, NEW.tenant_id, NEW.owner_id, NEW.seq, NEW.metadata ->> 'schedule', NEW.at, NEW.at)
    ON CONFLICT (function_id) DO UPDATE
      SET seq = excluded.seq, schedule = excluded.schedule, due_at = excluded.due_at,
          since = CASE WHEN s.schedule = excluded.schedule THEN s.since ELSE excluded.since END;
  ELSE
    DELETE FROM ledger_idx.schedule s WHERE s.function_id = NEW.id;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER ur_follow_function AFTER INSERT ON ledger.universal_registry
  FOR EACH ROW WHEN (NEW.entity_type = 'function' AND NEW.tenant_id <> 'system' AND NEW.owner_id <> 'system')
  EXECUTE FUNCTION ledger_idx.follow_function();

-- Locks the function that has been due longest, until the caller's transaction ends.
CREATE FUNCTION ledger.claim_due_function()
RETURNS TABLE (function_id uuid, tenant_id text, owner_id text, since timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.function_id, s.tenant_id, s.owner_id, s.since FROM ledger_idx.schedule s
   WHERE s.due_at <= statement_timestamp() ORDER BY s.due_at LIMIT 1 FOR UPDATE SKIP LOCKED
$$;

-- What the observer found of it: slots up to p_since are done, the next is at p_due; null: there is none to come.
CREATE FUNCTION ledger.function_observed(p_function uuid, p_since timestamptz, p_due timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE ledger_idx.schedule s SET since = greatest(s.since, p_since), due_at = coalesce(p_due, 'infinity')
   WHERE s.function_id = p_function
$$;

-- Simultaneous runs of a function --------------------------------------------------------------------------

CREATE TABLE ledger_idx.running (
  run_id      uuid        PRIMARY KEY,
  function_id uuid        NOT NULL,
  until       timestamptz NOT NULL  -- by then the process that runs it is certainly gone
);
CREATE INDEX running_function ON ledger_idx.running (function_id, until);

-- Takes one of p_max places. Answers false if all are taken.
CREATE FUNCTION ledger.begin_run(p_function uuid, p_run uuid, p_max integer, p_seconds integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('run ' || p_function::text, 0));
  DELETE FROM ledger_idx.running r WHERE r.function_id = p_function AND r.until < clock_timestamp();
  IF (SELECT count(*) FROM ledger_idx.running r WHERE r.function_id = p_function) >= p_max THEN
    RETURN false;
  END IF;
  INSERT INTO ledger_idx.running VALUES (p_run, p_function, clock_timestamp() + make_interval(secs => p_seconds));
  RETURN true;
END
$$;

CREATE FUNCTION ledger.end_run(p_run uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM ledger_idx.running r WHERE r.run_id = p_run
$$;

-- How much of today's (UTC) quota the context's tenant has used.
CREATE FUNCTION ledger.quota_used(p_kind text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(max(u.used), 0) FROM ledger_idx.usage u
   WHERE u.tenant_id = coalesce(current_setting('app.tenant_id', true), '') AND u.kind = p_kind
     AND u.day = (statement_timestamp() AT TIME ZONE 'UTC')::date
$$;

-- Building the indexes again -------------------------------------------------------------------------------

-- Both put back what the spans say and answer how far the table was off. Appends of requests, or of functions, wait
-- for it. Each is for a transaction of its own: together they would wait in a circle for a transaction that has
-- written to one table and comes to the other.
CREATE FUNCTION ledger.rebuild_pending()
RETURNS TABLE (index text, entries bigint, missing bigint, wrong bigint, surplus bigint)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE ledger_idx.pending IN EXCLUSIVE MODE;
  RETURN QUERY
    WITH truth AS MATERIALIZED (SELECT * FROM ledger_idx.unfinished_request),
    compared AS (
      SELECT t.request_id AS id, p.request_id AS had,
             (p.tenant_id, p.owner_id, p.function_id, p.status, p.ready_at, p.attempts) IS NOT DISTINCT FROM
             (t.tenant_id, t.owner_id, t.function_id, t.status, t.ready_at, t.attempts) AS same
        FROM truth t LEFT JOIN ledger_idx.pending p USING (request_id)),
    removed AS (
      DELETE FROM ledger_idx.pending p
       WHERE NOT EXISTS (SELECT FROM truth t WHERE t.request_id = p.request_id) RETURNING 1),
    written AS (
      INSERT INTO ledger_idx.pending AS p SELECT t.* FROM truth t JOIN compared c ON c.id = t.request_id
       WHERE NOT c.same
      ON CONFLICT (request_id) DO UPDATE SET tenant_id = excluded.tenant_id, owner_id = excluded.owner_id,
        function_id = excluded.function_id, status = excluded.status, ready_at = excluded.ready_at,
        attempts = excluded.attempts)
    SELECT 'pending requests', count(*), count(*) FILTER (WHERE c.had IS NULL),
           count(*) FILTER (WHERE c.had IS NOT NULL AND NOT c.same), (SELECT count(*) FROM removed)
      FROM compared c;
END
$$;

-- `since` and `due_at` run ahead of the spans. They begin anew, so the observer looks at every function, and finds
-- by the requests in the ledger what is done.
CREATE FUNCTION ledger.rebuild_schedule()
RETURNS TABLE (index text, entries bigint, missing bigint, wrong bigint, surplus bigint)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE ledger_idx.schedule IN EXCLUSIVE MODE;
  RETURN QUERY
    WITH truth AS MATERIALIZED (SELECT * FROM ledger_idx.scheduled_function),
    compared AS (
      SELECT s.function_id AS had, (s.tenant_id, s.owner_id, s.seq, s.schedule) IS NOT DISTINCT FROM
             (t.tenant_id, t.owner_id, t.seq, t.schedule) AS same
        FROM truth t LEFT JOIN ledger_idx.schedule s USING (function_id)),
    removed AS (
      DELETE FROM ledger_idx.schedule s
       WHERE NOT EXISTS (SELECT FROM truth t WHERE t.function_id = s.function_id) RETURNING 1),
    written AS (
      INSERT INTO ledger_idx.schedule AS s
      SELECT t.function_id, t.tenant_id, t.owner_id, t.seq, t.schedule, t.since, t.since FROM truth t
      ON CONFLICT (function_id) DO UPDATE SET tenant_id = excluded.tenant_id, owner_id = excluded.owner_id,
        seq = excluded.seq, schedule = excluded.schedule, since = excluded.since, due_at = excluded.due_at)
    SELECT 'scheduled functions', count(*), count(*) FILTER (WHERE c.had IS NULL),
           count(*) FILTER (WHERE c.had IS NOT NULL AND NOT c.same), (SELECT count(*) FROM removed)
      FROM compared c;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger_idx FROM PUBLIC;
REVOKE ALL ON FUNCTION ledger.claim_request(uuid[], text), ledger.claim_due_function(),
  ledger.function_observed(uuid, timestamptz, timestamptz), ledger.begin_run(uuid, uuid, integer, integer),
  ledger.end_run(uuid), ledger.quota_used(text), ledger.rebuild_pending(), ledger.rebuild_schedule() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.claim_request(uuid[], text), ledger.claim_due_function(),
  ledger.function_observed(uuid, timestamptz, timestamptz), ledger.begin_run(uuid, uuid, integer, integer),
  ledger.end_run(uuid), ledger.quota_used(text) TO lambda_exec;

-- What was appended before this migration.
SELECT * FROM ledger.rebuild_pending();
SELECT * FROM ledger.rebuild_schedule();
