"""The fixture that these tests share; see tests/ledger/kit.py."""

from tests.ledger.kit import shared

__all__ = ["shared"]
