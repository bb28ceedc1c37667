-- phase: pre
-- What has to be known of a device, or of an invitation, before there is an identity under which to read it.
-- Both functions read by the primary key, and answer for one id that the asker has to know already.

SET LOCAL ROLE admin;

-- Where an invitation is kept. Its id is made from the hash of its code: who knows the id holds the code.
CREATE FUNCTION ledger.invitation_owner(p_invitation uuid) RETURNS TABLE (tenant_id text, owner_id text)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.tenant_id, r.owner_id FROM ledger.universal_registry r
   WHERE r.id = p_invitation AND r.entity_type = 'invitation' ORDER BY r.seq DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION ledger.invitation_owner(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.invitation_owner(uuid) TO lambda_exec;

-- What a token of the device is checked with, and whom it speaks for. A device counts only while both it and its
-- app are `active`: a device that is registered while its app is being revoked is as dead as the others.
CREATE FUNCTION ledger.device_for_token(p_device uuid)
RETURNS TABLE (pubkey text, status text, app_id uuid, app_status text, tenant_id text, user_id text, scopes jsonb)
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT d.metadata ->> 'pubkey', d.status, d.parent_id, a.status, d.tenant_id, d.owner_id, d.metadata -> 'scopes'
    FROM (SELECT * FROM ledger.universal_registry r WHERE r.id = p_device ORDER BY r.seq DESC LIMIT 1) d
    JOIN LATERAL (SELECT * FROM ledger.universal_registry r WHERE r.id = d.parent_id ORDER BY r.seq DESC LIMIT 1) a
      ON a.entity_type = 'app_registration' AND NOT a.is_deleted
     AND a.owner_id = d.owner_id AND a.tenant_id = d.tenant_id
   WHERE d.entity_type = 'device' AND NOT d.is_deleted
$$;
REVOKE ALL ON FUNCTION ledger.device_for_token(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.device_for_token(uuid) TO lambda_exec;
