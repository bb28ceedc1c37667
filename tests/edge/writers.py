"""Processes that append at the same time, each over a connection of its own and in transactions of uneven length."""

from __future__ import annotations

import random
import time
from multiprocessing.synchronize import Event

from ledger.append import append_within
from ledger.connection import Target
from ledger.database import Database, Identity
from ledger.ids import new_id
from ledger.span import parse_span


def write(environment: dict[str, str], user: str, tenant: str, number: int, count: int, done: Event) -> None:
    """Append `count` notes, one after the other, named `<number>-<k>`."""
    database = Database(Target.from_environment(environment, role="lambda_exec"))
    identity = Identity(user, tenant)
    luck = random.Random(number)
    for k in range(count):
        values = {"id": new_id(), "entity_type": "note", "who": user, "did": "noted", "this": f"{number}-{k}"}
        span = parse_span({**values, "at": "2026-11-23T00:00:00Z", "owner_id": user, "tenant_id": tenant})
        with database.transaction(identity) as connection:
            append_within(connection, [span], None)
            time.sleep(luck.random() / 50)  # what began earlier may be committed later
    done.set()
