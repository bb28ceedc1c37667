"""The fixtures that these tests share; see kit.py."""

from tests.fsck.kit import sealed

__all__ = ["sealed"]
