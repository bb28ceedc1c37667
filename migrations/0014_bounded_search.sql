-- phase: pre
-- A search costs by what it may look at, not by the ledger nor by how common its words are. What a word of one or two
-- letters finds no trigram stands for: the newest memories are walked through. A common word is looked for there, too.

SET LOCAL ROLE admin;

CREATE TYPE ledger.memory_match AS (
  id uuid, seq integer, score integer, era integer, xid xid8, "position" bigint
);

-- The score of a memory's text, null where a term is missing or a filter says no. The same text as ledger.fold() gives,
-- folded once, and without normalization where there is nothing to normalize.
CREATE FUNCTION ledger.memory_score(
  p_metadata jsonb, p_likes text[], p_literals text[], p_tags text[], p_memory_type text, p_session_id text
) RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  content text := p_metadata ->> 'content';
  literal text;
  score   integer := 0;
BEGIN
  IF ((p_tags IS NULL OR p_metadata -> 'tags' ?& p_tags)
      AND (p_memory_type IS NULL OR p_metadata ->> 'memory_type' = p_memory_type)
      AND (p_session_id IS NULL OR p_metadata ->> 'session_id' = p_session_id)) IS NOT TRUE THEN
    RETURN NULL;
  END IF;
  content := CASE WHEN octet_length(content) = length(content) THEN lower(content) ELSE ledger.fold(content) END;
  IF (content LIKE ALL (p_likes)) IS NOT TRUE THEN
    RETURN NULL;
  END IF;
  FOREACH literal IN ARRAY p_literals LOOP
    score := score + CASE WHEN length(literal) > 200 THEN 1  -- too much for a regular expression
                          WHEN content ~ ('\m' || literal || '\M') THEN 3
                          WHEN content ~ ('\m' || literal) THEN 2 ELSE 1 END;
  END LOOP;
  RETURN score;
END
$$;

-- What the trigrams of the first term offer in the tenant, up to p_most memories or p_bytes of text. The caller's matches
-- are answered. Others' private memories count too: they are read before it is known whose they are.
CREATE FUNCTION ledger.indexed_matches(
  p_likes text[], p_literals text[], p_tags text[], p_memory_type text, p_session_id text,
  p_most integer, p_bytes bigint, OUT matches ledger.memory_match[], OUT complete boolean
)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan
SET enable_bitmapscan = on SET enable_seqscan = off AS $$
DECLARE
  caller text := current_setting('app.user_id', true);
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  looked integer := 0;
  bytes  bigint := 0;
  found  record;
BEGIN
  matches := '{}';
  complete := false;
  FOR found IN
    SELECT s.*, s.score IS NOT NULL AND NOT EXISTS (
             SELECT FROM ledger.universal_registry n WHERE n.id = s.id AND n.seq > s.seq) AS latest
      FROM (SELECT r.id, r.seq, r.era, r.xid, r.position, octet_length(r.metadata ->> 'content') AS size,
                   CASE WHEN r.owner_id = caller OR (tenant IS NOT NULL AND r.visibility IN ('tenant', 'public'))
                        THEN ledger.memory_score(
                          r.metadata, p_likes, p_literals, p_tags, p_memory_type, p_session_id) END AS score
              FROM ledger.universal_registry r
             WHERE r.entity_type = 'memory' AND NOT r.is_deleted AND coalesce(r.tenant_id, '') = coalesce(tenant, '')
               AND ledger.fold(r.metadata ->> 'content') LIKE p_likes[1] OFFSET 0) s
  LOOP
    IF looked = p_most OR bytes > p_bytes THEN
      RETURN;
    END IF;
    looked := looked + 1;
    bytes := bytes + found.size;
    IF found.latest THEN
      matches := matches || (found.id, found.seq, found.score, found.era, found.xid, found.position)::ledger.memory_match;
    END IF;
  END LOOP;
  complete := true;
END
$$;

-- Latest versions of the caller's memories (own, or shared in the tenant: the predicate of ur_select_policy)
-- that contain every term. A term scores 3 as a word, 2 as the beginning of one, 1 anywhere else.
--   1. The newest are walked through. That is all where there are no more, or where a page is full of matches that
--      nothing can exceed: a common word ends here.
--   2. After the first few, the index is asked, if a term has trigrams: all that it offers, up to 5,000 memories.
--   3. Where it offers more, or no term has trigrams, the walk goes on to the 10,000th version.
CREATE OR REPLACE FUNCTION ledger.search_memory(
  p_terms text[], p_limit integer, p_tags text[] DEFAULT NULL, p_memory_type text DEFAULT NULL,
  p_session_id text DEFAULT NULL, p_score integer DEFAULT 2147483647, p_era integer DEFAULT 0,
  p_xid xid8 DEFAULT '0', p_position bigint DEFAULT 0
) RETURNS TABLE (id uuid, seq integer, score integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
  most_indexed CONSTANT integer := 5000;
  most_walked  CONSTANT integer := 10000;
  most_bytes   CONSTANT bigint := 16000000;  -- of text, in each of the two ways: a memory may have a megabyte
  first_bytes  CONSTANT bigint := 1000000;
  caller    text := current_setting('app.user_id', true);
  tenant    text := nullif(current_setting('app.tenant_id', true), '');
  page_size integer := greatest(1, least(p_limit, 100));
  first_few integer := greatest(200, 10 * page_size);
  -- What has a trigram: three letters or digits in a row, or two beside the edge of a word. (One has, too, but it is
  -- that of every word which begins with it.)
  trigrams  text := '[[:alnum:]]{3}|[^[:alnum:]][[:alnum:]]{2}|[[:alnum:]]{2}[^[:alnum:]]';
  -- The longest that has trigrams is first: it narrows the index most.
  terms     text[] := ARRAY(SELECT f FROM (SELECT ledger.fold(t) AS f FROM unnest(p_terms) t WHERE t <> '') folded
                             ORDER BY f ~ trigrams DESC, length(f) DESC);
  -- Every character with a meaning of its own, in LIKE or in a regular expression, stands for itself.
  likes     text[] := ARRAY(SELECT '%' || regexp_replace(t, '([\\%_])', '\\\1', 'g') || '%' FROM unnest(terms) t);
  literals  text[] := ARRAY(SELECT regexp_replace(t, '([^[:alnum:]])', '\\\1', 'g') FROM unnest(terms) t);
  indexed   boolean := terms[1] ~ trigrams;  -- and has not been asked yet
  best      integer := least(p_score, (SELECT sum(CASE WHEN length(l) > 200 THEN 1 ELSE 3 END) FROM unnest(literals) l));
  best_left integer := page_size;
  looked    integer := 0;
  bytes     bigint := 0;
  matches   ledger.memory_match[] := '{}';
  by_index  record;
  found     record;
BEGIN
  IF caller IS NULL OR cardinality(terms) = 0 THEN
    RETURN;
  END IF;
  FOR found IN
    SELECT s.*, s.score IS NOT NULL AND NOT EXISTS (
             SELECT FROM ledger.universal_registry n WHERE n.id = s.id AND n.seq > s.seq) AS latest
      FROM (SELECT w.id, w.seq, w.era, w.xid, w.position, coalesce(octet_length(w.metadata ->> 'content'), 0) AS size,
                   CASE WHEN NOT w.is_deleted THEN ledger.memory_score(
                     w.metadata, likes, literals, p_tags, p_memory_type, p_session_id) END AS score
              FROM (SELECT DISTINCT ON (b.era, b.xid, b.position) b.* FROM (
                (SELECT r.id, r.seq, r.era, r.xid, r.position, r.metadata, r.is_deleted
                   FROM ledger.universal_registry r
                  WHERE r.owner_id = caller AND (r.tenant_id = tenant OR (tenant IS NULL AND r.tenant_id IS NULL))
                    AND r.entity_type = 'memory'
                  -- To the planner IS NULL makes no constant: without the tenant, this is not the index's order.
                  ORDER BY r.tenant_id DESC, r.era DESC, r.xid DESC, r.position DESC LIMIT most_walked)
                UNION ALL
                (SELECT r.id, r.seq, r.era, r.xid, r.position, r.metadata, r.is_deleted
                   FROM ledger.universal_registry r
                  WHERE r.tenant_id = tenant AND r.visibility IN ('tenant', 'public') AND r.entity_type = 'memory'
                  ORDER BY r.era DESC, r.xid DESC, r.position DESC LIMIT most_walked)) b
                ORDER BY b.era DESC, b.xid DESC, b.position DESC LIMIT most_walked) w
             OFFSET 0) s
  LOOP
    looked := looked + 1;
    bytes := bytes + found.size;
    IF found.latest AND ((found.score, found.era, found.xid, found.position) < (p_score, p_era, p_xid, p_position)
       OR (p_era = 0 AND found.score < p_score)) THEN
      matches := matches || (found.id, found.seq, found.score, found.era, found.xid, found.position)::ledger.memory_match;
      best_left := best_left - (found.score = best)::integer;
    END IF;
    EXIT WHEN best_left = 0;
    IF indexed AND (looked = first_few OR bytes > first_bytes) THEN
      indexed := false;
      by_index := ledger.indexed_matches(
        likes, literals, p_tags, p_memory_type, p_session_id, most_indexed, most_bytes);
      matches := matches || by_index.matches;
      EXIT WHEN by_index.complete;
    END IF;
    EXIT WHEN bytes > most_bytes;
  END LOOP;
  RETURN QUERY
    SELECT m.id, m.seq, m.score FROM (SELECT DISTINCT * FROM unnest(matches)) m
    WHERE (m.score, m.era, m.xid, m.position) < (p_score, p_era, p_xid, p_position)
       OR (p_era = 0 AND m.score < p_score)
    ORDER BY m.score DESC, m.era DESC, m.xid DESC, m.position DESC
    LIMIT page_size;
END
$$;

REVOKE ALL ON FUNCTION ledger.memory_score(jsonb, text[], text[], text[], text, text),
  ledger.indexed_matches(text[], text[], text[], text, text, integer, bigint) FROM PUBLIC;
