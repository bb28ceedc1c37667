"""The fixtures that these tests share; see kit.py."""

from tests.fsck.kit import lived, sealed

__all__ = ["lived", "sealed"]
