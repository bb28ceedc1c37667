"""A change of any template shows as a diff of JSON in the pull request that makes it.

`pytest tests/stacks/test_snapshots.py --snapshot-update` accepts it.
"""

import json
import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from stacks.environment import ENVIRONMENTS

PARTS = ["access", "archive", "database", "deployment", "edge", "functions"]
PARTS += ["keys", "monitoring", "network", "rotation", "schedules"]


def masked(template: Any) -> Any:
    """What follows from sources and rows is not the infrastructure's to show."""
    text = re.sub(r"[0-9a-f]{64}", "<hash>", json.dumps(template))
    return json.loads(re.sub(r'("MINIMUM_SEQS": ")(?:[^"\\]|\\.)*"', r'\1<seqs>"', text))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_template_is_as_reviewed(name: str, part: str, synthesized: Any, snapshot: SnapshotAssertion) -> None:
    environment, found = synthesized(name)
    assert set(found) <= set(PARTS), "a new stack wants a snapshot"
    if part == "rotation" and not environment.rotate_master_days:
        assert part not in found
        return
    assert masked(found[part]) == snapshot(name=f"{name}-{part}").use_extension(JSONSnapshotExtension)


def test_mask_hides_only_hashes_and_seqs() -> None:
    template = {"a": {"S3Key": "0" * 64 + ".zip", "MINIMUM_SEQS": '{"id":5}', "Timeout": 30}}
    assert masked(template) == {"a": {"S3Key": "<hash>.zip", "MINIMUM_SEQS": "<seqs>", "Timeout": 30}}
