-- phase: pre
-- Who may read and append what (manual 7.3, and stricter). The context is app.user_id and app.tenant_id,
-- set for one transaction only; unset, it sees public rows and appends nothing.

SET LOCAL ROLE admin;

ALTER TABLE ledger.universal_registry ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.universal_registry FORCE ROW LEVEL SECURITY;

-- current_setting() stands bare on purpose: wrapped in a sub-select it hides the value from the planner.
CREATE POLICY ur_select_policy ON ledger.universal_registry FOR SELECT TO lambda_exec USING (
  -- The same user name in another tenant is another person.
  (owner_id = current_setting('app.user_id', true)
     AND tenant_id IS NOT DISTINCT FROM nullif(current_setting('app.tenant_id', true), ''))
  OR visibility = 'public'
  OR (tenant_id = current_setting('app.tenant_id', true) AND visibility IN ('tenant', 'public'))
);

CREATE POLICY ur_insert_policy ON ledger.universal_registry FOR INSERT TO lambda_exec WITH CHECK (
  owner_id = current_setting('app.user_id', true)
  AND (tenant_id IS NULL OR tenant_id = current_setting('app.tenant_id', true))
  -- What everybody sees, and what is trusted by its place, comes from the seeder alone.
  AND visibility IN ('private', 'tenant')
  AND entity_type NOT IN ('manifest', 'provider', 'prompt')
  AND (entity_type NOT IN ('function', 'policy') OR coalesce(tenant_id, 'system') <> 'system')
  AND (owner_id <> 'system' OR entity_type IN ('security_alert', 'auth.decision'))
  AND NOT (id >= '00000000-0000-4000-8000-000000000000' AND id <= '00000000-0000-4000-8000-ffffffffffff')
);

-- Forced row-level security filters the owner too, and its SECURITY DEFINER functions: these let it work.
CREATE POLICY ur_admin_select_policy ON ledger.universal_registry FOR SELECT TO admin USING (true);
CREATE POLICY ur_admin_insert_policy ON ledger.universal_registry FOR INSERT TO admin WITH CHECK (true);

-- Reports count across tenants (manual 4.2, 5.2).
CREATE POLICY ur_readonly_policy ON ledger.universal_registry FOR SELECT TO readonly USING (true);

GRANT USAGE ON SCHEMA ledger TO lambda_exec, readonly;
GRANT SELECT, INSERT ON ledger.universal_registry TO lambda_exec;
GRANT SELECT ON ledger.universal_registry TO readonly;
