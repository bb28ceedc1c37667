-- phase: pre
-- Nobody publishes a version of someone else's span, and versions of one id form one chain.
-- The guard reads the table itself, as its owner, because the caller may not see what it must compare with.

SET LOCAL ROLE admin;

CREATE FUNCTION ledger.guard_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  -- SECURITY DEFINER changes current_user; the role that really inserts is this one.
  inserter    text := coalesce(nullif(current_setting('role'), 'none'), session_user);
  head        record;
  stored_hash text;
BEGIN
  -- Above READ COMMITTED this trigger would read an old snapshot, and seq 6 could land after 7.
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION 'spans are appended at READ COMMITTED, not at %', upper(current_setting('transaction_isolation'))
      USING ERRCODE = 'LL001', HINT = 'Begin the transaction with ISOLATION LEVEL READ COMMITTED.';
  END IF;

  PERFORM pg_advisory_xact_lock(hashtextextended(NEW.id::text, 0));
  SELECT r.seq, r.owner_id, r.tenant_id, r.entity_type, r.curr_hash INTO head
    FROM ledger.universal_registry r WHERE r.id = NEW.id ORDER BY r.seq DESC LIMIT 1;

  IF FOUND THEN
    -- One answer for every id that is not the caller's own: it tells nothing of what is there.
    IF NOT pg_has_role(inserter, 'admin', 'MEMBER') AND NOT (
         head.owner_id = current_setting('app.user_id', true)
         AND head.tenant_id IS NOT DISTINCT FROM nullif(current_setting('app.tenant_id', true), '')) THEN
      RAISE EXCEPTION 'span % is not yours to append to', NEW.id USING ERRCODE = 'LL002';
    END IF;

    SELECT r.curr_hash INTO stored_hash
      FROM ledger.universal_registry r WHERE r.id = NEW.id AND r.seq = NEW.seq;
    IF stored_hash IS DISTINCT FROM NEW.curr_hash THEN  -- else: the same span again, for ON CONFLICT
      IF stored_hash IS NOT NULL THEN
        RAISE EXCEPTION 'span % seq % is in the ledger with another hash', NEW.id, NEW.seq
          USING ERRCODE = 'LL005', DETAIL = json_build_object('id', NEW.id, 'seq', NEW.seq,
            'stored_hash', stored_hash, 'given_hash', NEW.curr_hash)::text;
      ELSIF (head.owner_id, head.entity_type) IS DISTINCT FROM (NEW.owner_id, NEW.entity_type)
         OR head.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE EXCEPTION 'a version of span % keeps its owner_id, tenant_id and entity_type', NEW.id
          USING ERRCODE = 'LL006';
      ELSIF NEW.seq < head.seq OR NEW.prev_hash IS DISTINCT FROM head.curr_hash THEN
        RAISE EXCEPTION 'span % seq % does not follow the latest version, seq %', NEW.id, NEW.seq, head.seq
          USING ERRCODE = 'LL006', DETAIL = json_build_object('id', NEW.id, 'seq', NEW.seq,
            'latest_seq', head.seq, 'latest_hash', head.curr_hash, 'prev_hash', NEW.prev_hash)::text;
      END IF;
    END IF;
  ELSIF NEW.prev_hash IS NOT NULL THEN
    RAISE EXCEPTION 'span % is not yours to append to', NEW.id USING ERRCODE = 'LL002';
  END IF;

  NEW.era := (SELECT max(e.era) FROM ledger_idx.era e);
  NEW.xid := pg_current_xact_id();
  NEW.position := nextval('ledger.position');
  RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION ledger.guard_insert() FROM PUBLIC;

CREATE TRIGGER ur_guard_insert BEFORE INSERT ON ledger.universal_registry
  FOR EACH ROW EXECUTE FUNCTION ledger.guard_insert();
ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_guard_insert;
