"""The fixtures that these tests share; see kit.py here and in tests/ledger."""

from tests.ledger.kit import shared

__all__ = ["shared"]
