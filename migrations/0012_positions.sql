-- phase: pre
-- Which position was given out last: by it fsck tells a ledger that was cut off from one that never had more.

SET LOCAL ROLE admin;

CREATE FUNCTION ledger.last_position() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(pg_sequence_last_value('ledger.position'::regclass), 0)
$$;
REVOKE ALL ON FUNCTION ledger.last_position() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.last_position() TO readonly;
