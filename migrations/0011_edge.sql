-- phase: pre
-- What HTTPS needs beside the ledger: tokens that were used, calls that need none, and a caller's own figures.
-- Everything here is mutable, passes by itself and is no truth about anything: losing it costs a few minutes' memory.

SET LOCAL ROLE admin;

-- Tokens ---------------------------------------------------------------------------------------------------

CREATE TABLE ledger_idx.token_use (
  device_id  uuid        NOT NULL,
  jti        text        NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (device_id, jti)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX token_use_expiry ON ledger_idx.token_use (expires_at);

-- True for the first who uses this token, however many try at once. Two that have expired are removed for each that
-- is added: what is kept is what can still be replayed, and a call costs the same whatever is there.
CREATE FUNCTION ledger.use_token(p_device uuid, p_jti text, p_expires_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM ledger_idx.token_use u WHERE (u.device_id, u.jti) IN (
    SELECT o.device_id, o.jti FROM ledger_idx.token_use o
     WHERE o.expires_at < statement_timestamp() ORDER BY o.expires_at LIMIT 2 FOR UPDATE SKIP LOCKED);
  INSERT INTO ledger_idx.token_use (device_id, jti, expires_at) VALUES (p_device, p_jti, p_expires_at)
    ON CONFLICT DO NOTHING;
  RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION ledger.use_token(uuid, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.use_token(uuid, text, timestamptz) TO lambda_exec;

-- Calls without a token ------------------------------------------------------------------------------------

CREATE TABLE ledger_idx.open_call (
  source text        NOT NULL,  -- the address that a call came from, or '' for all of them together
  minute timestamptz NOT NULL,
  count  integer     NOT NULL,
  PRIMARY KEY (source, minute)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX open_call_minute ON ledger_idx.open_call (minute);

-- Counts a call of this minute. Answers 0, or after how many seconds to come back: p_limit calls of one source, of all
-- together p_limit_all, to which those of a source beyond its limit do not count: nobody uses up the others' share.
CREATE FUNCTION ledger.count_open_call(p_source text, p_limit integer, p_limit_all integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  this_minute timestamptz := date_trunc('minute', statement_timestamp());
  wait integer := ceil(extract(epoch FROM this_minute + interval '1 minute' - statement_timestamp()));
BEGIN
  DELETE FROM ledger_idx.open_call c WHERE (c.source, c.minute) IN (
    SELECT o.source, o.minute FROM ledger_idx.open_call o
     WHERE o.minute < this_minute ORDER BY o.minute LIMIT 2 FOR UPDATE SKIP LOCKED);
  INSERT INTO ledger_idx.open_call AS c VALUES (p_source, this_minute, 1)
    ON CONFLICT (source, minute) DO UPDATE SET count = c.count + 1 WHERE c.count < p_limit;
  IF FOUND THEN
    INSERT INTO ledger_idx.open_call AS c VALUES ('', this_minute, 1)
      ON CONFLICT (source, minute) DO UPDATE SET count = c.count + 1 WHERE c.count < p_limit_all;
  END IF;
  RETURN CASE WHEN FOUND THEN 0 ELSE greatest(wait, 1) END;
END
$$;
REVOKE ALL ON FUNCTION ledger.count_open_call(text, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.count_open_call(text, integer, integer) TO lambda_exec;

-- Figures --------------------------------------------------------------------------------------------------

-- The caller's and their tenant's spans since p_since, counted by type and status. It looks at the newest p_limit of
-- each of the two, so it takes the same time however large the ledger is; `complete` is false where that was too few.
CREATE FUNCTION ledger.recent_counts(p_since timestamptz, p_limit integer)
RETURNS TABLE (entity_type text, status text, count bigint, complete boolean)
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  caller text := current_setting('app.user_id', true);
  tenant text := current_setting('app.tenant_id', true);
BEGIN
  RETURN QUERY
  WITH own AS (
    SELECT t.id, t.seq, t.entity_type, t.status, t.at FROM ledger.visible_timeline t
     WHERE t.owner_id = caller AND t.tenant_id = tenant AND t.seq >= 0
     ORDER BY t.era DESC, t.xid DESC, t.position DESC LIMIT p_limit
  ), shared AS (
    SELECT t.id, t.seq, t.entity_type, t.status, t.at FROM ledger.visible_timeline t
     WHERE t.tenant_id = tenant AND t.visibility IN ('tenant', 'public') AND t.seq >= 0
     ORDER BY t.era DESC, t.xid DESC, t.position DESC LIMIT p_limit
  ), reach AS (
    SELECT NOT EXISTS (SELECT FROM own HAVING count(*) = p_limit AND min(own.at) >= p_since)
       AND NOT EXISTS (SELECT FROM shared HAVING count(*) = p_limit AND min(shared.at) >= p_since) AS complete
  )
  SELECT s.entity_type, s.status, count(*), reach.complete
    FROM (SELECT * FROM own UNION SELECT * FROM shared) s CROSS JOIN reach
   WHERE s.at >= p_since GROUP BY s.entity_type, s.status, reach.complete;
END
$$;
REVOKE ALL ON FUNCTION ledger.recent_counts(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.recent_counts(timestamptz, integer) TO lambda_exec;
