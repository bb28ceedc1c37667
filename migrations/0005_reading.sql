-- phase: pre
-- Views, and pages that take time by the page, not by the table. Order is (era, xid, position): the order of
-- commits as far as a reader can tell, while `at` is the caller's clock. No b-tree on `at`: it lures the
-- planner into walking the whole table under row-level security.

SET LOCAL ROLE admin;

-- The planner takes a row comparison for its first column's, `era`, and so expects next to nothing after any cursor:
-- every index in this order then looks equally good, and it may well walk the whole ledger for one tenant's page.
-- Hence the predicates that hold for every row: an index is open only to a query which says the same.
--   position >= 0   who follows the whole ledger (policies, the notary)
--   seq >= 0        pages of all types
--   none            pages of one type
CREATE UNIQUE INDEX ur_order    ON ledger.universal_registry (era, xid, position) WHERE position >= 0;
CREATE INDEX ur_owner_order     ON ledger.universal_registry (owner_id, tenant_id, era, xid, position)
  WHERE seq >= 0;
CREATE INDEX ur_owner_type      ON ledger.universal_registry (owner_id, tenant_id, entity_type, era, xid, position);
CREATE INDEX ur_shared_order    ON ledger.universal_registry (tenant_id, era, xid, position)
  WHERE visibility IN ('tenant', 'public') AND seq >= 0;
CREATE INDEX ur_shared_type     ON ledger.universal_registry (tenant_id, entity_type, era, xid, position)
  WHERE visibility IN ('tenant', 'public');
CREATE INDEX ur_public_order    ON ledger.universal_registry (era, xid, position)
  WHERE visibility = 'public' AND seq >= 0;
CREATE INDEX ur_public_type     ON ledger.universal_registry (entity_type, era, xid, position)
  WHERE visibility = 'public';
CREATE INDEX ur_parent          ON ledger.universal_registry (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX ur_at              ON ledger.universal_registry USING brin (at);

CREATE VIEW ledger.visible_timeline WITH (security_invoker = true) AS
  SELECT id, seq, entity_type, who, did, this, at, at AS "when", parent_id, related_to, owner_id, tenant_id,
         visibility, status, is_deleted, name, description, code, language, runtime, input, output, error,
         metadata, duration_ms, trace_id, prev_hash, curr_hash, signature, public_key, era, xid, position
    FROM ledger.universal_registry
   WHERE NOT is_deleted;

-- Asked of the whole table: a later version may be hidden from the caller (made private, or a private
-- tombstone), and an outdated one must not pass for the latest because of it.
CREATE FUNCTION ledger.is_latest(p_id uuid, p_seq integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT NOT EXISTS (SELECT FROM ledger.universal_registry r WHERE r.id = p_id AND r.seq > p_seq)
$$;
REVOKE ALL ON FUNCTION ledger.is_latest(uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.is_latest(uuid, integer) TO lambda_exec, readonly;

CREATE VIEW ledger.current_span WITH (security_invoker = true) AS
  SELECT * FROM ledger.visible_timeline t WHERE ledger.is_latest(t.id, t.seq);

GRANT SELECT ON ledger.visible_timeline, ledger.current_span TO lambda_exec, readonly;

-- One page of what the caller may see, as three short index walks (own, of the tenant, public) merged.
-- p_forward: from the cursor towards the present, and only what no open transaction can still precede.
CREATE FUNCTION ledger.timeline(
  p_forward boolean, p_era integer, p_xid xid8, p_position bigint,
  p_limit integer DEFAULT 50, p_type text DEFAULT NULL
) RETURNS SETOF ledger.visible_timeline
LANGUAGE plpgsql STABLE SECURITY INVOKER ROWS 50
SET search_path = pg_catalog, pg_temp SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  page_size integer := greatest(1, least(coalesce(p_limit, 50), 1000));
  page_order text := CASE WHEN p_forward THEN 'era, xid, position' ELSE 'era DESC, xid DESC, position DESC' END;
  -- Only constants of this function are put together here: every value is a parameter.
  branch text := format(
    '(SELECT * FROM ledger.visible_timeline WHERE %%s AND (era, xid, position) %s ($3, $4, $5) %s %s ORDER BY %s LIMIT %s)',
    CASE WHEN p_forward THEN '>' ELSE '<' END,
    CASE WHEN p_forward THEN 'AND (era, xid) < ($7, pg_snapshot_xmin(pg_current_snapshot()))' ELSE '' END,
    CASE WHEN p_type IS NULL THEN 'AND seq >= 0' ELSE 'AND entity_type = $6' END, page_order, page_size);
  tenant text := nullif(current_setting('app.tenant_id', true), '');
BEGIN
  RETURN QUERY EXECUTE format(
    'SELECT DISTINCT ON (era, xid, position) * FROM (%s UNION ALL %s UNION ALL %s) page ORDER BY %s LIMIT %s',
    format(branch, 'owner_id = $1 AND tenant_id ' || CASE WHEN tenant IS NULL THEN 'IS NULL' ELSE '= $2' END),
    format(branch, 'tenant_id = $2 AND visibility IN (''tenant'', ''public'')'),
    format(branch, 'visibility = ''public'''), page_order, page_size)
    USING current_setting('app.user_id', true), tenant, p_era, p_xid, p_position, p_type, ledger.current_era();
END
$$;
REVOKE ALL ON FUNCTION ledger.timeline(boolean, integer, xid8, bigint, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.timeline(boolean, integer, xid8, bigint, integer, text) TO lambda_exec;
