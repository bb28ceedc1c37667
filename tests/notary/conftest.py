"""The fixtures that these tests share; see kit.py."""

from tests.notary.kit import notary

__all__ = ["notary"]
