"""What the rows of this commit say about themselves, for the loader's configuration."""

import json
from pathlib import Path

from stacks.bundling import ROOT

PINNED = ("kernels", "manifest", "policies", "providers")


def newest_seqs(row: Path = ROOT / "row") -> dict[str, int]:
    """Manifest and kernels; policies, which act for every tenant; providers, which say where keys are sent.

    Below these the loader refuses, so no old, still validly signed version can be brought back.
    """
    newest: dict[str, int] = {}
    for folder in PINNED:
        for path in sorted((row / folder).glob("*.ndjson")):
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    span = json.loads(line)
                    newest[span["id"]] = max(span["seq"], newest.get(span["id"], 0))
    return newest
