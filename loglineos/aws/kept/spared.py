"""Deletions that leave the data: a creation that took over what was kept is rolled back.

The first deployment after a restart creates every resource anew. If it fails, CloudFormation deletes what it
created; the ledger's data were there before, and so they are afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_spared: set[str] = set()


@contextlib.contextmanager
def sparing(physical_id: str) -> Iterator[None]:
    """While this resource is deleted, what it took over stays on the disk."""
    _spared.add(physical_id)
    try:
        yield
    finally:
        _spared.discard(physical_id)


def spared(physical_id: str) -> bool:
    return physical_id in _spared
