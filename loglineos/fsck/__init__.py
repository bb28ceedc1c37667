"""`fsck`: all of the ledger recomputed from its stored columns, and held against what was sealed outside of it."""

from loglineos.fsck.findings import Finding, Report
from loglineos.fsck.run import Plan, fsck

__all__ = ["Finding", "Plan", "Report", "fsck"]
