-- phase: pre
-- Policies: whose turn it is, and what stands after their cursors.

SET LOCAL ROLE admin;

-- The latest version of each policy, so that finding those whose turn it is costs no walk through the ledger.
-- `behind`: an on-demand policy that did not get through with what there was, and goes on in turn until it has.
-- `ran_at` gives the order of turns. It lies ahead where the tenant's policies took long: see ledger.policy_ran().
CREATE TABLE ledger_idx.policy (
  id        uuid        PRIMARY KEY,
  seq       integer     NOT NULL,
  owner_id  text        NOT NULL,
  tenant_id text        NOT NULL,
  active    boolean     NOT NULL,
  on_demand boolean     NOT NULL,
  behind    boolean     NOT NULL DEFAULT false,
  ran_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE INDEX policy_turn ON ledger_idx.policy (ran_at, id) WHERE active AND (behind OR NOT on_demand);
CREATE INDEX policy_tenant ON ledger_idx.policy (tenant_id, ran_at);

-- The latest version of each policy. Whatever stands in its metadata, the agent says what is wrong with it.
CREATE VIEW ledger_idx.latest_policy AS
  SELECT r.id, r.seq, r.owner_id, coalesce(r.tenant_id, '') AS tenant_id,
         coalesce(r.status = 'active', false) AND NOT r.is_deleted AS active,
         coalesce(r.metadata -> 'on_demand' = 'true', false) AS on_demand
    FROM ledger.universal_registry r
   WHERE r.entity_type = 'policy'
     AND NOT EXISTS (SELECT FROM ledger.universal_registry n WHERE n.id = r.id AND n.seq > r.seq);

CREATE FUNCTION ledger_idx.follow_policy() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- A new one waits for those that were there before it, and as long as its tenant's others have to.
  INSERT INTO ledger_idx.policy AS p (id, seq, owner_id, tenant_id, active, on_demand, ran_at)
    SELECT l.*, greatest(clock_timestamp(),
                         (SELECT max(o.ran_at) FROM ledger_idx.policy o WHERE o.tenant_id = l.tenant_id))
      FROM ledger_idx.latest_policy l WHERE l.id = NEW.id
  ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, active = excluded.active, on_demand = excluded.on_demand;
  RETURN NULL;
END
$$;
CREATE TRIGGER ur_follow_policy AFTER INSERT ON ledger.universal_registry
  FOR EACH ROW WHEN (NEW.entity_type = 'policy') EXECUTE FUNCTION ledger_idx.follow_policy();

-- Puts back what the spans say and answers how far the table was off, as ledger.rebuild_pending() does.
CREATE FUNCTION ledger.rebuild_policies()
RETURNS TABLE (index text, entries bigint, missing bigint, wrong bigint, surplus bigint)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE ledger_idx.policy IN EXCLUSIVE MODE;
  RETURN QUERY
    WITH truth AS MATERIALIZED (SELECT * FROM ledger_idx.latest_policy),
    compared AS (
      SELECT t.id, p.id AS had, (p.seq, p.owner_id, p.tenant_id, p.active, p.on_demand)
             IS NOT DISTINCT FROM (t.seq, t.owner_id, t.tenant_id, t.active, t.on_demand) AS same
        FROM truth t LEFT JOIN ledger_idx.policy p USING (id)),
    removed AS (
      DELETE FROM ledger_idx.policy p WHERE NOT EXISTS (SELECT FROM truth t WHERE t.id = p.id) RETURNING 1),
    written AS (
      INSERT INTO ledger_idx.policy AS p (id, seq, owner_id, tenant_id, active, on_demand)
      SELECT t.* FROM truth t JOIN compared c USING (id) WHERE NOT c.same
      ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, owner_id = excluded.owner_id,
        tenant_id = excluded.tenant_id, active = excluded.active, on_demand = excluded.on_demand)
    SELECT 'policies', count(*), count(*) FILTER (WHERE c.had IS NULL),
           count(*) FILTER (WHERE c.had IS NOT NULL AND NOT c.same), (SELECT count(*) FROM removed)
      FROM compared c;
END
$$;
SELECT ledger.rebuild_policies();

-- The policy that has waited longest, if none of this round (p_before) has taken it yet: agents that run at once
-- share the policies among them. It is nobody's permission: what a policy may see, row-level security decides.
CREATE FUNCTION ledger.take_policy(p_before timestamptz) RETURNS TABLE (id uuid, owner_id text, tenant_id text)
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  UPDATE ledger_idx.policy p SET ran_at = clock_timestamp()
   WHERE p.id = (SELECT q.id FROM ledger_idx.policy q
                  WHERE q.active AND (q.behind OR NOT q.on_demand) AND q.ran_at < p_before
                  ORDER BY q.ran_at, q.id LIMIT 1 FOR UPDATE SKIP LOCKED)
  RETURNING p.id, p.owner_id, p.tenant_id
$$;

-- One policy by its id, whoever's turn it is.
CREATE FUNCTION ledger.find_policy(p_id uuid) RETURNS TABLE (id uuid, owner_id text, tenant_id text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT p.id, p.owner_id, p.tenant_id FROM ledger_idx.policy p WHERE p.id = p_id AND p.active
$$;

-- A policy had its turn. Where it took more than a second, its tenant's policies wait ten times as long: a tenant that
-- has many endless ones, or new ones all the time, takes no other tenant's turn.
CREATE FUNCTION ledger.policy_ran(p_id uuid, p_behind boolean, p_seconds double precision) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE ledger_idx.policy p SET behind = p_behind WHERE p.id = p_id AND p.behind <> p_behind;
  UPDATE ledger_idx.policy p SET ran_at = clock_timestamp() + make_interval(secs => 10 * p_seconds)
   WHERE p_seconds > 1 AND p.id IN (
     SELECT o.id FROM ledger_idx.policy o JOIN ledger_idx.policy ran ON ran.tenant_id = o.tenant_id
      WHERE ran.id = p_id AND o.tenant_id <> 'system' FOR UPDATE OF o SKIP LOCKED)
$$;

-- What was committed after a cursor, of all tenants, in the ledger's order: where spans of these types stand, whose
-- they are, and nothing of what is in them. It ends after p_scan rows or p_limit matches; the last row says how far
-- it came. The current era is read below the oldest open transaction only, which may yet commit an earlier span.
CREATE FUNCTION ledger.committed_after(
  p_era integer, p_xid xid8, p_position bigint, p_types text[], p_scan integer, p_limit integer
) RETURNS TABLE (id uuid, seq integer, entity_type text, owner_id text, tenant_id text,
                 era integer, xid xid8, "position" bigint, matched boolean, scanned integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  now_era integer := ledger.current_era();
  found   integer := 0;
BEGIN
  scanned := 0;
  FOR id, seq, entity_type, owner_id, tenant_id, era, xid, "position", matched IN
    SELECT r.id, r.seq, r.entity_type, r.owner_id, r.tenant_id, r.era, r.xid, r.position,
           r.entity_type = ANY (p_types) AND NOT r.is_deleted
      FROM ledger.universal_registry r
     WHERE r.position >= 0 AND (r.era, r.xid, r.position) > (p_era, p_xid, p_position)
       AND (r.era, r.xid) < (now_era, pg_snapshot_xmin(pg_current_snapshot()))
     ORDER BY r.era, r.xid, r.position LIMIT p_scan
  LOOP
    scanned := scanned + 1;
    IF matched THEN
      found := found + 1;
      RETURN NEXT;
      EXIT WHEN found = p_limit;
    END IF;
  END LOOP;
  IF NOT matched THEN
    RETURN NEXT;
  END IF;
END
$$;

REVOKE ALL ON FUNCTION ledger_idx.follow_policy(), ledger.rebuild_policies(), ledger.take_policy(timestamptz),
  ledger.find_policy(uuid), ledger.policy_ran(uuid, boolean, double precision),
  ledger.committed_after(integer, xid8, bigint, text[], integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.take_policy(timestamptz), ledger.find_policy(uuid),
  ledger.policy_ran(uuid, boolean, double precision),
  ledger.committed_after(integer, xid8, bigint, text[], integer, integer) TO lambda_exec;
