-- phase: pre
-- The one table. A row is a span; nothing is ever changed or removed.

SET LOCAL ROLE admin;

CREATE SCHEMA ledger;
CREATE SCHEMA ledger_idx;  -- what is derived from the ledger and may be mutable: never a truth
COMMENT ON SCHEMA ledger_idx IS 'Derived from the ledger, or counters beside it. Never a truth.';

CREATE TABLE ledger.universal_registry (
  id          uuid        NOT NULL,
  seq         integer     NOT NULL CHECK (seq >= 0),
  entity_type text        NOT NULL CHECK (entity_type <> ''),
  who         text        NOT NULL CHECK (who <> ''),
  did         text        NOT NULL CHECK (did <> ''),
  this        text        NOT NULL CHECK (this <> ''),
  at          timestamptz NOT NULL CHECK (isfinite(at)),
  parent_id   uuid,
  related_to  uuid[],
  -- '' is what an unset context reads as after a transaction: it must never match a row.
  owner_id    text        NOT NULL CHECK (owner_id <> ''),
  tenant_id   text        CHECK (tenant_id <> ''),
  visibility  text        NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'tenant', 'public')),
  status      text,
  is_deleted  boolean     NOT NULL DEFAULT false,
  name        text,
  description text,
  code        text,
  language    text,
  runtime     text,
  input       jsonb,
  output      jsonb,
  error       jsonb,
  metadata    jsonb,
  duration_ms integer     CHECK (duration_ms >= 0),
  trace_id    text,
  prev_hash   text        CHECK (prev_hash ~ '^[0-9a-f]{64}$'),
  curr_hash   text        NOT NULL CHECK (curr_hash ~ '^[0-9a-f]{64}$'),
  signature   text        CHECK (signature ~ '^[0-9a-f]{128}$'),
  public_key  text        CHECK (public_key ~ '^[0-9a-f]{64}$'),
  -- Assigned by the insert guard, whatever a statement says; outside the hash.
  era         integer     NOT NULL,
  xid         xid8        NOT NULL,
  position    bigint      NOT NULL,
  PRIMARY KEY (id, seq),
  CHECK ((signature IS NULL) = (public_key IS NULL))
);

CREATE SEQUENCE ledger.position AS bigint OWNED BY ledger.universal_registry.position;

-- A logical restore starts the next era: the old transaction ids mean nothing in a new cluster.
CREATE TABLE ledger_idx.era (
  era        integer     PRIMARY KEY,
  started_at timestamptz NOT NULL DEFAULT now(),
  reason     text        NOT NULL
);
INSERT INTO ledger_idx.era (era, reason) VALUES (1, 'first migration');

CREATE FUNCTION ledger.current_era() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT max(e.era) FROM ledger_idx.era e
$$;
REVOKE ALL ON FUNCTION ledger.current_era() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.current_era() TO lambda_exec, readonly;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % is refused', TG_OP
    USING ERRCODE = 'LL003', HINT = 'Append the next version of the span instead (same id, higher seq).';
END
$$;
REVOKE ALL ON FUNCTION ledger.refuse_change() FROM PUBLIC;

-- For each statement, so that one which matches no row is refused too; for each row as a second fence.
CREATE TRIGGER ur_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.universal_registry
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER ur_append_only_row BEFORE UPDATE OR DELETE ON ledger.universal_registry
  FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_append_only;
ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_append_only_row;
