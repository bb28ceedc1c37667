"""Many workers at once: each request runs exactly once, and no tenant waits for another's flood."""

from __future__ import annotations

import json
from collections import Counter
from typing import Final

from ledger.ids import new_id
from tests.row.queue_kit import WORKER, add_function, pending, restrict
from tests.stage0_loader.stage import Stage
from tests.stage0_loader.worker import at_once

TENANTS: Final = 8
REQUESTS: Final = 2_000
VERSIONS: Final = """
SELECT id FROM ledger.universal_registry WHERE entity_type = 'request'
 GROUP BY id HAVING array_agg(status ORDER BY seq) = ARRAY['scheduled', 'running', 'complete']
"""


def test_eight_workers_run_each_request_exactly_once(own: Stage) -> None:
    restrict(own, throttle={"per_tenant_daily_exec_limit": REQUESTS})
    wanted: dict[str, int] = {}
    for number in range(TENANTS):
        function = add_function(own, f"t{number}")
        span = {"entity_type": "request", "did": "requested", "this": "run_code", "status": "scheduled"}
        drafts = [
            {**span, "id": str(new_id()), "parent_id": str(function), "input": n} for n in range(REQUESTS // TENANTS)
        ]
        assert own.append(*drafts, tenant=f"t{number}").status == 200
        wanted |= {str(draft["id"]): int(str(draft["input"])) for draft in drafts}
    counts: Counter[str] = Counter()
    while pending(own):
        for answer in at_once(own, WORKER, "system", user="edge:stage0"):
            assert answer["statusCode"] == 200, answer
            counts.update(json.loads(answer["body"])["output"])
    assert +counts == {"claimed": REQUESTS, "complete": REQUESTS}
    ran = own.spans(entity_type="execution", this="run_code")
    assert sorted((str((span.related_to or [])[0]), span.input) for span in ran) == sorted(wanted.items())
    assert {str(found["id"]) for found in own.superuser.execute(VERSIONS).fetchall()} == set(wanted)
