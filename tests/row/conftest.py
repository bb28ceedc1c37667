"""The loader's fixtures: rows are tried where they live, in a ledger and behind the loader."""

from __future__ import annotations

from tests.stage0_loader.conftest import debugging, own, shared, stage, tenant

__all__ = ["debugging", "own", "shared", "stage", "tenant"]
