-- phase: pre
-- Text search of memories. A GIN index is unusable under row-level security (its operators are not leakproof),
-- so a narrow definer function answers with ids, and the caller reads those rows under its own rights.

SET LOCAL ROLE admin;

-- What is compared: without case, with one form for characters that Unicode can write in several, and with one
-- small sigma (lower() makes the final one at the end of a word only).
CREATE FUNCTION ledger.fold(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT pg_catalog.replace(pg_catalog.lower(pg_catalog.normalize(p_text, 'NFKC')), 'ς', 'σ')
$$;
REVOKE ALL ON FUNCTION ledger.fold(text) FROM PUBLIC;
-- An index expression runs with the rights of whoever inserts.
GRANT EXECUTE ON FUNCTION ledger.fold(text) TO lambda_exec;

-- The tenant leads: a term too short for trigrams ("用户", "🌙") still reads one tenant's memories, not the table.
CREATE INDEX ur_memory_text ON ledger.universal_registry
  USING gin ((coalesce(tenant_id, '')), (ledger.fold(metadata ->> 'content')) public.gin_trgm_ops)
  WHERE entity_type = 'memory' AND NOT is_deleted;

-- Latest versions of the caller's memories (own, or shared in the tenant: the predicate of ur_select_policy)
-- that contain every term. A term scores 3 as a word, 2 as the beginning of one, 1 anywhere else.
CREATE FUNCTION ledger.search_memory(
  p_terms text[], p_limit integer, p_tags text[] DEFAULT NULL, p_memory_type text DEFAULT NULL,
  p_session_id text DEFAULT NULL, p_score integer DEFAULT 2147483647, p_era integer DEFAULT 0,
  p_xid xid8 DEFAULT '0', p_position bigint DEFAULT 0
) RETURNS TABLE (id uuid, seq integer, score integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  caller   text := current_setting('app.user_id', true);
  tenant   text := nullif(current_setting('app.tenant_id', true), '');
  terms    text[] := ARRAY(SELECT ledger.fold(t) FROM unnest(p_terms) t WHERE t <> '' ORDER BY length(t) DESC);
  -- Every character with a meaning of its own, in LIKE or in a regular expression, stands for itself.
  likes    text[] := ARRAY(SELECT '%' || regexp_replace(t, '([\\%_])', '\\\1', 'g') || '%' FROM unnest(terms) t);
  literals text[] := ARRAY(SELECT regexp_replace(t, '([^[:alnum:]])', '\\\1', 'g') FROM unnest(terms) t);
BEGIN
  IF caller IS NULL OR cardinality(terms) = 0 THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT found.id, found.seq, found.score FROM (
      SELECT r.id, r.seq, r.era, r.xid, r.position,
             (SELECT sum(CASE WHEN length(l) > 200 THEN 1  -- too much for a regular expression
                              WHEN ledger.fold(r.metadata ->> 'content') ~ ('\m' || l || '\M') THEN 3
                              WHEN ledger.fold(r.metadata ->> 'content') ~ ('\m' || l) THEN 2 ELSE 1 END)
                FROM unnest(literals) l)::integer AS score
        FROM ledger.universal_registry r
       WHERE r.entity_type = 'memory' AND NOT r.is_deleted
         AND coalesce(r.tenant_id, '') = coalesce(tenant, '')
         AND (r.owner_id = caller OR (tenant IS NOT NULL AND r.visibility IN ('tenant', 'public')))
         AND ledger.fold(r.metadata ->> 'content') LIKE likes[1]  -- the longest term: it narrows the index most
         AND ledger.fold(r.metadata ->> 'content') LIKE ALL (likes)
         AND (p_tags IS NULL OR r.metadata -> 'tags' ?& p_tags)
         AND (p_memory_type IS NULL OR r.metadata ->> 'memory_type' = p_memory_type)
         AND (p_session_id IS NULL OR r.metadata ->> 'session_id' = p_session_id)
         AND NOT EXISTS (SELECT FROM ledger.universal_registry n WHERE n.id = r.id AND n.seq > r.seq)
    ) found
    WHERE (found.score, found.era, found.xid, found.position) < (p_score, p_era, p_xid, p_position)
       OR (p_era = 0 AND found.score < p_score)
    ORDER BY found.score DESC, found.era DESC, found.xid DESC, found.position DESC
    LIMIT greatest(1, least(p_limit, 100));
END
$$;
REVOKE ALL ON FUNCTION ledger.search_memory(text[], integer, text[], text, text, integer, integer, xid8, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.search_memory(text[], integer, text[], text, text, integer, integer, xid8, bigint) TO lambda_exec;
