"""How a Lambda finds the files that travel with it."""

from __future__ import annotations

from pathlib import Path


def asset_directory(name: str) -> Path:
    """A folder of the release: beside the packages in a Lambda's zip, one level above `lambdas/` in a checkout."""
    packages = Path(__file__).resolve().parent.parent
    beside = packages / name
    return beside if beside.is_dir() else packages.parent / name
