-- phase: pre
-- Two counters beside the ledger, of what must be bounded while it happens: appends of a tenant a day, and
-- refusals of a caller a minute. Both belong to the context: nobody counts on another's account.

SET LOCAL ROLE admin;

CREATE TABLE ledger_idx.usage (
  tenant_id text   NOT NULL,
  day       date   NOT NULL,
  kind      text   NOT NULL,
  used      bigint NOT NULL,
  PRIMARY KEY (tenant_id, day, kind)
) WITH (fillfactor = 70);

-- Takes p_amount of today's (UTC) quota, in the caller's transaction: what is rolled back is not spent.
CREATE FUNCTION ledger.spend_quota(p_kind text, p_amount integer, p_limit bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tenant text := coalesce(current_setting('app.tenant_id', true), '');
  today  date := (statement_timestamp() AT TIME ZONE 'UTC')::date;
  total  bigint;
BEGIN
  IF p_amount < 0 THEN
    RAISE EXCEPTION 'a quota is spent, never given back' USING ERRCODE = '22023';
  END IF;
  INSERT INTO ledger_idx.usage AS u (tenant_id, day, kind, used) VALUES (tenant, today, p_kind, 0)
    ON CONFLICT DO NOTHING;
  UPDATE ledger_idx.usage u SET used = u.used + p_amount
   WHERE u.tenant_id = tenant AND u.day = today AND u.kind = p_kind AND u.used + p_amount <= p_limit
   RETURNING u.used INTO total;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the daily quota of % is used up', p_kind USING ERRCODE = 'LL004',
      DETAIL = json_build_object('quota', p_kind, 'limit', p_limit,
        'used', (SELECT u.used FROM ledger_idx.usage u
                  WHERE u.tenant_id = tenant AND u.day = today AND u.kind = p_kind),
        'resets_at', to_char(today + 1, 'YYYY-MM-DD"T00:00:00Z"'))::text;
  END IF;
  RETURN total;
END
$$;
REVOKE ALL ON FUNCTION ledger.spend_quota(text, integer, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.spend_quota(text, integer, bigint) TO lambda_exec;

CREATE TABLE ledger_idx.refusal (
  tenant_id text        NOT NULL,
  user_id   text        NOT NULL,
  kind      text        NOT NULL,
  minute    timestamptz NOT NULL,
  count     integer     NOT NULL,
  PRIMARY KEY (tenant_id, user_id, kind, minute)
);

-- Counts one refusal of the caller. Answers this minute's count, and hands over (once) earlier minutes, of any
-- kind, that had more than one: their totals are then written into the ledger.
CREATE FUNCTION ledger.count_refusal(p_kind text)
RETURNS TABLE (kind text, minute timestamptz, count integer, closed boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  tenant text := coalesce(current_setting('app.tenant_id', true), '');
  caller text := coalesce(current_setting('app.user_id', true), '');
  now_minute timestamptz := date_trunc('minute', statement_timestamp());
BEGIN
  RETURN QUERY
    INSERT INTO ledger_idx.refusal AS f (tenant_id, user_id, kind, minute, count)
    VALUES (tenant, caller, p_kind, now_minute, 1)
    ON CONFLICT (tenant_id, user_id, kind, minute) DO UPDATE SET count = f.count + 1
    RETURNING f.kind, f.minute, f.count, false;
  RETURN QUERY
    WITH past AS (
      DELETE FROM ledger_idx.refusal f
       WHERE f.tenant_id = tenant AND f.user_id = caller AND f.minute < now_minute
      RETURNING f.kind, f.minute, f.count)
    SELECT past.kind, past.minute, past.count, true FROM past WHERE past.count > 1;
END
$$;
REVOKE ALL ON FUNCTION ledger.count_refusal(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.count_refusal(text) TO lambda_exec;
